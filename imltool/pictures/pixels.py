"""Pixel operations that several packages share: resizing, bounds of masks, and round trips through JPEG."""

from __future__ import annotations

import io
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.pictures.images import RGB, Mask, encode_jpeg
from imltool.pictures.strips import strips

Number = TypeVar("Number", np.uint8, np.float32)

LEAST_SIDE = 16
"""No resize makes a side shorter than this many pixels."""


def jpeg(rgb: RGB, quality: int, subsampling: int) -> RGB:
    """Encode as JPEG and decode again. `subsampling`: 0 is 4:4:4, 2 is 4:2:0."""
    return decode(encode_jpeg(rgb, quality, subsampling))


def decode(data: bytes) -> RGB:
    """The uint8 RGB [H,W,3] pixels of an RGB picture file held in memory."""
    picture = Image.open(io.BytesIO(data))
    rgb = np.empty((picture.height, picture.width, 3), np.uint8)
    for rows in strips(rgb.shape):  # converting a large picture at once would take twice its memory in addition
        rgb[rows] = np.asarray(picture.crop((0, rows.start, picture.width, rows.stop)))
    return rgb


def resize(rgb: RGB, size: tuple[int, int], enlarge: int = cv2.INTER_CUBIC) -> RGB:
    """A uint8 picture resized to `size` (width, height); area averaging to shrink, which avoids aliasing."""
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    kind = cv2.INTER_AREA if size[0] * size[1] < rgb.shape[0] * rgb.shape[1] else enlarge
    return np.asarray(cv2.resize(rgb, size, interpolation=kind), dtype=np.uint8)


def resample(array: NDArray[Number], size: tuple[int, int]) -> NDArray[Number]:
    """Resize [H,W] or [H,W,3] to `size` (width, height): by area averaging if neither side grows, so that fine
    structure does not alias, else bilinearly.
    """
    height, width = array.shape[:2]
    if (width, height) == size:
        return array
    shrinks = width >= size[0] and height >= size[1]
    resized = cv2.resize(array, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=array.dtype)


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """A bool mask resized to `size` (width, height) like `resize`: True where it covers half a pixel or more."""
    kind = cv2.INTER_AREA if size[0] * size[1] < mask.size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=kind) > 127)


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """Bounding box XYXY of the True pixels (x2, y2 exclusive). The mask must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def scaled(shape: tuple[int, ...], factor: float) -> tuple[int, int]:
    """(width, height) of an array of `shape` after a resize by `factor`, at least `LEAST_SIDE` each."""
    return max(LEAST_SIDE, round(shape[1] * factor)), max(LEAST_SIDE, round(shape[0] * factor))
