"""Percentile bootstrap over pictures: the variation of a metric with other pictures of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
_CHUNK = 4_000_000  # weights in memory at a time; limits memory for sets of many thousand pictures

Interval = tuple[float, float]
Estimate = tuple[float, Interval | None]
"""A metric, NaN if it does not exist, and its interval."""
Weights = NDArray[np.int64]
"""Number of draws of each of n pictures in each of b resamples: int64 [b,n]."""
Levels = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Counts per distinct score [b,L] of tampered and authentic pictures, scores ascending: arguments of `metrics.auc`."""


def resampling_weights(sizes: Sequence[int], seed: int) -> Iterator[tuple[Weights, ...]]:
    """The weights of each group of pictures, drawn independently, in chunks with `RESAMPLES` rows in total."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // sum(sizes))
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        yield tuple(_draw(n, rows, rng) for n in sizes)


def _draw(n: int, rows: int, rng: np.random.Generator) -> Weights:
    drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)


def interval(statistic: Callable[..., NDArray[np.float64]], sizes: Sequence[int], seed: int) -> Interval | None:
    """95 % interval of a statistic; None if a group has fewer than two pictures.

    Args:
        statistic: function (weights [b,n] of each group) → the statistic of each resample, float64 [b].
        sizes: number of pictures in each group. Groups, such as tampered and authentic pictures, are drawn
            independently.
        seed: the seed of the draws; the same seed draws the same pictures.
    """
    if not sizes or min(sizes) < 2:
        return None
    values = np.concatenate([statistic(*weights) for weights in resampling_weights(sizes, seed)])
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def estimate(statistic: Callable[..., NDArray[np.float64]], sizes: Sequence[int], seed: int) -> Estimate:
    """The statistic of the pictures as they are, and its `interval`. Arguments as there."""
    (value,) = statistic(*(np.ones((1, n), np.int64) for n in sizes))
    return float(value), interval(statistic, sizes, seed)


def mean_interval(values: ArrayLike, seed: int) -> Interval | None:
    """`interval` of the mean of values [N], without NaN."""
    return mean_estimate(values, seed)[1]


def mean_estimate(values: ArrayLike | Sequence[float | None], seed: int) -> Estimate:
    """Mean of the values [N] that are neither None nor NaN, and its `interval`."""
    array = np.asarray(values, np.float64)  # None becomes NaN
    array = array[~np.isnan(array)]
    mean = float(array.mean()) if array.size else float("nan")
    return mean, interval(lambda weights: weights @ array / array.size, [array.size], seed)


def resampled_levels(tampered: ArrayLike, authentic: ArrayLike) -> Callable[[Weights, Weights], Levels]:
    """A function of the weights of image scores [N], [M] that returns the counts per score of each resample."""
    positive, negative = np.asarray(tampered, np.float64), np.asarray(authentic, np.float64)
    scores = np.concatenate([positive, negative])
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))

    def levels(first: Weights, second: Weights) -> Levels:
        drawn = np.zeros((2, len(first), scores.size), dtype=np.int64)
        drawn[0, :, : positive.size] = first
        drawn[1, :, positive.size :] = second
        both = np.add.reduceat(drawn[:, :, order], starts, axis=2)
        return both[0], both[1]

    return levels
