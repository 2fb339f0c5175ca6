"""The core: the six steps, in torch alone."""
