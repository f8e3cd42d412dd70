"""Thresholds of the image score with a bounded false-positive rate (split conformal prediction).

A threshold is fitted to the scores of authentic pictures set apart for this. The rate holds for new pictures of the
same kinds, for any distribution of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

TARGET_FPR = 0.05
"""Greatest expected share of authentic pictures above a checkpoint's score threshold (our choice)."""
CONFIDENCE = 0.95
SCORE_DIGITS = 6
"""Decimals of an image score and of thresholds: the score that sets a threshold must not exceed it by rounding."""
SLACK = 1e-9
"""0.29 · 100 is slightly less than 29 in floating point; this must not change the rank."""


@dataclass(frozen=True)
class KindRate:
    """False indications of one kind of authentic pictures at a threshold.

    Attributes:
        name: the calibration set of these pictures.
        pictures: number of pictures measured, n; at least 1.
        exceeding: number of them with a score above the threshold, j.
    """

    name: str
    pictures: int
    exceeding: int

    @property
    def rate(self) -> float:
        """Expected share of new pictures of this kind above the threshold: (j + 1) / (n + 1)."""
        return (self.exceeding + 1) / (self.pictures + 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of that share.

        The share above the (j+1)-th highest of n scores follows Beta(j + 1, n − j). When another kind has raised the
        threshold, the interval errs towards more false indications.
        """
        if self.exceeding == self.pictures:
            return 0.0, 1.0
        a, b, tail = self.exceeding + 1, self.pictures - self.exceeding, (1 - CONFIDENCE) / 2
        return beta_quantile(tail, a, b), beta_quantile(1 - tail, a, b)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold of the image score and its rates of false indications.

    Attributes:
        threshold: a score strictly above it exceeds the point.
        wanted_rate: requested limit of the share of authentic pictures above it.
        supported: whether every kind has enough pictures to support that rate. Otherwise the threshold is at least the
            highest score of each kind with too few, and the rate that these support is in `kinds`.
        kinds: rates of the measured kinds of authentic pictures, in the calibration's order.
    """

    threshold: float
    wanted_rate: float
    supported: bool
    kinds: tuple[KindRate, ...]

    @property
    def worst(self) -> KindRate:
        """The kind with the highest expected rate of false indications."""
        return max(self.kinds, key=lambda kind: kind.rate)


def operating_point(authentic: Mapping[str, Sequence[float]], rate: float) -> OperatingPoint:
    """The lowest threshold that a new authentic picture of any measured kind exceeds with a probability of at most
    `rate`.

    For each kind this is the ⌈(1 − rate)·(n + 1)⌉-th smallest of its n scores, or the largest if n is too small for
    that rank (see `pictures_needed`). The result is the highest over all kinds, because a verdict must hold for the
    kind of picture on which it errs most (our choice).

    Args:
        authentic: image scores by set name; at least one set, none empty.
        rate: above 0, below 1.
    """
    threshold, supported = -math.inf, True
    for scores in authentic.values():
        above = math.floor(rate * (len(scores) + 1) + SLACK)
        supported &= len(scores) >= pictures_needed(rate)
        threshold = max(threshold, sorted(scores, reverse=True)[max(above, 1) - 1])
    kinds = tuple(
        KindRate(name, len(scores), sum(score > threshold for score in scores)) for name, scores in authentic.items()
    )
    return OperatingPoint(float(threshold), rate, supported, kinds)


def pictures_needed(rate: float) -> int:
    """Number of authentic pictures of each kind needed to support `rate`: 19 for 5 %, 99 for 1 %."""
    return math.ceil((1 - SLACK) / rate) - 1


@cache  # a scan needs those of its checkpoint repeatedly
def beta_quantile(probability: float, a: int, b: int) -> float:
    """Quantile of Beta(a, b) for integers a and b, from the binomial tail that equals its distribution function."""
    n = a + b - 1
    coefficients = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(a, n + 1)]
    low, high = 0.0, 1.0
    for _ in range(50):
        x = (low + high) / 2
        logs = (c + k * math.log(x) + (n - k) * math.log1p(-x) for k, c in enumerate(coefficients, a))
        if math.fsum(map(math.exp, logs)) < probability:
            low = x
        else:
            high = x
    return (low + high) / 2
