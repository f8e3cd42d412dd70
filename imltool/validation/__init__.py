"""Validation of the tool on a laboratory's own pictures: `imltool validate`."""
