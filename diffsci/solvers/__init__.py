"""Solvers: PDEs integrated by classical methods, as training data and as reference."""
