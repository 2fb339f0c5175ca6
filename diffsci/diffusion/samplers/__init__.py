"""Samplers: from noise to a sample."""
