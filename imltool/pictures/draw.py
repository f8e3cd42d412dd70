"""Helpers to show pictures and maps: shrinking to a given side, and the colours of maps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB, Map


def fit(array: NDArray[Any], side: int) -> NDArray[Any]:
    """Shrink [H,W] or [H,W,3] so that its longer side is at most `side` pixels; smaller arrays are not changed."""
    height, width = array.shape[:2]
    if max(height, width) <= side:
        return array
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(array, size, interpolation=cv2.INTER_AREA))


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """256 RGB colours, uint8 [256,3], from black over red to yellow (matplotlib's inferno).

    Its lightness increases monotonically, so that it is readable with any colour vision and in grey prints.
    """
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


def colour_map(values: Map) -> RGB:
    """The map in colour: uint8 RGB [H,W,3] of a float map [H,W] in [0,1]."""
    return palette()[levels(values)]


def levels(values: Map) -> NDArray[np.uint8]:
    """A float map [H,W] in [0,1] as uint8 [H,W], 0..255."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=255.0), dtype=np.uint8)
