"""Shares of pictures with exact confidence intervals."""

from __future__ import annotations

from imltool.config import Frozen
from imltool.student.operating_points import beta_quantile

CONFIDENCE = 0.95
FEW = 20
"""With fewer pictures a rate says little: with no event among 20, the upper limit is still 17 % (our choice)."""


class Rate(Frozen):
    """The number of events among `n` pictures, with a 95 % Clopper-Pearson interval of the share.

    Attributes:
        k: pictures with the event.
        n: all pictures.
        share: k / n; None without pictures.
        low, high: limits of the interval; 0 and 1 without pictures.
    """

    k: int
    n: int
    share: float | None
    low: float
    high: float

    @classmethod
    def of(cls, k: int, n: int) -> Rate:
        low, high = exact_interval(k, n)
        return cls(k=k, n=n, share=k / n if n else None, low=low, high=high)


def exact_interval(k: int, n: int) -> tuple[float, float]:
    """The 95 % Clopper-Pearson interval of a share when k of n were observed; (0, 1) for n = 0.

    It covers the true share with at least this probability, whatever the share is.
    """
    tail = (1 - CONFIDENCE) / 2
    low = beta_quantile(tail, k, n - k + 1) if k else 0.0
    high = beta_quantile(1 - tail, k + 1, n - k) if k < n else 1.0
    return low, high
