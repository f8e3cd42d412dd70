"""Pairs of places of one picture that are copies of each other: found by keypoints, confirmed by their pixels.

Pixels are compared inside the bounding box of a pair's keypoints, at the picture's own resolution as far as the box has
at most `LATTICE` pixels, so that a small patch of a large picture is seen as sharply as one of a small picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.traces.copy_match import (
    APART,
    APART_SHARE,
    ENLARGED,
    KEYPOINTS,
    LEAST_SIDE,
    SEARCH_PIXELS,
    Matrix,
    Points,
    match_keypoints,
)
from imltool.traces.keypoints import Grey, find_keypoints
from imltool.traces.residual import fine_structure
from imltool.traces.similarity import Similarity, fit_similarities
from imltool.traces.strips import FloatPlane

LATTICE = 50_000
"""Largest number of points at which a pair is compared."""
WINDOW = 7
"""Side of the window of the correlation, lattice points."""
CONTRAST = 4.0
"""Standard deviation in grey levels below which a window counts as flat: its correlation is drawn towards 0.5."""
SHADE = 24.0
"""Difference in grey levels at which agreement is halved."""
REACH, LEAST_REACH = 0.6, 20.0
"""How far from its keypoints a pair may agree: as a share of the root of their box's area, and at least, pixels."""
AGREES = 0.45
"""Agreement of points that belong to a pair's region."""
EVIDENCE = np.array([0.26, -10.92, 4.35, 13.83, 0.57, -6.53])
"""Weights of log support, correlation, exactness, agreement, log lattice points and 1 in a pair's log odds."""
LEAST_CONFIDENCE = 0.19
"""Pairs with less are dropped: this keeps 97 of 100 true pairs, and half of the repeated structures."""
EXPANSIONS = 2
SHIFT_SCALE, SHIFT_TURN, SHIFT_ERROR = 0.03, 0.03, 1.2
"""A similarity is taken for a pure shift within this of scale 1, this of rotation 0 (radians), and where most keypoints
are shifted by it to within so many pixels."""
PATCH, OUTLIER = 8, 32
"""Pixels around the keypoints' box in which shifts are compared, and the largest difference of a pixel that counts."""
LEAST_POINTS = 50
"""Lattice points that must agree."""
LEAST_CORRELATION = 0.6
"""Least mean correlation of the region's textured points."""


