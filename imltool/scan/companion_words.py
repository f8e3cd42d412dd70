"""Title and explanation of each companion map."""

from __future__ import annotations

COMPANION_WORDS: dict[str, tuple[str, str]] = {
    "ela": (
        "Error level (ELA)",
        "Brighter where a JPEG save at quality 90 changes more. Edges and texture are always bright: compare like with "
        "like, and look for a part that differs from others of the same texture.",
    ),
    "noise": (
        "Noise residual",
        "The result of a high-pass filter; zero is grey. Look for a part whose grain is finer, coarser or missing.",
    ),
    "ghost": (
        "JPEG ghosts",
        "One panel for each quality. A part that is dark where the rest is not was once saved at that quality.",
    ),
}
"""Companion map → its title and how to read it."""
