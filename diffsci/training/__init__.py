"""Training: a loop that yields steps, its state, its checkpoints, and several processes."""