@dataclass(frozen=True)
class CopyPair:
    """Two places of a picture that are the same but for a similarity. Which is the copy of which is not decided here.

    Attributes:
        matrix: float64 [2,3], maps the first place onto the second: x' = matrix · (x, y, 1), pixels of the picture.
        first, second: float32 [N,2], matched keypoints (x, y) in the first place and their partners: the support.
        origin: (x, y) of the first place's box, and `step`: (x, y) distance of two points of `agreement`, pixels.
        agreement: float32 [h,w], 0..1, how well the box's points agree with their partners; point (i, j) lies at
            origin + (step · (j + 0.5), step · (i + 0.5)) − 0.5. 0 outside of the region.
        exactness: float32 [h,w], 0..1, the same of the fine structure (noise and JPEG rounding).
        correlation: mean correlation of the region's textured points, 0..1.
        confidence: 0..1, how surely this is a copy rather than a repeated structure, by a logistic fit to true pairs of
            forgeries and false ones of authentic photographs, equally weighted.
    """

    matrix: Matrix
    first: Points
    second: Points
    origin: tuple[int, int]
    step: tuple[float, float]
    agreement: FloatPlane
    exactness: FloatPlane
    correlation: float
    confidence: float

    @property
    def scale(self) -> float:
        """Size of the second place over that of the first, at most 1 but for rounding."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    @property
    def rotation(self) -> float:
        """Degrees by which the second place is turned against the first, clockwise as seen, −180..180."""
        return float(np.degrees(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    def outlines(self) -> tuple[list[Points], list[Points]]:
        """Polygons float32 [K,2] around the parts of both places that agree, pixels of the picture."""
        mask = (self.agreement >= AGREES).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        first = [self._in_picture(np.asarray(contour, dtype=np.int64).reshape(-1, 2)) for contour in contours]
        return first, [_mapped(self.matrix, points) for points in first]

    def points(self) -> Points:
        """Where the points of `agreement` lie in the first place, float32 [h·w,2], pixels of the picture."""
        height, width = self.agreement.shape
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        return self._in_picture(np.stack([columns.ravel(), rows.ravel()], axis=1))

    def _in_picture(self, lattice: NDArray[np.integer]) -> Points:
        at = np.array(self.origin) + (lattice + 0.5) * np.array(self.step) - 0.5
        return np.asarray(at, dtype=np.float32)


def find_copies(picture: NDArray[np.uint8]) -> list[CopyPair]:
    """Pairs of places of a picture that agree, most certain first.

    Args:
        picture: uint8 [H,W], or RGB [H,W,3].
    """
    grey = picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    pairs = [pair for similarity in _similarities(grey) if (pair := _compare(grey, similarity)) is not None]
    return sorted(pairs, key=lambda pair: (-pair.confidence, -len(pair.first)))


def _similarities(grey: Grey) -> list[Similarity]:
    """Similarities between places of a picture, in its own pixels."""
    height, width = grey.shape
    factor = max(1.0, min(ENLARGED, LEAST_SIDE / max(height, width)))
    factor = min(factor, float(np.sqrt(SEARCH_PIXELS / (height * width))))
    searched = grey
    if factor != 1.0:
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        size = max(1, round(width * factor)), max(1, round(height * factor))
        searched = np.asarray(cv2.resize(grey, size, interpolation=way), dtype=np.uint8)
    share = np.clip((searched.size - 250_000) / (SEARCH_PIXELS - 250_000), 0, 1)
    count = round(KEYPOINTS[0] + float(share) * (KEYPOINTS[1] - KEYPOINTS[0]))
    keypoints = find_keypoints(searched, count)
    matches = match_keypoints(keypoints, max(APART, APART_SHARE * max(searched.shape)))
    # pixel centres: x = (x_searched + 0.5) / factor − 0.5
    return [
        Similarity(
            np.column_stack([s.matrix[:, :2], _unscaled(s.matrix, factor)]),
            *(((points + 0.5) / factor - 0.5).astype(np.float32) for points in (s.here, s.there)),
        )
        for s in fit_similarities(matches)
    ]


def _unscaled(matrix: Matrix, factor: float) -> NDArray[np.float64]:
    """Translation of a similarity after the picture's pixels were multiplied by 1/factor about pixel corners."""
    half = matrix[:, :2].sum(axis=1) * 0.5
    return np.asarray((matrix[:, 2] + 0.5 - half) / factor - 0.5 + half)


def _mapped(matrix: Matrix, points: Points) -> Points:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float32)


def _compare(grey: Grey, found: Similarity) -> CopyPair | None:
    """The pair of a similarity as its pixels show it; None when they do not confirm it."""
    matrix, first, second = _straightened(grey, found.matrix, found.here, found.there), found.here, found.there
    if np.hypot(matrix[0, 0], matrix[1, 0]) > 1:  # compare at the resolution of the smaller place
        matrix, first, second = np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64), second, first
    low, high = first.min(axis=0), first.max(axis=0)
    reach = max(LEAST_REACH, REACH * float(np.sqrt(np.prod(high - low + 1))))
    margin = reach
    for expansion in range(EXPANSIONS + 1):
        left, top = (max(0, int(v)) for v in np.floor(low - margin))
        right, bottom = (int(v) for v in np.minimum(np.ceil(high + margin) + 1, grey.shape[::-1]))
        box = (left, top, right, bottom)
        pair, open_ended = _compare_box(grey, matrix, first, second, box, reach)
        if pair is None or not open_ended or expansion == EXPANSIONS:
            break
        margin *= 1.8
    return pair


