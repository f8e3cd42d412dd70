"""Synthetic forgeries with exact masks."""
