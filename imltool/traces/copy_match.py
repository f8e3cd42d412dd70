"""Copies inside one picture: matching keypoints, and the similarities that join their places.

Keypoints and fitted similarities find a copy that was moved, scaled or turned (after Amerini et al. 2011 and Christlein
et al. 2012). A keypoint may have several partners ("generalized 2NN", Amerini et al. 2011), and similarities are fitted
until no further one has enough support, so that a place pasted several times is found at all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imltool.traces.keypoints import UNIT, Keypoints

Points = NDArray[np.float32]
Matrix = NDArray[np.float64]

SEARCH_PIXELS = 2_100_000
"""Pictures with more pixels are shrunk to about this many before keypoints are sought."""
LEAST_SIDE = 576
"""Pictures with a smaller long side are enlarged to it, at most `ENLARGED` times."""
ENLARGED = 1.5
KEYPOINTS = (1600, 5000)
"""Number of keypoints of a picture of up to 0.25 and from 2.1 megapixels."""
APART = 14.0
"""Least distance of a keypoint from its partner, pixels of the picture searched ..."""
APART_SHARE = 0.03
"""... and as a share of its long side: nearer matches are the texture's own repetition."""
SAME_PLACE = 6.0
"""Partners nearer to each other than this are one place, pixels."""
LOOSE, RATIO, NEXT = 0.5, 0.8, 0.3
"""Descriptors farther apart than `LOOSE` are no candidates; a partner is at most `RATIO` times as far as the next
place, and that place not nearer than `NEXT`."""
CROWD = 32
"""Largest number of candidates of a keypoint, those beside itself among them."""
DEPTH = 16
"""Number of a keypoint's candidates that are looked at, nearest first."""
PARTNERS = 6
"""Largest number of partners of a keypoint."""
BLOCK = 256
"""Keypoints compared with all others at once: the block of products stays in the processor's cache."""
MATCHES = 1200
"""Largest number of matches that are looked at, best first."""


@dataclass(frozen=True)
class Matches:
    """Pairs of keypoints that resemble each other, each pair once.

    Attributes:
        here, there: float32 [M,2], (x, y).
        scale: float32 [M], size of the level of `there` over that of `here`: estimates the similarity's scale.
        turn: float32 [M], radians from `here` to `there`.
        level: float32 [M], the larger of the two keypoints' `Keypoints.scales`.
        distance: float32 [M], of the descriptors, 0 the same.
    """

    here: Points
    there: Points
    scale: NDArray[np.float32]
    turn: NDArray[np.float32]
    level: NDArray[np.float32]
    distance: NDArray[np.float32]


def match_keypoints(keypoints: Keypoints, apart: float) -> Matches:
    """Matches of a picture's keypoints with each other.

    Args:
        apart: least distance of two matched keypoints, pixels.
    """
    first, second, distance = _candidates(keypoints, apart)
    good = _select(keypoints.points, first, second, distance)
    first, second, distance = first[good], second[good], distance[good]
    low, high = np.minimum(first, second), np.maximum(first, second)
    _, once = np.unique(low * len(keypoints.points) + high, return_index=True)
    low, high, distance = low[once], high[once], distance[once]
    if len(low) > MATCHES:
        best = np.sort(np.argsort(distance, kind="stable")[:MATCHES])
        low, high, distance = low[best], high[best], distance[best]
    return Matches(
        keypoints.points[low],
        keypoints.points[high],
        keypoints.scales[high] / keypoints.scales[low],
        keypoints.angles[high] - keypoints.angles[low],
        np.maximum(keypoints.scales[high], keypoints.scales[low]),
        distance,
    )


def _candidates(keypoints: Keypoints, apart: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pairs (first, second, distance) nearer than `LOOSE`, at most `CROWD` of a first, by first and then distance."""
    descriptors, points = keypoints.descriptors, keypoints.points
    # |a−b|² = 2 − 2·a·b for unit vectors
    least = np.float32(UNIT * UNIT * (1.0 - 0.5 * LOOSE * LOOSE))
    firsts, seconds, near = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for top in range(0, len(points), BLOCK):
        products = descriptors[top : top + BLOCK] @ descriptors.T
        flat = np.flatnonzero(products > least)
        rows = flat // len(points)
        crowded = np.flatnonzero(np.bincount(rows, minlength=len(products)) > CROWD)
        if len(crowded):
            nearest = np.argpartition(products[crowded], -CROWD, axis=1)[:, -CROWD:]
            few = np.ones(len(products), bool)
            few[crowded] = False
            flat = np.concatenate([flat[few[rows]], (crowded[:, None] * len(points) + nearest).ravel()])
            rows = flat // len(points)
        columns = flat - rows * len(points)
        away = points[rows + top] - points[columns]
        far = np.flatnonzero((away * away).sum(axis=1) >= apart * apart)
        rows, columns = rows[far], columns[far]
        firsts.append(rows + top)
        seconds.append(columns)
        near.append(products[rows, columns])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    likeness = np.concatenate(near) / np.float32(UNIT * UNIT)
    distance = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * likeness)).astype(np.float32)
    order = np.lexsort((second, distance, first))
    return first[order], second[order], distance[order]


def _select(
    points: Points, first: NDArray[np.int64], second: NDArray[np.int64], distance: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Indices of the candidates that generalized 2NN keeps.

    The candidates of a keypoint are kept up to the first gap: the next place is 1/`RATIO` times as far as the last one
    kept, and itself not nearer than `NEXT`. Beyond the last candidate the next place is taken to be at `LOOSE`.
    """
    starts = np.flatnonzero(np.concatenate([[True], first[1:] != first[:-1]])) if len(first) else np.zeros(0, np.int64)
    lengths = np.diff(starts, append=len(first))
    promising = distance[starts] <= RATIO * LOOSE
    starts, lengths = starts[promising], lengths[promising]
    index = starts[:, None] + np.arange(DEPTH)
    present = np.arange(DEPTH) < lengths[:, None]
    index = np.where(present, index, 0)
    places = points[second[index]] if len(second) else np.zeros((0, DEPTH, 2), np.float32)
    new = present.copy()
    for i in range(1, DEPTH):
        apart = np.abs(places[:, i : i + 1] - places[:, :i]).max(axis=2) > SAME_PLACE
        new[:, i] &= (apart | ~new[:, :i]).all(axis=1)
    distances = np.where(new, distance[index] if len(second) else 0.0, np.float32(LOOSE))
    following = np.minimum.accumulate(distances[:, ::-1], axis=1)[:, ::-1]
    following = np.concatenate([following[:, 1:], np.full((len(index), 1), LOOSE, np.float32)], axis=1)
    gap = new & (distances <= RATIO * following) & (following >= NEXT) & (np.cumsum(new, axis=1) <= PARTNERS)
    last = np.where(gap.any(axis=1), gap.argmax(axis=1), -1)
    return np.asarray(index[new & (np.arange(DEPTH) <= last[:, None])])
