"""Planes of a picture that are computed in strips of rows, so that large pictures need little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB
from imltool.pictures.strips import strips

Plane = NDArray[np.float32]

WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


class Rows(Protocol):
    """A plane [H,W] that is read by rows; an array is one, too."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> Plane: ...


class Luma:
    """Luma of a picture, float32 [H,W], 0..255: kept if it is one strip, else computed whenever rows are read.

    Args:
        rgb: uint8 [H,W,3].
    """

    def __init__(self, rgb: RGB) -> None:
        self.shape = (rgb.shape[0], rgb.shape[1])
        self._rgb = rgb
        self._whole = self._make(slice(None)) if len([*strips(rgb.shape)]) == 1 else None

    def __getitem__(self, rows: slice, /) -> Plane:
        return self._make(rows) if self._whole is None else self._whole[rows]

    def _make(self, rows: slice) -> Plane:
        return (self._rgb[rows].astype(np.float32) @ WEIGHTS).astype(np.float32)


class Canvas:
    """A plane [H,W] filled part by part; with `halved`, each of its pixels is the mean of 2×2.

    Attributes:
        plane: float32 [H,W], or [⌈H/2⌉,⌈W/2⌉].
    """

    def __init__(self, shape: tuple[int, ...], halved: bool) -> None:
        self._step = 2 if halved else 1
        self.plane: Plane = np.empty((-(-shape[0] // self._step), -(-shape[1] // self._step)), np.float32)

    def put(self, top: int, left: int, part: Plane) -> None:
        """Write a part at (top, left); with `halved`, these must be even, and an odd last row or column is repeated."""
        if self._step == 2:
            height, width = part.shape
            even = cv2.copyMakeBorder(part, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            half = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
            top, left, part = top // 2, left // 2, np.asarray(half, dtype=np.float32)
        self.plane[top : top + part.shape[0], left : left + part.shape[1]] = part


def whole(source: Rows, halo: int, make: Callable[[Plane, int], Plane], halved: bool = False) -> Plane:
    """Apply `make` to `source` in strips; the result has its shape, or half of it (see `Canvas` for `halved`).

    Args:
        halo: number of rows above and below on which a row of the result depends.
        make: takes rows of `source` and the number of the first, returns the same rows of the result. Rows within
            `halo` of an end are discarded unless it is the picture's edge.
    """
    canvas = Canvas(source.shape, halved)
    for rows in strips(source.shape, 2):
        top, bottom = max(0, rows.start - halo), min(source.shape[0], rows.stop + halo)
        canvas.put(rows.start, 0, make(source[top:bottom], top)[rows.start - top : rows.stop - top])
    return canvas.plane
