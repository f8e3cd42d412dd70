"""Traces that an edit leaves in the pixels, computed at native resolution before the picture is shrunk."""
