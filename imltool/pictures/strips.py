"""Strips of rows, in which large pictures are processed where the result does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator

STRIP_PIXELS = 1 << 21
"""Pixels of a large picture that are processed at once (our choice)."""


def strips(shape: tuple[int, ...], step: int = 1) -> Iterator[slice]:
    """The rows of an array [H,W,…] as slices, from the top; all lengths but the last are multiples of `step`."""
    rows = max(1, STRIP_PIXELS // (max(1, shape[1]) * step)) * step
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))
