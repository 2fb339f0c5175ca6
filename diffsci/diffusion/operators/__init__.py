"""Linear operators: what is observed of a field."""
