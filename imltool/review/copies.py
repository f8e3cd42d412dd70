"""Copied places of a picture in the form that the page draws."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.pictures.images import RGB
from imltool.traces.copy_match import find_copies

LINES = 60
"""Lines drawn between two places, at most."""

Line = tuple[float, float, float, float]


@dataclass(frozen=True)
class CopiedPlace:
    """Two places of a picture that look alike. Which is the copy of which is not decided.

    Attributes:
        lines: x and y of a point of one place and of its partner, pixels; evenly chosen of the matches.
        outlines: x and y of one point after the other around each place; empty where they are not known.
        matches: how many keypoints match.
        scale: size of the second place over the first.
        confidence: 0..1, how surely it is a copy and no repeated structure; None where that is not known.
    """

    lines: tuple[Line, ...]
    outlines: tuple[tuple[float, ...], ...]
    matches: int
    scale: float
    confidence: float | None


def find_copied_places(rgb: RGB) -> list[CopiedPlace]:
    """The pairs of places of a picture, uint8 [H,W,3], the most certain first."""
    return [
        CopiedPlace(
            lines=tuple(
                (float(x), float(y), float(u), float(v))
                for (x, y), (u, v) in zip(
                    copy.here[:: len(copy.here) // LINES + 1], copy.there[:: len(copy.here) // LINES + 1], strict=True
                )
            ),
            outlines=(),
            matches=len(copy.here),
            scale=copy.scale,
            confidence=None,
        )
        for copy in find_copies(rgb)
    ]
