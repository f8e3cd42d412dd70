"""Copies within one picture: matching keypoints, their similarity transform, and a check where the pixels agree.

Keypoints and a fitted similarity transform find a copy that was scaled, rotated or moved (after Amerini et al. 2011 and
Christlein et al. 2012; SIFT is OpenCV's). The original is found as well as its copy. The student has to tell them
apart; its input also contains the differences of their other traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.traces.rows import Plane

SIFT_SIDES = (576, 1152)
"""Long side for keypoint detection, pixels: smaller pictures are enlarged (at most 1.5×), larger ones shrunk."""
DENSE_SIDE = 384
"""Long side at which pixels are compared, in pixels."""
KEYPOINTS = 2500
NEAR = 0.04
"""Matches closer than this share of the long side are taken for repetition within a texture."""
DISTANCE, RATIO = 0.45, 0.75
INLIERS, TOLERANCE, MODELS = 4, 2.0, 3
SCALES = (0.3, 3.3)


@dataclass(frozen=True)
class Copy:
    """A similarity transform that maps one place of the picture onto another.

    Attributes:
        matrix: float64 [2,3]; x' = matrix · (x, y, 1), pixels of the picture given.
        here: float32 [N,2], matched keypoints (x, y); `there`: their partners.
    """

    matrix: NDArray[np.float64]
    here: NDArray[np.float32]
    there: NDArray[np.float32]

    @property
    def scale(self) -> float:
        """Size of the target place divided by the size of the source place."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def inverse(self) -> Copy:
        """The same pair of places with source and target swapped."""
        return Copy(np.asarray(cv2.invertAffineTransform(self.matrix), dtype=np.float64), self.there, self.here)


