"""Copied places of a picture, in the form that the page draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB
from imltool.traces.copy_match import find_copies

LINES = 60
"""Lines drawn between two places, at most."""

Line = tuple[float, float, float, float]


@dataclass(frozen=True)
class CopiedPlace:
    """Two places of a picture that look alike. Which of them is the copy is not determined.

    Attributes:
        lines: x and y of a point in the first place, then of its match in the second, in pixels; an even selection of
            the matches.
        matches: number of matching keypoints.
        scale: size of the second place divided by that of the first.
        map_means: mean of the map at the matched points of the first and of the second place, 0..1; None without a
            map. A higher mean suggests that this place is the copy (docs/review.md says how often).
    """

    lines: tuple[Line, ...]
    matches: int
    scale: float
    map_means: tuple[float, float] | None


def find_copied_places(rgb: RGB, levels: NDArray[np.uint8] | None) -> list[CopiedPlace]:
    """The pairs of similar places in a picture, the most certain first.

    Args:
        rgb: the picture, uint8 [H,W,3].
        levels: its map, uint8 [H,W], 255 for a probability of 1; None where there is none.
    """
    return [
        CopiedPlace(
            lines=tuple(
                (float(x), float(y), float(u), float(v))
                for (x, y), (u, v) in zip(
                    copy.here[:: len(copy.here) // LINES + 1], copy.there[:: len(copy.here) // LINES + 1], strict=True
                )
            ),
            matches=len(copy.here),
            scale=copy.scale,
            map_means=None if levels is None else (_mean_at(levels, copy.here), _mean_at(levels, copy.there)),
        )
        for copy in find_copies(rgb)
    ]


def _mean_at(levels: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> float:
    """Mean of a map at points (x, y) [N,2], as a probability."""
    height, width = levels.shape
    x, y = np.rint(points).astype(int).T
    return float(levels[y.clip(0, height - 1), x.clip(0, width - 1)].mean()) / 255
