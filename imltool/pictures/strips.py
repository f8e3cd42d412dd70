"""Strips of rows: what a large picture is worked on in, where the result does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator

STRIP_PIXELS = 1 << 21
"""Pixels of a large picture that are worked on at once (our choice)."""


def strips(shape: tuple[int, ...], step: int = 1) -> Iterator[slice]:
    """The rows of an array [H,W,…] as slices, from the top, their lengths multiples of `step` but for the last."""
    rows = max(1, STRIP_PIXELS // (max(1, shape[1]) * step)) * step
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))
