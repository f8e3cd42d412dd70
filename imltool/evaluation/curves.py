"""Data of the report's plots: pooled pixel curves, and the relation of the image score to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imltool.evaluation import metrics
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts
from imltool.evaluation.results import Reliability, ReliabilityGroup
from imltool.evaluation.rows import ImageRow

# plots use every eighth threshold, and all of the dense ones near 0 and 1
DRAWN = np.flatnonzero((np.arange(CURVE_THRESHOLDS.size) % 8 == 0) | (np.abs(CURVE_THRESHOLDS - 0.5) > 0.499))
BINS = 10
LEAST = 5
"""Least number of pictures in a group of `reliability`, unless the set has fewer: shares of fewer mean nothing."""


@dataclass(frozen=True)
class PooledCurve:
    """Counts over all pixels of a set's tampered pictures at some 150 thresholds, ascending.

    Attributes:
        threshold: map values.
        tp, fp: number of tampered and of authentic pixels strictly above each threshold.
        positives, negatives: number of tampered and of authentic pixels.
    """

    threshold: list[float]
    tp: list[int]
    fp: list[int]
    positives: int
    negatives: int

    as_json = asdict


def pooled_curve(rows: Sequence[ImageRow]) -> PooledCurve | None:
    """The curve of a set's pixels; None without a tampered picture."""
    curves = [row.curve.counts() for row in rows if row.curve is not None]
    if not curves:
        return None
    total = Counts.from_array(np.sum([curve.as_array()[DRAWN] for curve in curves], axis=0))
    return PooledCurve(
        [float(f"{threshold:.7g}") for threshold in CURVE_THRESHOLDS[DRAWN]],
        total.tp.tolist(),
        total.fp.tolist(),
        int(total.tp[0] + total.fn[0]),
        int(total.fp[0] + total.tn[0]),
    )


def roc_points(tampered: ArrayLike, authentic: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates [L+1] of image scores, from (0, 0) to (1, 1); neither side may be empty."""
    positive, negative = metrics.score_levels(tampered, authentic)
    true = np.concatenate([[0], np.cumsum(positive[::-1])]) / positive.sum()
    false = np.concatenate([[0], np.cumsum(negative[::-1])]) / negative.sum()
    return false, true


def precision_recall_points(tampered: ArrayLike, authentic: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Recall and precision [L] of image scores, highest threshold first; neither side may be empty."""
    positive, negative = metrics.score_levels(tampered, authentic)
    hits, alarms = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
    return hits / positive.sum(), hits / (hits + alarms)


def reliability(tampered: ArrayLike, authentic: ArrayLike) -> Reliability:
    """Share of tampered pictures by image score, in up to ten groups of equal size.

    The share depends on the proportion of tampered pictures in the set; equal numbers are usually assumed. Equal scores
    are kept in the same group. `error` is the expected calibration error: the mean of |score − share tampered|,
    weighted by n; None without a picture.
    """
    positive, negative = np.asarray(tampered, np.float64), np.asarray(authentic, np.float64)
    scores = np.concatenate([positive, negative])
    if not scores.size:
        return Reliability(groups=[], error=None)
    truth = np.concatenate([np.ones(positive.size), np.zeros(negative.size)])
    order = np.argsort(scores, kind="stable")
    scores, truth = scores[order], truth[order]
    parts = np.array_split(scores, min(BINS, max(1, scores.size // LEAST)))
    ends = {int(np.searchsorted(scores, part[-1], side="right")) for part in parts}
    groups = []
    start = 0
    for end in sorted(ends):
        part = slice(start, end)
        share = float(truth[part].mean())
        groups.append(ReliabilityGroup(n=end - start, score=float(scores[part].mean()), tampered=share))
        start = end
    error = sum(group.n * abs(group.score - group.tampered) for group in groups) / scores.size
    return Reliability(groups=groups, error=float(error))
