"""Counts, metrics and the evaluation of checkpoints and other methods."""
