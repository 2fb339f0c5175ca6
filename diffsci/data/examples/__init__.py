"""Examples: what a task may see of the fields, as windows to train on and cases to forecast."""
