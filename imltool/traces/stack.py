"""The stack of traces a student may see beside RGB: computed at native resolution, averaged onto a small grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import ImageError
from imltool.images import RGB
from imltool.traces.copy_match import DENSE_SIDE, Copy, copy_planes, find_copies
from imltool.traces.jpeg_grid import CrossDifference, grid_offset, history_likelihood
from imltool.traces.residual import error_level, fine_energy, fine_structure, grid_strength, relative_log
from imltool.traces.rows import Luma, Plane, whole

TRACES = (
    "error level 90",
    "error level 75",
    "history likelihood, last step",
    "history likelihood, earlier step",
    "grid strength",
    "fine structure",
    "copy agreement",
    "copy confidence",
    "copy fine agreement",
    "copy scale",
    "copy error level",
    "copy history, last step",
    "copy history, earlier step",
    "copy fine structure",
)
GROUPS: dict[str, tuple[int, ...]] = {"jpeg": (0, 1, 2, 3, 4), "noise": (5,), "copy": (6, 7, 8, 9, 10, 11, 12, 13)}
"""Indices into `TRACES` of what can be switched on and off together."""
GRID = 112
"""Side of the square grid of the stack."""

VERSION = 1
"""Counts changes of what `picture_traces` returns; kept stacks of another version are not used."""

HALVED_FROM = 64_000_000
"""Of pictures with more pixels, planes are kept as means of 2×2 until they are shrunk further, which takes a quarter of
the memory and moves no trace noticeably (our choice)."""

Traces = NDArray[np.float16]


@dataclass(frozen=True)
class Scale:
    """A resolution of the traces.

    Attributes:
        size: (width, height) at which planes are smoothed and copies compared.
        grid: (width, height) onto which they are then averaged.
    """

    size: tuple[int, int]
    grid: tuple[int, int] = (GRID, GRID)

    @classmethod
    def of(cls, shape: tuple[int, ...], side: int, grid: tuple[int, int] = (GRID, GRID)) -> Scale:
        """The scale at which a picture [H,W] is seen when `side` of its pixels are what `DENSE_SIDE` is wide."""
        factor = min(1.0, DENSE_SIDE / side)
        return cls((max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))), grid)


def _fit(plane: Plane, size: tuple[int, int]) -> Plane:
    """Bring a plane to `size` (width, height), averaging where it shrinks."""
    if plane.shape == (size[1], size[0]):
        return plane
    shrinks = plane.shape[0] >= size[1] and plane.shape[1] >= size[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, size, interpolation=way), dtype=np.float32)


def _smooth(plane: Plane) -> Plane:
    return np.asarray(cv2.blur(plane, (5, 5)), dtype=np.float32)


def picture_traces(rgb: RGB) -> Traces:
    """All traces of a picture, float16 [len(TRACES),GRID,GRID]; the grid covers the whole picture.

    Nothing but the pixels is read, so a crop saved as PNG is treated as the JPEG it came from. The values are about
    −3..3; 0 means nothing unusual. Our choice throughout: the paper's student sees RGB alone.

    Args:
        rgb: uint8 [H,W,3], at the picture's own size.

    Raises `ImageError` when a library refuses the picture.
    """
    return _take(rgb, ())[0]


def tiled_traces(rgb: RGB, side: int, grid: tuple[int, int]) -> tuple[Traces, Traces]:
    """`picture_traces`, and the same traces on a finer grid, as far smoothed as in a picture of `side` pixels.

    What is usual is measured on the whole picture, and copies are sought in it, so that a part cut out of the finer
    grid knows more than a picture of that part would tell.

    Args:
        rgb: uint8 [H,W,3].
        side: of the parts that the finer grid is to be cut into, pixels.
        grid: (width, height) of the finer grid.

    Returns float16 [len(TRACES),GRID,GRID] and [len(TRACES),height,width]. Raises `ImageError`.
    """
    first, second = _take(rgb, (Scale.of(rgb.shape, side, grid),))
    return first, second


def _take(rgb: RGB, further: Sequence[Scale]) -> list[Traces]:
    scales = [Scale.of(rgb.shape, max(rgb.shape[:2])), *further]
    try:
        return _stacks(rgb, scales)
    except (cv2.error, OSError, ValueError) as error:
        raise ImageError(f"no traces could be taken ({' '.join(str(error).split())[:160]})") from error


def _stacks(rgb: RGB, scales: Sequence[Scale]) -> list[Traces]:
    """The stack of a picture at each scale; the first must be that of the whole picture, where copies are compared."""
    height, width = rgb.shape[:2]
    copies = find_copies(rgb)
    luma = Luma(rgb)
    shrunk = _fit(whole(luma, 0, lambda rows, _: rows, height * width > HALVED_FROM), scales[0].size)
    found = [*zip(*_measured(rgb, luma, [scale.size for scale in scales]), strict=True)]
    error_90, _, *histories, _, energy = found[0]
    scaled = [_scaled(copy, min(1.0, DENSE_SIDE / max(height, width))) for copy in copies]
    compared = copy_planes(shrunk, fine_structure(shrunk), [error_90, *histories, energy], scaled)
    return [
        np.stack([_fit(plane, scale.grid).astype(np.float16) for plane in (*planes, *compared)])
        for scale, planes in zip(scales, found, strict=True)
    ]


def _measured(rgb: RGB, luma: Luma, sizes: Sequence[tuple[int, int]]) -> Iterator[list[Plane]]:
    """The traces before "copy agreement", in the order of `TRACES`, each at every size.

    A plane of the picture's own size is made after the other and given up once it is shrunk: of a large picture no
    two have room.
    """
    halved = rgb.shape[0] * rgb.shape[1] > HALVED_FROM
    for quality in (90, 75):
        level = error_level(rgb, quality, halved)
        small = [_fit(level, size) for size in sizes]
        del level
        yield [relative_log(_smooth(plane), 0.2) for plane in small]
    if min(luma.shape) >= 9:
        difference = CrossDifference(luma)
        offset = grid_offset(difference)
        for blocks in history_likelihood(luma, offset):
            yield [_laid(size, blocks, offset, luma.shape) for size in sizes]
        strength = grid_strength(difference, offset, halved)
        small = [_fit(strength, size) for size in sizes]
        del strength
        yield [np.clip(plane, -3, 3) for plane in small]
    else:
        for _ in range(3):
            yield [np.zeros(size[::-1], np.float32) for size in sizes]
    energy = fine_energy(luma, halved)
    small = [_fit(energy, size) for size in sizes]
    del energy
    yield [relative_log(_smooth(plane), 0.2) for plane in small]


def _laid(size: tuple[int, int], blocks: Plane, offset: tuple[int, int], shape: tuple[int, int]) -> Plane:
    """Block values laid over the picture (offset grid, edge blocks repeated), smoothed over 3×3 blocks."""
    if blocks.shape == (1, 1):
        return np.zeros((size[1], size[0]), np.float32)
    smooth = cv2.blur(blocks, (3, 3))
    factor_x, factor_y = size[0] / shape[1], size[1] / shape[0]
    # centre of block (r, c) lies at offset + 8·c + 3.5
    matrix = np.array(
        [
            [8.0 * factor_x, 0.0, (offset[0] + 4.0) * factor_x - 0.5],
            [0.0, 8.0 * factor_y, (offset[1] + 4.0) * factor_y - 0.5],
        ]
    )
    laid = cv2.warpAffine(smooth, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid, dtype=np.float32)


def _scaled(copy: Copy, factor: float) -> Copy:
    """The same similarity in a picture scaled by `factor`."""
    if factor == 1.0:
        return copy
    matrix = copy.matrix.copy()
    # pixel centres: x_small = (x + 0.5)·factor − 0.5
    shift = matrix[:, :2].sum(axis=1) * 0.5 * (1 / factor - 1)
    matrix[:, 2] = (matrix[:, 2] + shift + 0.5) * factor - 0.5
    return Copy(matrix, *(((points + 0.5) * factor - 0.5).astype(np.float32) for points in (copy.here, copy.there)))
