"""The family of baselines: one file, one honest ensemble without a network."""
