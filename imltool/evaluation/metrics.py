"""Metrics: pure functions of counts, histograms and scores. What is undefined is NaN or a named argument, never an epsilon.

Counts may be numbers or arrays of any shape that broadcast; the result is float64 of the broadcast shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imltool.evaluation.counts import Histogram, counts_by_level

Values = NDArray[np.float64]


def _float(counts: ArrayLike) -> Values:
    return np.asarray(counts, dtype=np.float64)


def _ratio(part: ArrayLike, whole: ArrayLike, undefined: ArrayLike) -> Values:
    """part / whole, and `undefined` where whole is 0."""
    part, whole = _float(part), _float(whole)
    defined = whole != 0
    return np.where(defined, part / np.where(defined, whole, 1.0), undefined)


def _empty_truth(value: Values, tp: Values, fp: Values, fn: Values, both_empty: float, truth_empty: float) -> Values:
    return np.where(tp + fn == 0, np.where(tp + fp == 0, both_empty, truth_empty), value)


def f1(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, *, both_empty: float = 1.0, truth_empty: float = 0.0) -> Values:
    """F1 = 2TP / (2TP + FP + FN), in [0,1].

    Args:
        both_empty: value where nothing is tampered and nothing is predicted.
        truth_empty: value where nothing is tampered and something is predicted.
    """
    tp, fp, fn = _float(tp), _float(fp), _float(fn)
    return _empty_truth(_ratio(2 * tp, 2 * tp + fp + fn, both_empty), tp, fp, fn, both_empty, truth_empty)


def iou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, *, both_empty: float = 1.0, truth_empty: float = 0.0) -> Values:
    """Intersection over union of the tampered class = TP / (TP + FP + FN), in [0,1]. Edge cases as for `f1`."""
    tp, fp, fn = _float(tp), _float(fp), _float(fn)
    return _empty_truth(_ratio(tp, tp + fp + fn, both_empty), tp, fp, fn, both_empty, truth_empty)


def precision(
    tp: ArrayLike,
    fp: ArrayLike,
    fn: ArrayLike,
    *,
    both_empty: float = 1.0,
    truth_empty: float = 0.0,
    prediction_empty: float = 0.0,
) -> Values:
    """TP / (TP + FP), in [0,1]. `prediction_empty` is the value where something is tampered and nothing predicted."""
    tp, fp, fn = _float(tp), _float(fp), _float(fn)
    return _empty_truth(_ratio(tp, tp + fp, prediction_empty), tp, fp, fn, both_empty, truth_empty)


def recall(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, *, both_empty: float = 1.0, truth_empty: float = 0.0) -> Values:
    """TP / (TP + FN), in [0,1]. Edge cases as for `f1`."""
    tp, fp, fn = _float(tp), _float(fp), _float(fn)
    return _empty_truth(_ratio(tp, tp + fn, both_empty), tp, fp, fn, both_empty, truth_empty)


def mcc(
    tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike, *, no_error: float = 1.0, one_class: float = 0.0
) -> Values:
    """Matthews correlation, signed, in [-1,1]: an inverted map scores -1 and not 1.

    Args:
        no_error: value where the formula is 0/0 and no pixel is wrong (truth and prediction both empty or both full).
        one_class: value where it is 0/0 and some pixel is wrong (truth or prediction is a single class).
    """
    tp, fp, fn, tn = _float(tp), _float(fp), _float(fn), _float(tn)
    # square roots first: the product of four counts of megapixels leaves the exact range of a double
    spread = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    undefined = np.where(fp + fn == 0, no_error, one_class)
    return np.clip(_ratio(tp * tn - fp * fn, spread, undefined), -1.0, 1.0)


def fp_area(fp: ArrayLike, tn: ArrayLike) -> Values:
    """Share of authentic pixels that are predicted = FP / (FP + TN), in [0,1]; NaN where no pixel is authentic."""
    return _ratio(fp, _float(fp) + _float(tn), np.nan)


def auc(positive: Histogram, negative: Histogram) -> Values:
    """Area under the ROC curve, ties counted half, so that a constant map has 0.5.

    Args:
        positive, negative: int64 [..., L], pixels by level, lowest first (`PixelCounts`).

    Returns float64 [...] in [0,1]; NaN where a class has no pixel.
    """
    below = np.cumsum(negative, axis=-1) - negative
    wins = (positive * (below + 0.5 * negative)).sum(axis=-1)
    return _ratio(wins, _float(positive.sum(axis=-1)) * _float(negative.sum(axis=-1)), np.nan)


def ap(positive: Histogram, negative: Histogram) -> Values:
    """Average precision: precision at every distinct threshold weighted by the recall gained there, no interpolation.

    Arguments as for `auc`. Returns float64 [...] in (0,1]; NaN where nothing is tampered. A constant map has the
    share of tampered pixels.
    """
    tp, fp, _, _ = counts_by_level(positive, negative)
    gained = (positive * _ratio(tp, tp + fp, 0.0)).sum(axis=-1)
    return _ratio(gained, tp[..., 0], np.nan)


def score_auc(tampered: ArrayLike, authentic: ArrayLike) -> float:
    """Image-level AUC from scores [T] and [A], ties counted half; NaN when a class has no picture."""
    high, low = _float(tampered), np.sort(_float(authentic))
    if high.size == 0 or low.size == 0:
        return float("nan")
    wins = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(wins.sum() / (2.0 * high.size * low.size))


def share_above(scores: ArrayLike, threshold: float) -> float:
    """Share of scores strictly above `threshold`: the FPR on authentic, the TPR on tampered pictures; NaN for none."""
    values = _float(scores)
    return float((values > threshold).mean()) if values.size else float("nan")


def tpr_at_fpr(tampered: ArrayLike, authentic: ArrayLike, fpr: float = 0.05) -> float:
    """Largest share of tampered pictures flagged by a threshold that flags at most `fpr` of the authentic ones.

    NaN when a class has no picture.
    """
    high, low = _float(tampered), np.sort(_float(authentic))[::-1]
    if high.size == 0 or low.size == 0:
        return float("nan")
    allowed = int(np.floor(fpr * low.size + 1e-9))  # 0.05 × 20 must be 1
    return share_above(high, low[allowed]) if allowed < low.size else 1.0


def bootstrap_interval(
    statistic: Callable[..., float | Values],
    *groups: NDArray[np.generic],
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval over images.

    Args:
        statistic: takes as many arrays as there are groups and gives one number.
        groups: arrays with one row an image; each is drawn anew with replacement on its own (tampered and authentic
            pictures keep their numbers).

    Returns (low, high); None when a group has fewer than two images or the statistic is undefined.
    """
    if not groups or min(len(group) for group in groups) < 2:
        return None
    generator = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for index in range(resamples):
        drawn[index] = statistic(*(group[generator.integers(0, len(group), len(group))] for group in groups))
    if np.isnan(drawn).any():
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
