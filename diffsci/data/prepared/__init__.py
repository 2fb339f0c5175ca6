"""Prepared data: written once for training, and read by number, in memory or from disk."""