def _matches(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keypoints that match one other place of the picture far better than a third, and partners: float32 [N,2] each."""
    sift = cv2.SIFT.create(nfeatures=KEYPOINTS, contrastThreshold=0.008, edgeThreshold=20)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    none = np.zeros((0, 2), np.float32)
    if descriptors is None or len(keypoints) < 8:
        return none, none
    if len(keypoints) > KEYPOINTS:
        # SIFT keeps all keypoints that tie with the weakest kept one; in a dot screen that is every keypoint
        strongest = sorted(range(len(keypoints)), key=lambda i: (-keypoints[i].response, *keypoints[i].pt[::-1], i))
        kept = sorted(strongest[:KEYPOINTS])
        keypoints, descriptors = [keypoints[i] for i in kept], descriptors[kept]
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    # square roots turn the Euclidean into the Hellinger distance, which suits histograms better
    roots = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    likeness = roots @ roots.T
    squares = (points**2).sum(axis=1)
    apart = squares[:, None] + squares[None] - 2 * points @ points.T
    likeness[apart < (max(grey.shape) * NEAR) ** 2] = -1.0
    rows = np.arange(len(points))
    best = likeness.argmax(axis=1)
    first = likeness[rows, best]
    likeness[apart[best] < 100.0] = -1.0  # the third place must differ from the second
    second = likeness.max(axis=1)
    near, far = (np.sqrt(np.maximum(0.0, 2.0 - 2.0 * value)) for value in (first, second))
    good = np.flatnonzero((near < DISTANCE) & (near < RATIO * far))
    return points[good], points[best[good]]


def find_copies(picture: NDArray[np.uint8]) -> list[Copy]:
    """Find pairs of places that match up to a similarity transform, those with most matches first.

    Args:
        picture: uint8 [H,W], or RGB [H,W,3].
    """
    grey = picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    longest = max(grey.shape)
    factor = min(max(1.0, min(1.5, SIFT_SIDES[0] / longest)), SIFT_SIDES[1] / longest)
    if factor != 1.0:
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        size = max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))
        grey = np.asarray(cv2.resize(grey, size, interpolation=way), dtype=np.uint8)
    here, there = ((points + 0.5) / factor - 0.5 for points in _matches(grey))
    copies: list[Copy] = []
    # some versions of OpenCV draw RANSAC's samples from the thread's generator: maps must not depend on earlier calls
    cv2.setRNGSeed(0)
    for _ in range(MODELS):
        if len(here) < INLIERS:
            break
        matrix, inliers = cv2.estimateAffinePartial2D(
            here, there, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE / factor, maxIters=500
        )
        if matrix is None or inliers.sum() < INLIERS:
            break
        forward = inliers.ravel() > 0
        # most keypoints of the copy match back to the original: the same transform in the other direction
        back = ~forward & (np.linalg.norm(there @ matrix[:, :2].T + matrix[:, 2] - here, axis=1) < TOLERANCE / factor)
        copy = Copy(
            matrix,
            np.concatenate([here[forward], there[back]]),
            np.concatenate([there[forward], here[back]]),
        )
        if SCALES[0] < copy.scale < SCALES[1]:
            copies.append(copy)
        left = ~(forward | back)
        here, there = here[left], there[left]
    return sorted(copies, key=lambda found: -len(found.here))


def _agreement(a: Plane, b: Plane, floor: float, window: int) -> Plane:
    """Correlation of two planes in a window around each pixel; contrast of `floor` grey levels counts as none."""
    size = (window, window)
    mean_a, mean_b = cv2.blur(a, size), cv2.blur(b, size)
    spread_a = np.maximum(cv2.blur(a * a, size) - mean_a * mean_a, 0)
    spread_b = np.maximum(cv2.blur(b * b, size) - mean_b * mean_b, 0)
    joint = cv2.blur(a * b, size) - mean_a * mean_b
    return np.asarray((joint + floor * 0.5) / (np.sqrt(spread_a * spread_b) + floor), dtype=np.float32)


def copy_planes(luma: Plane, fine: Plane, others: Sequence[Plane], copies: Sequence[Copy]) -> list[Plane]:
    """Where pixels agree with their partner under one of `copies`, and how they differ from it in other traces.

    Args:
        luma: float32 [H,W], 0..255.
        fine: `fine_structure` of it, float32 [H,W].
        others: further traces, float32 [H,W] each.
        copies: similarity transforms in pixel coordinates of these planes.

    Returns:
        float32 [H,W] each: agreement 0..1; the same weighted by the number of matching keypoints; agreement of the fine
        structure; log of the partner's size divided by this place's size (positive: this place is the smaller one); and
        for each of `others` its value here minus its value at the partner. All are 0 where nothing agrees.
    """
    height, width = luma.shape
    size = (width, height)
    planes = [np.zeros((height, width), np.float32) for _ in range(4 + len(others))]
    best = planes[0]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for pair in copies:
        for copy in (pair, pair.inverse()):
            field = _support(copy, height, width)
            if not field.any():
                continue
            warped = (cv2.warpAffine(each, copy.matrix, size, flags=how) for each in (luma, fine, *others))
            partner = [np.asarray(each, dtype=np.float32) for each in warped]
            alike = _agreement(luma, partner[0], 4.0, 9)
            shade = cv2.blur(np.abs(luma - partner[0]), (9, 9))
            strength = np.clip(alike, 0, 1) * np.clip(1.5 - shade / 24.0, 0, 1) * field
            won = strength > best
            confidence = np.float32(1.0 - np.exp(-len(copy.here) / 16.0))
            exact = np.clip(_agreement(fine, partner[1], 0.5, 9) * 2.0 - 0.5, 0, 1)
            found = [strength, strength * confidence, strength * exact, strength * np.float32(np.log(copy.scale))]
            found += [strength * (own - theirs) for own, theirs in zip(others, partner[2:], strict=True)]
            for plane, values in zip(planes, found, strict=True):
                plane[won] = values[won]
    return planes


def _support(copy: Copy, height: int, width: int) -> Plane:
    """1 near the keypoints of a copy, falling to 0 away from them and where there is no partner."""
    seeds = np.ones((height, width), np.uint8)
    columns, rows = np.rint(copy.here).astype(int).T
    seeds[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] = 0
    away = cv2.distanceTransform(seeds, cv2.DIST_L2, 3)
    field: Plane = np.exp(-((away / (0.12 * max(height, width))) ** 2)).astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    m = copy.matrix.astype(np.float32)
    to_x, to_y = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
    field[(to_x < 0) | (to_x > width - 1) | (to_y < 0) | (to_y > height - 1)] = 0.0
    field[(to_x - x) ** 2 + (to_y - y) ** 2 < (0.02 * max(height, width)) ** 2] = 0.0  # a pixel is not a copy of itself
    field[field < 0.02] = 0.0
    return field
