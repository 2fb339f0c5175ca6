"""Objectives: at which levels to train, and with what weight."""
