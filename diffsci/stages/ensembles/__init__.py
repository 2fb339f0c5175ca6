"""The sampling stage, and all that makes members from a trained model."""
