"""The family of scores: one file, one score."""
