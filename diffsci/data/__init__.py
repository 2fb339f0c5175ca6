"""Labelled arrays: from files to tensors, and from samples back to files."""
