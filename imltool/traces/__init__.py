"""Traces: what an edit leaves in the pixels at native resolution, before the picture is shrunk for the backbone."""
