"""The stages of a run: prepare, train, sample, evaluate. Here data and learning meet."""
