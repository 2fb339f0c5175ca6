"""Schedules: how much signal and noise each level holds."""
