"""Counts: the only thing the evaluation computes from pixels. Every metric is arithmetic on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imltool.errors import DataError
from imltool.images import Map, Mask

LEVELS = 65536
"""Levels of the map for rank metrics: maps are stored with 16 bits, so this loses nothing that is kept."""

Histogram = NDArray[np.int64]


@dataclass(frozen=True)
class PixelCounts:
    """What one map and its mask come to.

    Attributes:
        thresholds: the thresholds asked for, float64 [T].
        tp, fp, fn, tn: pixels by outcome at each threshold, int64 [T]; a pixel is predicted when its value is
            strictly above the threshold. Taken from the float map, not from the levels.
        positive, negative: pixels of the tampered and of the authentic region by level, int64 [65536];
            level = round(65535 × value). Values nearer than one level count as ties.
    """

    thresholds: NDArray[np.float64]
    tp: Histogram
    fp: Histogram
    fn: Histogram
    tn: Histogram
    positive: Histogram
    negative: Histogram


def count_pixels(values: Map, mask: Mask, thresholds: tuple[float, ...] = (0.5,)) -> PixelCounts:
    """Count one picture.

    Args:
        values: float32 [H,W] in [0,1], probability that a pixel was tampered with.
        mask: bool [H,W], True = tampered; all False for an authentic picture.
        thresholds: in [0,1]; compared in float32, as the map is.

    Raises `DataError` when the map has another shape than the mask, no pixel, or values that are NaN or outside [0,1].
    """
    if values.shape != mask.shape or values.ndim != 2:
        raise DataError(f"the map is {_size(values)}, the picture {_size(mask)}", "maps must have their picture's size")
    if values.size == 0:
        raise DataError("the map has no pixel")
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0.0 and highest <= 1.0):  # NaN fails both
        raise DataError("the map holds NaN" if np.isnan(lowest) else f"map values span {lowest:g} to {highest:g}, not 0 to 1")

    total = int(mask.size)
    truth = int(np.count_nonzero(mask))
    tp, predicted = np.empty(len(thresholds), np.int64), np.empty(len(thresholds), np.int64)
    for index, threshold in enumerate(thresholds):
        above = values > np.float32(threshold)
        predicted[index] = np.count_nonzero(above)
        tp[index] = np.count_nonzero(above & mask) if truth else 0
    fp = predicted - tp

    # one pass for both regions: the mask is the 17th bit of the level
    levels = np.rint(values * np.float32(LEVELS - 1)).astype(np.int32)
    if truth:
        levels |= mask.astype(np.int32) << 16
    histogram = np.bincount(levels.ravel(), minlength=2 * LEVELS)
    return PixelCounts(
        thresholds=np.asarray(thresholds, np.float64),
        tp=tp,
        fp=fp,
        fn=truth - tp,
        tn=total - truth - fp,
        positive=histogram[LEVELS:],
        negative=histogram[:LEVELS],
    )


def counts_by_level(positive: Histogram, negative: Histogram) -> tuple[Histogram, Histogram, Histogram, Histogram]:
    """TP, FP, FN, TN for every threshold at once, from the histograms.

    Args:
        positive, negative: int64 [..., L], as in `PixelCounts`; they may be summed over pictures first.

    Returns four int64 [..., L]: entry k predicts the pixels whose level is k or higher, so that entry 0 predicts all.
    """
    tp = np.cumsum(positive[..., ::-1], axis=-1)[..., ::-1]
    fp = np.cumsum(negative[..., ::-1], axis=-1)[..., ::-1]
    return tp, fp, tp[..., :1] - tp, fp[..., :1] - fp


def _size(array: NDArray[np.generic]) -> str:
    return "x".join(str(side) for side in array.shape[::-1])
