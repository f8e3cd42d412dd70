"""Counts, metrics and the evaluation of checkpoints."""
