"""Ensembles: members, rollout, the surrogate that makes them and the store that keeps them."""
