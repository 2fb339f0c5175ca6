"""Assimilation: observations in their places, and trajectories of a model drawn to all of them."""
