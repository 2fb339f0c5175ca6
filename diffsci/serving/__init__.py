"""Serving: a trained model behind HTTP, for this machine alone unless asked otherwise."""
