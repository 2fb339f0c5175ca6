"""Shapes of noise: white, or with a spectrum of its own."""
