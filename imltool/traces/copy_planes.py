"""Planes of a grid that show where a picture has copies, and how the two places of a pair differ otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from imltool.traces.copy_match import Matrix, Points
from imltool.traces.copy_regions import CopyPair
from imltool.traces.strips import FloatPlane


def copy_planes(
    copies: Sequence[CopyPair], shape: tuple[int, int], grid: tuple[int, int], others: Sequence[FloatPlane]
) -> list[FloatPlane]:
    """Where pixels agree with their partner, averaged onto a grid, and how the partners differ.

    Args:
        copies: pairs of a picture; where several cover a cell, the one that agrees best counts.
        shape: (height, width) of the picture.
        grid: (width, height) of the planes.
        others: further traces of the picture, float32 [h,w] of one size each.

    Returns:
        float32 [grid height, grid width] each: agreement 0..1; the same weighted by the pair's confidence;
        agreement of the fine structure; log of the partner's size over the own (positive: this place is the smaller
        one) and, for each of `others`, its value here minus that at the partner, both weighted by agreement. All are 0
        where nothing agrees.
    """
    planes = [np.zeros(grid[::-1], np.float32) for _ in range(4 + len(others))]
    for pair in copies:
        back = np.asarray(cv2.invertAffineTransform(pair.matrix), dtype=np.float64)
        first = pair.points()
        second = np.asarray(first @ pair.matrix[:, :2].T + pair.matrix[:, 2], dtype=np.float32)
        area = pair.step[0] * pair.step[1]
        for points, matrix, scale in ((first, pair.matrix, pair.scale), (second, back, 1 / pair.scale)):
            _paint(planes, pair, points, area, matrix, scale, shape, others)
            area *= pair.scale**2
    return planes


def _paint(
    planes: list[FloatPlane],
    pair: CopyPair,
    points: Points,
    area: float,
    matrix: Matrix,
    scale: float,
    shape: tuple[int, int],
    others: Sequence[FloatPlane],
) -> None:
    """Add one place of a pair to the planes.

    Args:
        points: where the pair's lattice points lie in this place, and `area`: pixels that each stands for.
        matrix: maps this place onto its partner, `scale` times as large.
    """
    height, width = planes[0].shape
    cell = np.array([shape[1] / width, shape[0] / height], np.float32)
    columns, rows = np.floor((points + np.float32(0.5)) / cell).astype(np.int64).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    index = (rows * width + columns)[inside]
    # a cell partly outside of the box counts what it holds, and no less than half of what it could hold
    count = np.maximum(np.bincount(index, minlength=width * height), 0.5 * float(cell.prod()) / area)
    agreement, exactness = (
        (np.bincount(index, values.ravel()[inside], minlength=width * height) / count).astype(np.float32)
        for values in (pair.agreement, pair.exactness)
    )
    won = np.flatnonzero(agreement > planes[0].ravel())
    strength = np.minimum(agreement[won], 1.0)
    confidence = np.float32(pair.confidence)
    found = [strength, strength * confidence, np.minimum(exactness[won], 1.0), strength * np.float32(np.log(scale))]
    rows, columns = np.divmod(won, width)
    here = ((np.stack([columns, rows], axis=1) + 0.5) * cell - 0.5).astype(np.float32)
    there = np.asarray(here @ matrix[:, :2].T + matrix[:, 2], dtype=np.float32)
    found += [strength * (_sample(other, here, shape) - _sample(other, there, shape)) for other in others]
    for plane, values in zip(planes, found, strict=True):
        plane.ravel()[won] = values


def _sample(plane: FloatPlane, points: Points, shape: tuple[int, int]) -> FloatPlane:
    """Values of a plane that covers a picture, at points in pixels of the picture; float32 [N]."""
    if not len(points):
        return np.zeros(0, np.float32)
    ratio = np.array([plane.shape[1] / shape[1], plane.shape[0] / shape[0]])
    x, y = ((points + 0.5) * ratio - 0.5).astype(np.float32).T
    # remap holds at most 32767 rows
    values = cv2.remap(plane, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, dtype=np.float32).ravel()
