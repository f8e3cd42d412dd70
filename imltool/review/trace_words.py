"""Titles and explanations of the traces of `imltool.traces.stack`, which are shown as layers."""

from __future__ import annotations

TRACE_WORDS: dict[str, tuple[str, str]] = {
    "error level 90": (
        "Error level, quality 90",
        "How much one more JPEG save at quality 90 changes each place. A part saved in another way stands out.",
    ),
    "error level 75": (
        "Error level, quality 75",
        "The same at quality 75, which responds to stronger compression.",
    ),
    "history likelihood, last step": (
        "JPEG steps, last save",
        "Whether the JPEG coefficients of a place fit the quantisation of the last save better than elsewhere.",
    ),
    "history likelihood, earlier step": (
        "JPEG steps, earlier save",
        "Whether a place shows the quantisation of an earlier save like the rest; a pasted part often does not.",
    ),
    "grid strength": (
        "JPEG grid",
        "How clearly the 8×8 JPEG blocks are aligned with those of the rest. In a moved part they are displaced.",
    ),
    "fine structure": (
        "Noise and fine structure",
        "How strong noise and fine detail are. Removed, smoothed and enlarged parts are weaker.",
    ),
    "copy agreement": (
        "Looks like another place",
        "How well a place agrees with another place of this picture after a shift, turn or change of size.",
    ),
    "copy confidence": (
        "Looks like another place, weighted",
        "The same, weighted by the number of matching points: repeated texture alone seldom has many.",
    ),
    "copy fine agreement": (
        "Same noise as another place",
        "Whether noise and fine detail also agree with the other place, which is so only in a copy.",
    ),
    "copy scale": (
        "Size against the other place",
        "Whether this place is the smaller one (above the usual value) or the larger one of the two similar places.",
    ),
    "copy error level": (
        "Error level against the other place",
        "How the error level differs from that of the similar place: the copy was saved once more, or once less.",
    ),
    "copy history, last step": (
        "JPEG steps against the other place, last save",
        "How the fit to the last save differs from that of the similar place.",
    ),
    "copy history, earlier step": (
        "JPEG steps against the other place, earlier save",
        "How the fit to the earlier save differs from that of the similar place.",
    ),
    "copy fine structure": (
        "Noise against the other place",
        "How noise and fine detail differ from those of the similar place: a scaled or turned copy is smoother.",
    ),
}
"""Name of a trace → its title and an explanation of one or two sentences."""
