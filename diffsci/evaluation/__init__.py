"""Evaluation: scores, baselines, the table, the figures and the pages made of them."""
