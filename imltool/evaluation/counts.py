"""What is counted from pixels, once per picture. Every pixel metric is arithmetic on these counts.

Counts at a named threshold are exact on the float map. Curves (AUC, AP, any other threshold) come from a histogram of
the map over 65536 levels, level = round(65535·value): the precision in which maps are stored as 16-bit PNG, and our
stated precision for curves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imltool.errors import DataError
from imltool.images import Map, Mask

LEVELS = 65536
"""Histogram levels of a map: level k stands for the value k / 65535."""

CURVE_LEVELS = np.arange(0, LEVELS, 64)
"""Where a picture's counts are kept for a search over thresholds: 1024 of them, a thousandth apart (our choice)."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Confusion counts, positive = tampered: four int64 arrays of one shape, [] a picture, [N] a set, or any."""

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
    """Counts of N pictures as arrays [N]; the basis of image-averaged metrics."""
    rows = [one.as_array() for one in counts]
    return Counts.from_array(np.stack(rows) if rows else np.zeros((0, 4), dtype=np.int64))


def pool(counts: Counts) -> Counts:
    """Counts summed over all pictures, as if they were one: the basis of pooled (data set level) metrics."""
    return Counts.from_array(counts.as_array().reshape(-1, 4).sum(axis=0))


def level_threshold(level: int) -> float:
    """The map value that "level strictly above `level`" stands for: halfway to the next level."""
    return (level + 0.5) / (LEVELS - 1)


def check_map(values: Map, mask: Mask) -> None:
    """Raises `DataError` when map and mask differ in size or a value is NaN or outside 0..1."""
    if values.shape != mask.shape or values.ndim != 2:
        raise DataError(f"map of shape {values.shape} does not fit its mask of shape {mask.shape}")
    if values.size == 0:
        raise DataError("the map has no pixel")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # false for NaN too: min and max pass it on
        fault = "NaN" if np.isnan(low) or np.isnan(high) else f"values from {low:g} to {high:g}"
        raise DataError(f"the map holds {fault}, it must stay in 0..1")


def count_pixels(values: Map, mask: Mask, threshold: float = 0.5) -> Counts:
    """Confusion counts of one picture, exact; a pixel is predicted tampered when strictly above `threshold`.

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
class LevelHistogram:
    """Pixels of one picture by the level of the map; one pass gives every threshold and every curve.

    Attributes:
        tampered: int64 [65536], pixels inside the mask at each level.
        authentic: int64 [65536], the others.
    """

    tampered: IntArray
    authentic: IntArray

    def counts_above(self, levels: IntArray | int | slice = slice(None)) -> Counts:
        """Counts with "predicted = level strictly above k", for each k in `levels` (all 65536 when left out)."""
        tn = np.cumsum(self.authentic)
        fn = np.cumsum(self.tampered)
        every = Counts(fn[-1] - fn, tn[-1] - tn, fn, tn)
        return Counts(every.tp[levels], every.fp[levels], every.fn[levels], every.tn[levels])


def level_histogram(values: Map, mask: Mask) -> LevelHistogram:
    """Histogram of a map over 65536 levels, inside and outside the mask.

    Args:
        values: float32 [H,W] in [0,1].
        mask: bool [H,W], True = tampered.
    """
    # 32-bit keys: 17 bits are used, and the pass is bound by memory
    keys = np.rint(values.ravel() * np.float32(LEVELS - 1)).astype(np.int32)
    keys += mask.ravel().astype(np.int32) << 16
    both = np.bincount(keys, minlength=2 * LEVELS)
    return LevelHistogram(tampered=both[LEVELS:], authentic=both[:LEVELS])
