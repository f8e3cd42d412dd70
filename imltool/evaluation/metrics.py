"""Metrics as pure functions of counts. Arrays broadcast, for a picture, a set of pictures and all thresholds.

Edge cases are stated, never an epsilon. If a metric does not exist, the result is NaN, which is written as
null, so that it is never mistaken for 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imltool.evaluation.counts import Counts

FloatArray = NDArray[np.float64]


def _ratio(above: ArrayLike, below: ArrayLike, otherwise: float = np.nan) -> FloatArray:
    """Above / below as float64, and `otherwise` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    result = np.full(numerator.shape, float(otherwise))
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def f1(c: Counts, *, both_empty: float = 1.0) -> FloatArray:
    """Pixel F1 (Dice) = 2TP / (2TP + FP + FN), in 0..1; 0 when nothing is tampered but something is predicted.

    Args:
        both_empty: result when nothing is tampered and nothing is predicted. 1: the prediction is right (IMDLBenCo: 0).
    """
    return _ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn, both_empty)


def iou(c: Counts, *, both_empty: float = 1.0) -> FloatArray:
    """Intersection over union = TP / (TP + FP + FN), in 0..1. Edge cases as in `f1`."""
    return _ratio(c.tp, c.tp + c.fp + c.fn, both_empty)


def precision(c: Counts) -> FloatArray:
    """TP / (TP + FP), in 0..1; without a predicted pixel 1 if nothing is tampered, else 0."""
    return np.where((c.tp + c.fp) == 0, (c.tp + c.fn) == 0, _ratio(c.tp, c.tp + c.fp))


def recall(c: Counts) -> FloatArray:
    """TP / (TP + FN), in 0..1; without a tampered pixel 1 if nothing is predicted, else 0."""
    return np.where((c.tp + c.fn) == 0, c.fp == 0, _ratio(c.tp, c.tp + c.fn))


def mcc(c: Counts) -> FloatArray:
    """Matthews' correlation coefficient, signed, in −1..1.

    It does not exist when truth or prediction is all tampered or all authentic: then 1 when no pixel is wrong, else 0
    (as in scikit-learn).
    """
    tp, fp, fn, tn = (np.asarray(part, dtype=np.float64) for part in (c.tp, c.fp, c.fn, c.tn))
    # two roots instead of one: the product of four counts of a large picture exceeds float64's exact range sooner
    spread = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
    value = _ratio(tp * tn - fp * fn, spread, 0.0)
    right = (spread == 0) & (fp + fn == 0)
    return np.clip(np.where(right, 1.0, value), -1.0, 1.0)


def flagged_area(c: Counts) -> FloatArray:
    """Share of pixels predicted as tampered, in 0..1. For authentic pictures this is the false-positive area."""
    return _ratio(c.tp + c.fp, c.tp + c.fp + c.fn + c.tn)


def auc(tampered: ArrayLike, authentic: ArrayLike) -> FloatArray:
    """Area under the ROC curve, exact with ties: P(tampered above authentic) + ½ P(equal). A constant map is 0.5.

    Args:
        tampered, authentic: counts per level [..., L], levels ascending; leading axes broadcast.

    NaN where one side is empty.
    """
    positive, negative = np.asarray(tampered), np.asarray(authentic)
    below = np.cumsum(negative, axis=-1) - negative
    won = (positive * (2 * below + negative)).sum(axis=-1)
    return _ratio(won, 2 * positive.sum(axis=-1) * negative.sum(axis=-1))


def average_precision(tampered: ArrayLike, authentic: ArrayLike) -> FloatArray:
    """Average precision Σ (R_k − R_{k−1})·P_k over the levels, highest first; equal values count as one step.

    Arguments as in `auc`. NaN where nothing is tampered.
    """
    positive = np.asarray(tampered)[..., ::-1]
    hits = np.cumsum(positive, axis=-1)
    flagged = hits + np.cumsum(np.asarray(authentic)[..., ::-1], axis=-1)
    return _ratio((positive * _ratio(hits, flagged, 0.0)).sum(axis=-1), positive.sum(axis=-1))


