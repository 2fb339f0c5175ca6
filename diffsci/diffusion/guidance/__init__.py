"""Guidance: a denoiser made from a denoiser."""
