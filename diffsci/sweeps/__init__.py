"""Runs of one file at several points, and the table of all."""
