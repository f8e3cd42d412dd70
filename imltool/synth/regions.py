"""Regions to cut, move or remove: smooth random shapes, and the placement of pieces on a canvas."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from imltool.pictures.images import RGB, Mask
from imltool.pictures.pixels import bounds, resize, resize_mask
from imltool.synth.records import NOTHING, Record


@dataclass(frozen=True)
class Piece:
    """A cut-out: uint8 RGB [h,w,3] and its bool shape [h,w], both tight around the shape; changes of its colours."""

    rgb: RGB
    shape: Mask
    record: Record = NOTHING


def blob(rng: np.random.Generator, height: int, width: int, share: float) -> Mask:
    """A smooth random closed shape, bool [height,width], covering about `share` of the canvas.

    It is a polygon around a centre; its radius is a sum of a few random harmonics.
    """
    angles = np.linspace(0.0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angles)
    for order in range(1, 6):
        radius += rng.normal(0.0, 0.35 / order) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, 2.0)
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    x, y = radius * np.cos(angles) * stretch, radius * np.sin(angles) / stretch
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    unit = (share * height * width / max(area, 1e-6)) ** 0.5
    points = np.stack([x * unit, y * unit], axis=1)
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.maximum(np.array([width, height]) - (high - low), 0.0)
    points = points - low + rng.uniform(0.0, 1.0, 2) * room
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas > 0


def cut(rgb: RGB, mask: Mask) -> Piece:
    """Cut out the part of a picture under a non-empty mask."""
    x1, y1, x2, y2 = bounds(mask)
    return Piece(rgb[y1:y2, x1:x2], mask[y1:y2, x1:x2])


def around(box: tuple[int, int, int, int], margin: int, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of an XYXY box with `margin` pixels more on each side, clipped to the canvas."""
    x1, y1, x2, y2 = box
    return slice(max(0, y1 - margin), min(height, y2 + margin)), slice(max(0, x1 - margin), min(width, x2 + margin))


def transform(piece: Piece, scale: float, degrees: float, flip: bool) -> Piece:
    """Scale, rotate (counter-clockwise) and flip a piece. Edge pixels are repeated, so that no black is added."""
    rgb, shape = piece.rgb, piece.shape
    if flip:
        rgb, shape = rgb[:, ::-1], shape[:, ::-1]
    rgb, shape = np.ascontiguousarray(rgb), np.ascontiguousarray(shape)
    if scale != 1.0 and (degrees == 0.0 or scale < 1.0):  # a shrinking warp would alias
        size = max(1, round(shape.shape[1] * scale)), max(1, round(shape.shape[0] * scale))
        rgb = resize(rgb, size)
        shape = resize_mask(shape, size)
        scale = 1.0
    if degrees != 0.0:
        height, width = shape.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
        cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
        size = max(1, round(width * cosine + height * sine)), max(1, round(width * sine + height * cosine))
        matrix[:, 2] += (size[0] / 2 - width / 2, size[1] / 2 - height / 2)
        outline = cv2.warpAffine(shape.astype(np.uint8) * 255, matrix, size, flags=cv2.INTER_LINEAR)
        shape = outline > 127
        rgb = np.asarray(
            cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
        )
    return cut(rgb, shape) if shape.any() else Piece(rgb, shape)


def place(rng: np.random.Generator, piece: Piece, height: int, width: int, overhang: float = 0.15) -> tuple[int, int]:
    """A random top-left corner for a piece on a canvas; up to `overhang` of it may leave the canvas."""
    tall, wide = piece.shape.shape
    x_low, x_high = -overhang * wide, width - (1 - overhang) * wide
    y_low, y_high = -overhang * tall, height - (1 - overhang) * tall
    x = rng.uniform(min(x_low, x_high), max(x_low, x_high))
    y = rng.uniform(min(y_low, y_high), max(y_low, y_high))
    return round(x), round(y)


def window(size: tuple[int, ...], x: int, y: int, height: int, width: int) -> tuple[slice, slice, slice, slice] | None:
    """Slices (canvas rows, canvas columns, piece rows, piece columns) of a piece's overlap with the canvas, or None.

    `size` is the piece's (height, width, ...), (x, y) its top-left corner on the canvas.
    """
    tall, wide = size[:2]
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + tall, height), min(x + wide, width)
    if top >= bottom or left >= right:
        return None
    return slice(top, bottom), slice(left, right), slice(top - y, bottom - y), slice(left - x, right - x)
