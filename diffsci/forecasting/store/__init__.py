"""The forecast store: its layout, its ledger, units of work and commits, views, exports."""
