"""What the report's figures are drawn from: pooled pixel curves, and how the image score relates to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imltool.evaluation import metrics
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts
from imltool.evaluation.runner import ImageRow

# a figure shows no more than every eighth of the thresholds, except where they crowd towards 0 and 1
DRAWN = np.flatnonzero((np.arange(CURVE_THRESHOLDS.size) % 8 == 0) | (np.abs(CURVE_THRESHOLDS - 0.5) > 0.499))
BINS = 10
LEAST = 5
"""Pictures in a group of `reliability`, unless the set has fewer: the share of fewer says nothing."""


def pooled_curve(rows: Sequence[ImageRow]) -> dict[str, Any] | None:
    """Counts over all pixels of a set's tampered pictures at some 150 thresholds, ascending; None without any.

    `threshold` is the map value, `tp` and `fp` the pixels strictly above it, `positives` and `negatives` the truth.
    """
    curves = [row.curve for row in rows if row.curve is not None]
    if not curves:
        return None
    total = Counts.from_array(np.sum([curve.as_array()[DRAWN] for curve in curves], axis=0))
    return {
        "threshold": [float(f"{threshold:.7g}") for threshold in CURVE_THRESHOLDS[DRAWN]],
        "tp": total.tp.tolist(),
        "fp": total.fp.tolist(),
        "positives": int(total.tp[0] + total.fn[0]),
        "negatives": int(total.fp[0] + total.tn[0]),
    }


def roc_points(tampered: ArrayLike, authentic: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates [L+1] of image scores, from (0, 0) to (1, 1); both sides must hold a picture."""
    positive, negative = metrics.score_levels(tampered, authentic)
    true = np.concatenate([[0], np.cumsum(positive[::-1])]) / positive.sum()
    false = np.concatenate([[0], np.cumsum(negative[::-1])]) / negative.sum()
    return false, true


def precision_recall_points(tampered: ArrayLike, authentic: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Recall and precision [L] of image scores, highest threshold first; both sides must hold a picture."""
    positive, negative = metrics.score_levels(tampered, authentic)
    hits, alarms = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
    return hits / positive.sum(), hits / (hits + alarms)


def reliability(tampered: ArrayLike, authentic: ArrayLike) -> list[dict[str, float | int]]:
    """How the image score relates to the share of tampered pictures: up to ten groups of equal size, by score.

    Each group: `n`, `score` (its mean) and `tampered` (share). The share depends on how many tampered pictures the set
    holds; a set of one to one is the usual reading. Groups that end within equal scores keep them together.
    """
    positive, negative = np.asarray(tampered, np.float64), np.asarray(authentic, np.float64)
    scores = np.concatenate([positive, negative])
    if not scores.size:
        return []
    truth = np.concatenate([np.ones(positive.size), np.zeros(negative.size)])
    order = np.argsort(scores, kind="stable")
    scores, truth = scores[order], truth[order]
    ends = {int(np.searchsorted(scores, scores[part[-1]], side="right")) for part in _parts(scores.size)}
    groups = []
    start = 0
    for end in sorted(ends):
        part = slice(start, end)
        groups.append({"n": end - start, "score": float(scores[part].mean()), "tampered": float(truth[part].mean())})
        start = end
    return groups


def _parts(size: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.arange(size), min(BINS, max(1, size // LEAST)))


def calibration_error(groups: Sequence[dict[str, float | int]]) -> float | None:
    """Expected calibration error of `reliability`: mean |score − share tampered|, weighted by n; None for none."""
    total = sum(group["n"] for group in groups)
    if not total:
        return None
    return float(sum(group["n"] * abs(group["score"] - group["tampered"]) for group in groups) / total)
