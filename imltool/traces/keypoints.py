"""Keypoints for matching a picture with itself: Laplacian extrema spread over the picture, and gradient descriptors.

Copies inside one picture have been through much less than two photographs of one scene, so detection is cheaper than
SIFT's: extrema are sought per level, without interpolation between levels, and spread over cells so that smooth places
get keypoints too. The descriptor is SIFT's (Lowe 2004), gradients of eight directions pooled over 4×4 places, in
integers: dot products are then exact, and no result depends on the order in which a library adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

LEVEL_STEP = float(np.sqrt(0.5))
LEVELS = 4
"""Levels of the pyramid, each `LEVEL_STEP` times as wide as the one before."""
SHARES = (0.58, 0.22, 0.12, 0.08)
"""Shares of the keypoints that each level may have."""
BLUR = 1.2
"""Sigma of the blur before the Laplacian, pixels of the level."""
TURN_BLUR = 4.0
"""Sigma of the blur whose gradient is the keypoint's direction, pixels of the level."""
EXTREMUM = 5
"""Side of the square in which an extremum must be the largest."""
WEAKEST = 4
"""Smallest response of a keypoint."""
WIDER = (5, 9, 17)
"""Sides of the squares by which that square is widened, one after the other: extrema of wide squares are spread evenly,
and which ones they are does not depend on where in the picture a place lies, as it would with cells."""
WEAKNESS = (1 << 15) - 1
"""Of a response of 0."""
SAMPLES = 16
"""Side of the descriptor's patch in samples."""
SPACING = 1.3
"""Distance of two samples, pixels of the level."""
AT_ONCE = 64
"""Descriptors computed at once: their samples stay in the processor's cache."""
BINS = 4
DIRECTIONS = 8
DIMENSIONS = DIRECTIONS * BINS * BINS
UNIT = 1024.0
"""Length of a descriptor."""


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of a picture.

    Attributes:
        points: float32 [N,2], (x, y) in pixels of the picture given.
        scales: float32 [N], pixels of the picture per pixel of the level that the keypoint was found at.
        angles: float32 [N], direction of the smoothed gradient, radians.
        descriptors: float32 [N,128], whole numbers, of length `UNIT` but for rounding.
    """

    points: NDArray[np.float32]
    scales: NDArray[np.float32]
    angles: NDArray[np.float32]
    descriptors: NDArray[np.float32]


def _pooling() -> NDArray[np.float32]:
    """Weights [samples², bins²] of each sample in each bin, whole numbers: bilinear between bins, Gaussian overall."""
    at = np.arange(SAMPLES) - (SAMPLES - 1) / 2
    centres = (np.arange(BINS) - (BINS - 1) / 2) * SAMPLES / BINS
    near = np.clip(1 - np.abs(at[:, None] - centres) / (SAMPLES / BINS), 0, 1)
    near *= np.exp(-0.5 * (at / (SAMPLES / 2)) ** 2)[:, None]
    weights = np.einsum("ia,jb->ijab", near, near).reshape(SAMPLES * SAMPLES, BINS * BINS)
    return np.rint(weights * 64).astype(np.float32)


POOLING = _pooling()


def find_keypoints(grey: Grey, count: int) -> Keypoints:
    """At most `count` keypoints.

    Args:
        grey: uint8 [H,W].
    """
    parts: list[Keypoints] = []
    images: list[Grey] = []
    for level in range(LEVELS):
        image = _level(grey, images)
        if min(image.shape) < 2 * SAMPLES:
            break
        images.append(image)
        part = _of_level(image, round(count * SHARES[level]))
        scale = np.array([grey.shape[1] / image.shape[1], grey.shape[0] / image.shape[0]], np.float32)
        points = ((part.points + 0.5) * scale - 0.5).astype(np.float32)
        parts.append(Keypoints(points, part.scales * scale[0], part.angles, part.descriptors))
    if not parts:
        none = np.zeros(0, np.float32)
        return Keypoints(np.zeros((0, 2), np.float32), none, none, np.zeros((0, DIMENSIONS), np.float32))
    return Keypoints(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate([part.angles for part in parts]),
        np.concatenate([part.descriptors for part in parts]),
    )


def _level(grey: Grey, finer: list[Grey]) -> Grey:
    """The next level of the pyramid: halving the one before the last is much faster than shrinking the last."""
    if not finer:
        return grey
    source, factor = (finer[-2], 0.5) if len(finer) > 1 else (grey, LEVEL_STEP)
    size = max(1, round(source.shape[1] * factor)), max(1, round(source.shape[0] * factor))
    return np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _of_level(image: Grey, count: int) -> Keypoints:
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR), dtype=np.uint8)
    response = np.abs(cv2.Laplacian(soft, cv2.CV_16S, ksize=3))
    index = _spread(response, count)
    rows, columns = np.divmod(index, image.shape[1])
    angles = _directions(image, rows, columns)
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    return Keypoints(points, np.ones(len(index), np.float32), angles, _describe(soft, points, angles))


def _directions(image: Grey, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """Direction of the gradient of the blurred picture at each place, radians, read at half the resolution."""
    if not len(rows):
        return np.zeros(0, np.float32)
    size = max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)
    half = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    wide = cv2.GaussianBlur(half, (0, 0), TURN_BLUR / 2)
    x = ((columns + 0.5) * (size[0] / image.shape[1]) - 0.5).astype(np.float32)
    y = ((rows + 0.5) * (size[1] / image.shape[0]) - 0.5).astype(np.float32)
    around = [
        cv2.remap(wide, x + right, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel()
        for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    return np.arctan2(around[2] - around[3], around[0] - around[1]).astype(np.float32)


def _spread(response: NDArray[np.int16], count: int) -> NDArray[np.int64]:
    """Flat indices of the extrema that are largest in the widest squares, and of those the strongest."""
    largest = cv2.dilate(response, np.ones((EXTREMUM, EXTREMUM), np.uint8))
    extrema = (response == largest) & (response >= WEAKEST)
    margin = SAMPLES // 2
    extrema[:margin] = extrema[-margin:] = False
    extrema[:, :margin] = extrema[:, -margin:] = False
    index = np.flatnonzero(extrema)
    if len(index) <= count:
        return index
    strength = response.ravel()[index].astype(np.int64)
    width = np.zeros(len(index), np.int64)
    for side in WIDER:
        largest = cv2.dilate(largest, np.ones((side, side), np.uint8))
        width += strength == largest.ravel()[index]
    # one sort of packed numbers (width and response downwards, place) is much faster than a sort by three keys
    packed = ((len(WIDER) - width) << 15 | (WEAKNESS - strength)) << 26 | index
    first = np.partition(packed, count)[:count]
    return np.sort(first & ((1 << 26) - 1))


def _describe(soft: Grey, points: NDArray[np.float32], angles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Descriptors [N,128] of patches turned to their keypoint's direction."""
    found = np.zeros((len(points), DIMENSIONS), np.float32)
    for first in range(0, len(points), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        found[part] = _describe_some(soft, points[part], angles[part])
    return found


def _describe_some(soft: Grey, points: NDArray[np.float32], angles: NDArray[np.float32]) -> NDArray[np.float32]:
    count = len(points)
    side = SAMPLES + 2
    at = ((np.arange(side) - (side - 1) / 2) * SPACING).astype(np.float32)
    x, y = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(at, at))
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    map_x = points[:, :1] + cosine * x - sine * y
    map_y = points[:, 1:] + sine * x + cosine * y
    patches = cv2.remap(soft, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    patches = patches.reshape(count, side, side).astype(np.int16)
    dx = (patches[:, 1:-1, 2:] - patches[:, 1:-1, :-2]).reshape(count, -1)
    dy = (patches[:, 2:, 1:-1] - patches[:, :-2, 1:-1]).reshape(count, -1)
    right, left = np.maximum(dx, 0), np.maximum(-dx, 0)
    down, up = np.maximum(dy, 0), np.maximum(-dy, 0)
    wide, high = right + left, down + up
    planes = np.empty((DIRECTIONS, count, SAMPLES * SAMPLES), np.float32)
    # a gradient is a sum of the two of the eight directions that it lies between, in whole numbers
    for plane, values in zip(planes, (right - high, left - high, down - wide, up - wide), strict=False):
        np.maximum(values, 0, out=plane, casting="unsafe")
    for plane, (one, other) in zip(planes[4:], ((right, down), (right, up), (left, down), (left, up)), strict=True):
        np.minimum(one, other, out=plane, casting="unsafe")
    pooled = (planes.reshape(-1, SAMPLES * SAMPLES) @ POOLING).reshape(DIRECTIONS, count, -1)
    found = np.ascontiguousarray(pooled.transpose(1, 0, 2)).reshape(count, DIMENSIONS)
    # the square root turns Euclidean into Hellinger distance, which suits histograms better
    np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1.0), out=found)
    return np.rint(found * UNIT).astype(np.float32)
