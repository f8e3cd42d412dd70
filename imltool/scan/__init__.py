"""Batch localization with a report."""
