"""Checks: every fault of a data set in one pass, told in one form."""
