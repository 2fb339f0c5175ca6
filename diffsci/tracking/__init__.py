"""What MLflow sees of a run: a view of its journal, sent by a thread that cannot hurt it."""
