"""The traces of `imltool.traces.stack` in words, for the person who looks at them as layers."""

from __future__ import annotations

TRACE_WORDS: dict[str, tuple[str, str]] = {
    "error level 90": (
        "Error level, quality 90",
        "How much one more JPEG save at quality 90 changes each place. A part saved in another way stands out.",
    ),
    "error level 75": (
        "Error level, quality 75",
        "The same at quality 75, which answers to stronger compression.",
    ),
    "history likelihood, last step": (
        "JPEG steps, last save",
        "Whether the JPEG coefficients of a place fit the quantisation of the last save better than elsewhere.",
    ),
    "history likelihood, earlier step": (
        "JPEG steps, earlier save",
        "Whether a place shows the quantisation of an earlier save as the rest does; a pasted part often does not.",
    ),
    "grid strength": (
        "JPEG grid",
        "How clearly the 8×8 blocks of JPEG are seen where they are in the rest. A moved part has them elsewhere.",
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
        "The same, weighted by how many points match: repeated texture alone seldom has many.",
    ),
    "copy fine agreement": (
        "Same noise as another place",
        "Whether even noise and fine detail agree with the other place, as only a copy has them.",
    ),
    "copy scale": (
        "Size against the other place",
        "Whether this place is the smaller (above the usual) or the larger one of the two that look alike.",
    ),
    "copy error level": (
        "Error level against the other place",
        "How the error level differs from the place that looks alike: the copy was saved once more, or once less.",
    ),
    "copy history, last step": (
        "JPEG steps against the other place, last save",
        "How the fit to the last save differs from the place that looks alike.",
    ),
    "copy history, earlier step": (
        "JPEG steps against the other place, earlier save",
        "How the fit to the earlier save differs from the place that looks alike.",
    ),
    "copy grid strength": (
        "JPEG grid against the other place",
        "How the JPEG grid differs from the place that looks alike: a copy that was moved off the grid shows it less.",
    ),
    "copy fine structure": (
        "Noise against the other place",
        "How noise and fine detail differ from the place that looks alike: a scaled or turned copy is smoother.",
    ),
}
"""Name of a trace → its title and what it shows, in a sentence or two."""


def words_of(name: str) -> tuple[str, str]:
    """Title and sentence of a trace; a trace without words of its own is called by its name."""
    return TRACE_WORDS.get(name, (name.capitalize(), ""))
