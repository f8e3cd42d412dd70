"""Data sets, boxes and splits."""