def score_levels(tampered: ArrayLike, authentic: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scores [N], [M] as counts per distinct score [L], ascending: arguments of `auc` and `average_precision`."""
    positive, negative = np.asarray(tampered, np.float64), np.asarray(authentic, np.float64)
    values, level = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    level = level.ravel()
    split = positive.size
    return np.bincount(level[:split], minlength=values.size), np.bincount(level[split:], minlength=values.size)


def image_auc(tampered: ArrayLike, authentic: ArrayLike) -> float:
    """AUC of the scores [N] of tampered against [M] authentic pictures; ties count half, NaN when a side is empty."""
    return float(auc(*score_levels(tampered, authentic)))


def share_above(scores: ArrayLike, threshold: float) -> float:
    """Share of scores strictly above the operating point: FPR of authentic, TPR of tampered pictures. NaN if empty."""
    values = np.asarray(scores, np.float64)
    return float((values > threshold).mean()) if values.size else float("nan")


def tpr_at_fpr(tampered: ArrayLike, authentic: ArrayLike, fpr: float = 0.05) -> FloatArray:
    """Highest share of the tampered side that can be flagged with at most `fpr` of the authentic side flagged.

    Operating points are "strictly above a level"; no interpolation between them. Arguments as in `auc`. NaN where one
    side is empty.
    """
    positive, negative = np.asarray(tampered), np.asarray(authentic)
    allowed = np.cumsum(negative[..., ::-1], axis=-1) <= fpr * negative.sum(axis=-1, keepdims=True)
    flagged = np.where(allowed, np.cumsum(positive[..., ::-1], axis=-1), 0).max(axis=-1, initial=0)
    share = _ratio(flagged, positive.sum(axis=-1))
    return np.where(negative.sum(axis=-1) > 0, share, np.nan)


def image_counts(tampered: ArrayLike, authentic: ArrayLike, threshold: float) -> Counts:
    """Confusion counts of whole pictures: positive = tampered, flagged = score strictly above `threshold`.

    Args:
        tampered, authentic: scores [N] and [M].
    """
    positive, negative = np.asarray(tampered, np.float64), np.asarray(authentic, np.float64)
    tp, fp = int((positive > threshold).sum()), int((negative > threshold).sum())
    return Counts.from_array(np.array([tp, fp, positive.size - tp, negative.size - fp]))


def specificity(c: Counts) -> FloatArray:
    """TN / (TN + FP), in 0..1; NaN when nothing is authentic."""
    return _ratio(c.tn, c.tn + c.fp)


def balanced_accuracy(c: Counts) -> FloatArray:
    """Mean of sensitivity TP / (TP + FN) and specificity, in 0..1; NaN when one side is missing."""
    return (_ratio(c.tp, c.tp + c.fn) + specificity(c)) / 2


def harmonic_mean(one: ArrayLike, other: ArrayLike) -> FloatArray:
    """2ab / (a + b) of two shares in 0..1; 0 when both are 0."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.where(np.isnan(a + b), np.nan, _ratio(2 * a * b, a + b, 0.0))


def two_sided_f1(c: Counts) -> FloatArray:
    """F1 of `image_counts`; NaN when one side is missing, because it then ignores the other."""
    return np.where((c.tp + c.fn > 0) & (c.tn + c.fp > 0), f1(c), np.nan)


def best_threshold(curve: FloatArray) -> int:
    """Index of the threshold with the highest mean over pictures: a single threshold for the whole set, an *oracle*.

    Args:
        curve: a metric [N,T] of N pictures at T thresholds. With equal means, the lowest threshold is taken.
    """
    return int(np.asarray(curve, np.float64).mean(axis=0).argmax())


def mean_or_nan(values: Any) -> float:
    """Mean of the values that exist; NaN when none does."""
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")
