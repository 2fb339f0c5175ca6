"""Requests: what a user hands to a trained model, held to it by name, and the answer."""
