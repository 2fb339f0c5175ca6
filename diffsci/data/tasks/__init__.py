"""Tasks: which part is given, and which is to be sampled."""