def _straightened(grey: Grey, matrix: Matrix, first: Points, second: Points) -> Matrix:
    """A pure shift by whole pixels in place of a similarity that is one but for the noise of its keypoints.

    Most copies are only moved. Their pixels agree down to the noise if the shift is exact, and not half a pixel off.
    """
    if abs(matrix[0, 0] - 1) > SHIFT_SCALE or abs(matrix[1, 0]) > SHIFT_TURN:
        return matrix
    offsets = second - first
    shift = np.rint(np.median(offsets, axis=0)).astype(int)
    if np.mean(np.abs(offsets - shift).max(axis=1) < SHIFT_ERROR) < 0.7:
        return matrix
    height, width = grey.shape
    low = np.floor(first.min(axis=0)).astype(int) - PATCH
    high = np.ceil(first.max(axis=0)).astype(int) + PATCH
    low = np.maximum(low, np.maximum(0, 1 - shift))
    high = np.minimum(high, np.array([width, height]) - np.maximum(0, shift + 1))
    if (high - low < PATCH).any():
        return matrix
    own = grey[low[1] : high[1], low[0] : high[0]]
    costs = {}
    for down in (0, -1, 1):
        for right in (0, -1, 1):
            x, y = low + shift + (right, down)
            other = grey[y : y + own.shape[0], x : x + own.shape[1]]
            costs[right, down] = int(np.minimum(cv2.absdiff(own, other), OUTLIER).sum(dtype=np.int64))
    shift += min(costs, key=costs.__getitem__)
    return np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])


def _compare_box(
    grey: Grey, matrix: Matrix, first: Points, second: Points, box: tuple[int, int, int, int], reach: float
) -> tuple[CopyPair | None, bool]:
    """The pair as far as it lies in a box of the first place, and whether it seems to go on beyond the box."""
    left, top, right, bottom = box
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    stride = max(1.0 / scale, float(np.sqrt((right - left) * (bottom - top) / LATTICE)))
    size = max(1, round((right - left) / stride)), max(1, round((bottom - top) / stride))
    if min(size) < 3:
        return None, False
    step = (right - left) / size[0], (bottom - top) / size[1]
    own = cv2.resize(grey[top:bottom, left:right], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # lattice point (j, i) → its partner's place in the picture
    to_picture = np.array(
        [[step[0], 0, left + 0.5 * step[0] - 0.5], [0, step[1], top + 0.5 * step[1] - 0.5], [0, 0, 1]]
    )
    lattice = matrix @ to_picture
    partner, there = _warped(grey, lattice, size, stride * scale)
    columns, rows = np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32)[:, None]
    x, y = (np.float32(line[0]) * columns + np.float32(line[1]) * rows + np.float32(line[2]) for line in lattice)
    own_x, own_y = columns * np.float32(step[0]) + left, rows * np.float32(step[1]) + top
    there &= (x - own_x) ** 2 + (y - own_y) ** 2 > (LEAST_REACH / 2) ** 2  # a pixel is no copy of itself

    seeds = np.ones(size[::-1], np.uint8)
    at = np.rint((first - (left, top) + 0.5) / step - 0.5).astype(int)
    seeds[np.clip(at[:, 1], 0, size[1] - 1), np.clip(at[:, 0], 0, size[0] - 1)] = 0
    away = cv2.distanceTransform(seeds, cv2.DIST_L2, 3)
    field = np.exp(-((away * np.float32(stride / reach)) ** 2))

    correlation, texture = _correlation(own, partner, CONTRAST)
    shade = cv2.blur(np.abs(own - partner), (WINDOW, WINDOW))
    agreement = np.clip(correlation, 0, 1) * np.clip(1.5 - shade / np.float32(SHADE), 0, 1) * field * there
    region = _connected(agreement >= AGREES, seeds == 0)
    textured = region & (texture > CONTRAST)
    if np.count_nonzero(region) < LEAST_POINTS or np.count_nonzero(textured) < LEAST_POINTS // 2:
        return None, False
    mean = float(np.clip(correlation[textured], 0, 1).mean(dtype=np.float64))
    if mean < LEAST_CORRELATION:
        return None, False
    fine, _ = _correlation(fine_structure(own), fine_structure(partner), 0.5)
    agreement = np.asarray(np.where(region, agreement, 0), dtype=np.float32)
    exactness = np.asarray(agreement * np.clip(fine * 2.0 - 0.5, 0, 1), dtype=np.float32)
    height, width = grey.shape
    open_ended = bool(
        (left > 0 and region[:, 0].any())
        or (top > 0 and region[0].any())
        or (right < width and region[:, -1].any())
        or (bottom < height and region[-1].any())
    )
    confidence = _confidence(len(first), mean, agreement[region], exactness[region])
    if confidence < LEAST_CONFIDENCE:
        return None, False
    return CopyPair(matrix, first, second, (left, top), step, agreement, exactness, mean, confidence), open_ended


