"""Percentile bootstrap over pictures: how far a figure would move with other pictures of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imltool.evaluation.counts import Counts

RESAMPLES = 2000
CONFIDENCE = 0.95
_CHUNK = 4_000_000  # weights held at once; bounds memory on sets of many thousand pictures

Interval = tuple[float, float]


def resampling_weights(n: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """How often each of `n` pictures is drawn in each resample: int64 [b,n] in chunks that sum to `resamples` rows."""
    step = max(1, _CHUNK // max(n, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)


def _percentiles(values: list[NDArray[np.float64]], confidence: float) -> Interval:
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(values), [tail, 100.0 - tail])
    return float(low), float(high)


def mean_interval(
    values: ArrayLike, seed: int, *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> Interval | None:
    """Interval of the mean of values [N] (NaN left out); None for fewer than two."""
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    if array.size < 2:
        return None
    rng = np.random.default_rng(seed)
    return _percentiles([w @ array / array.size for w in resampling_weights(array.size, rng, resamples)], confidence)


def pooled_interval(
    counts: Counts,
    metric: Callable[[Counts], NDArray[np.float64]],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Interval of a metric of summed counts, pictures being drawn whole; None for fewer than two pictures.

    Args:
        counts: arrays [N], one entry a picture.
        metric: a function of `metrics`, for instance `metrics.f1`.
    """
    rows = counts.as_array()
    if len(rows) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = resampling_weights(len(rows), rng, resamples)
    return _percentiles([metric(Counts.from_array(weights @ rows)) for weights in drawn], confidence)


def scores_interval(
    tampered: ArrayLike,
    authentic: ArrayLike,
    metric: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Interval of a metric of image scores, both sides drawn separately; None for fewer than two pictures on a side.

    Args:
        tampered, authentic: scores [N] and [M].
        metric: a function of counts per level [b,L] of both sides, levels ascending: `metrics.auc` or `tpr_at_fpr`.
    """
    positive, negative = np.asarray(tampered, np.float64), np.asarray(authentic, np.float64)
    if positive.size < 2 or negative.size < 2:
        return None
    scores = np.concatenate([positive, negative])
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    rng = np.random.default_rng(seed)
    values = []
    # chunks of the two sides must pair up, so the chunk length is set by both together
    step = max(1, _CHUNK // scores.size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = np.zeros((2, rows, scores.size), dtype=np.int64)
        drawn[0, :, : positive.size] = np.concatenate(list(resampling_weights(positive.size, rng, rows)))
        drawn[1, :, positive.size :] = np.concatenate(list(resampling_weights(negative.size, rng, rows)))
        levels = np.add.reduceat(drawn[:, :, order], starts, axis=2)
        values.append(metric(levels[0], levels[1]))
    return _percentiles(values, confidence)


def flags_interval(
    tampered: ArrayLike,
    authentic: ArrayLike,
    metric: Callable[[Counts], NDArray[np.float64]],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Interval of a metric of image counts, both sides drawn separately; None for fewer than two pictures on a side.

    Args:
        tampered, authentic: bool [N] and [M], whether each picture is flagged.
        metric: a function of `metrics.image_counts`, for instance `metrics.balanced_accuracy`.
    """
    positive, negative = np.asarray(tampered, np.int64), np.asarray(authentic, np.int64)
    if positive.size < 2 or negative.size < 2:
        return None
    rng = np.random.default_rng(seed)
    tp = np.concatenate([w @ positive for w in resampling_weights(positive.size, rng, resamples)])
    fp = np.concatenate([w @ negative for w in resampling_weights(negative.size, rng, resamples)])
    return _percentiles([metric(Counts(tp, fp, positive.size - tp, negative.size - fp))], confidence)


def paired_auc_interval(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    metric: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    seed: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Interval of metric(second) − metric(first) when both scored the same pictures: each draw serves both.

    Args:
        first, second: scores of (tampered [N], authentic [M]) pictures, in the same order.
        metric: as in `scores_interval`.
    """
    sides = [(np.asarray(t, np.float64), np.asarray(a, np.float64)) for t, a in (first, second)]
    n, m = sides[0][0].size, sides[0][1].size
    if n < 2 or m < 2:
        return None
    layouts = []
    for positive, negative in sides:
        scores = np.concatenate([positive, negative])
        order = np.argsort(scores, kind="stable")
        layouts.append((order, np.flatnonzero(np.diff(scores[order], prepend=-np.inf))))
    rng = np.random.default_rng(seed)
    values = []
    step = max(1, _CHUNK // (n + m))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = np.zeros((2, rows, n + m), dtype=np.int64)
        drawn[0, :, :n] = np.concatenate(list(resampling_weights(n, rng, rows)))
        drawn[1, :, n:] = np.concatenate(list(resampling_weights(m, rng, rows)))
        of = [metric(*np.add.reduceat(drawn[:, :, order], starts, axis=2)) for order, starts in layouts]
        values.append(of[1] - of[0])
    return _percentiles(values, confidence)
