"""Copied places of a picture in the form that the page draws."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.pictures.images import RGB
from imltool.traces.copy_regions import CopyPair, find_copies

LINES = 60
"""Lines drawn between two places, at most."""

Line = tuple[float, float, float, float]


@dataclass(frozen=True)
class CopiedPlace:
    """Two places of a picture that look alike. Which is the copy of which is not decided.

    Attributes:
        lines: x and y of a point of one place and of its partner, pixels; evenly chosen of the matches.
        outlines: x and y of one point after the other around each place; empty where nothing agrees.
        matches: how many keypoints match.
        scale: size of the second place over the first.
        confidence: 0..1, how surely it is a copy and no repeated structure, see `traces.copy_regions.CopyPair`.
    """

    lines: tuple[Line, ...]
    outlines: tuple[tuple[float, ...], ...]
    matches: int
    scale: float
    confidence: float


def find_copied_places(rgb: RGB) -> list[CopiedPlace]:
    """The pairs of places of a picture, uint8 [H,W,3], the most certain first."""
    return [_copied_place(pair) for pair in find_copies(rgb)]


def _copied_place(pair: CopyPair) -> CopiedPlace:
    every = len(pair.first) // LINES + 1
    lines = zip(pair.first[::every].tolist(), pair.second[::every].tolist(), strict=True)
    return CopiedPlace(
        lines=tuple((x, y, u, v) for (x, y), (u, v) in lines),
        outlines=tuple(tuple(outline.ravel().tolist()) for place in pair.outlines() for outline in place),
        matches=len(pair.first),
        scale=pair.scale,
        confidence=pair.confidence,
    )