def _confidence(support: int, correlation: float, agreement: FloatPlane, exactness: FloatPlane) -> float:
    level = float(agreement.mean(dtype=np.float64))
    exact = float(exactness.mean(dtype=np.float64)) / level
    evidence = np.array([np.log(support), correlation, exact, level, np.log(len(agreement)), 1.0])
    return float(1.0 / (1.0 + np.exp(-evidence @ EVIDENCE)))


def _warped(grey: Grey, lattice: Matrix, size: tuple[int, int], spacing: float) -> tuple[FloatPlane, NDArray[np.bool_]]:
    """The picture at lattice points, float32 [h,w], and where they lie inside of it.

    Args:
        lattice: float64 [2,3], lattice points → pixels.
        spacing: distance of two lattice points in pixels: the picture is shrunk by it first, so that nothing aliases.
    """
    corners = np.array([[0, 0], [size[0] - 1, 0], [0, size[1] - 1], [size[0] - 1, size[1] - 1]], np.float32)
    mapped = _mapped(lattice, corners)
    pad = 2 + 2 * spacing
    left, top = (max(0, int(v)) for v in np.floor(mapped.min(axis=0) - pad))
    right, bottom = (int(v) for v in np.minimum(np.ceil(mapped.max(axis=0) + pad), grey.shape[::-1]))
    if right - left < 2 or bottom - top < 2:
        return np.zeros(size[::-1], np.float32), np.zeros(size[::-1], bool)
    part = grey[top:bottom, left:right]
    small = part
    if spacing > 1.01:
        shrunk = max(1, round(part.shape[1] / spacing)), max(1, round(part.shape[0] / spacing))
        small = np.asarray(cv2.resize(part, shrunk, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    ratio = np.array([small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]])
    inside = lattice.copy()
    inside[:, 2] -= (left, top)
    inside *= ratio[:, None]
    inside[:, 2] += 0.5 * ratio - 0.5
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    values = cv2.warpAffine(small.astype(np.float32), inside, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    columns, rows = np.arange(size[0]), np.arange(size[1])[:, None]
    x, y = (line[0] * columns + line[1] * rows + line[2] for line in lattice)
    there = (x >= 0) & (x <= grey.shape[1] - 1) & (y >= 0) & (y <= grey.shape[0] - 1)
    return np.asarray(values, dtype=np.float32), there


def _correlation(a: FloatPlane, b: FloatPlane, floor: float) -> tuple[FloatPlane, FloatPlane]:
    """Correlation in a window around each point, drawn towards 0.5 where contrast is below `floor`; the contrast."""
    size = (WINDOW, WINDOW)
    mean_a, mean_b = cv2.blur(a, size), cv2.blur(b, size)
    spread_a = np.maximum(cv2.blur(a * a, size) - mean_a * mean_a, 0)
    spread_b = np.maximum(cv2.blur(b * b, size) - mean_b * mean_b, 0)
    joint = cv2.blur(a * b, size) - mean_a * mean_b
    spread = np.sqrt(spread_a * spread_b)
    return np.asarray((joint + floor * 0.5) / (spread + floor), dtype=np.float32), np.sqrt(spread)


def _connected(mask: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of a mask that hold a seed."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    kept = np.zeros(int(labels.max()) + 1, bool)
    kept[labels[seeds & mask]] = True
    kept[0] = False
    return np.asarray(kept[labels])
