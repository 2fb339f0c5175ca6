"""Calibration: the spread of an ensemble, fitted on validation cases and applied to members."""
