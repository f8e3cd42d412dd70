"""Pixel counts, made once per picture. Every pixel metric is arithmetic on these counts.

Counts at any threshold are exact for the float map. So are AUC and AP, for which its pixels are ranked: sigmoids push
most of a map towards 0 or 1, and any grid of levels would make those pixels equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imltool.errors import DataError
from imltool.pictures.images import Map, Mask

_TAIL = np.logspace(-7, -3.25, 16)
CURVE_THRESHOLDS = np.concatenate([[0.0], _TAIL, np.arange(1, 1000) / 1000, 1.0 - _TAIL[::-1]]).astype(np.float32)
"""Thresholds at which a picture's counts are kept for a search, ascending: a thousandth apart, including 0.5, and
closer towards 0 and 1, where the values of sigmoids are dense (our choice).
"""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Confusion counts, positive = tampered: four int64 arrays of one shape, [] for a picture, [N] for a set or any."""

    tp: IntArray
    fp: IntArray
    fn: IntArray
    tn: IntArray

    def as_array(self) -> IntArray:
        """int64 [..., 4] in the order TP, FP, FN, TN."""
        return np.stack([self.tp, self.fp, self.fn, self.tn], axis=-1)

    @classmethod
    def from_array(cls, array: NDArray[np.int64]) -> Counts:
        """The inverse of `as_array`."""
        tp, fp, fn, tn = np.moveaxis(np.asarray(array, dtype=np.int64), -1, 0)
        return cls(tp, fp, fn, tn)


def stack(counts: Iterable[Counts]) -> Counts:
    """Stack the counts of N pictures to arrays [N]; the basis of image-averaged metrics."""
    rows = [one.as_array() for one in counts]
    return Counts.from_array(np.stack(rows) if rows else np.zeros((0, 4), dtype=np.int64))


def check_map(values: Map, mask: Mask) -> None:
    """Raises `DataError` when map and mask differ in size or a value is NaN or outside 0..1."""
    if values.shape != mask.shape or values.ndim != 2:
        raise DataError(f"map of shape {values.shape} does not fit its mask of shape {mask.shape}")
    if values.size == 0:
        raise DataError("the map has no pixel")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # also False for NaN, which min and max propagate
        fault = "NaN" if np.isnan(low) or np.isnan(high) else f"values from {low:g} to {high:g}"
        raise DataError(f"the map holds {fault}, it must be in 0..1")


def count_pixels(values: Map, mask: Mask, threshold: float = 0.5) -> Counts:
    """Exact confusion counts of a picture; a pixel is predicted tampered if it is strictly above `threshold`.

    Args:
        values: float32 [H,W] in [0,1].
        mask: bool [H,W], True = tampered.
    """
    predicted = values > threshold
    both = int(np.count_nonzero(predicted & mask))
    flagged = int(np.count_nonzero(predicted))
    truth = int(np.count_nonzero(mask))
    return Counts.from_array(np.array([both, flagged - both, truth - both, mask.size - flagged - truth + both]))


@dataclass(frozen=True)
class Ranking:
    """Pixel counts of a picture by the map's distinct values, exact in float32.

    Attributes:
        values: float32 [L], ascending.
        tampered: int64 [L], number of pixels inside the mask with each value.
        authentic: int64 [L], number of pixels outside.
    """

    values: Map
    tampered: IntArray
    authentic: IntArray

    def counts_above(self, thresholds: ArrayLike | None = None) -> Counts:
        """Counts with "predicted = strictly above t" for each t of `thresholds` (default: each distinct value)."""
        tn, fn = np.cumsum(self.authentic), np.cumsum(self.tampered)
        if thresholds is not None:
            below = np.searchsorted(self.values, np.asarray(thresholds, np.float32), side="right")
            tn, fn = np.append(0, tn)[below], np.append(0, fn)[below]
        return Counts(self.tampered.sum() - fn, self.authentic.sum() - tn, fn, tn)


def rank_pixels(values: Map, mask: Mask) -> Ranking:
    """Rank a map's pixels, inside and outside the mask.

    Args:
        values: float32 [H,W] in [0,1].
        mask: bool [H,W], True = tampered.
    """
    # the bits of a float32 in 0..1 sort like its value and leave the lowest bit of the key for the truth; adding 0
    # turns -0 into 0. Sorting integers is far faster than argsort of floats.
    keys = (values.ravel() + np.float32(0.0)).view(np.uint32) << np.uint32(1)
    keys |= mask.ravel()
    keys.sort()
    bits = keys >> np.uint32(1)
    last = np.flatnonzero(np.append(bits[1:] != bits[:-1], True))
    tampered = np.diff(np.cumsum(keys & np.uint32(1), dtype=np.int64)[last], prepend=0)
    return Ranking(bits[last].view(np.float32), tampered, np.diff(last + 1, prepend=0) - tampered)
