"""The training stage: what is decided before it, learnt in it, and shown of it."""
