"""Domains: what axes, units and geometry mean."""
