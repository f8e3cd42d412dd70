"""The stack of traces a student may see beside RGB: computed at native resolution, averaged onto a small grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import ImageError
from imltool.pictures.images import RGB
from imltool.traces.copy_planes import copy_planes
from imltool.traces.copy_regions import CopyPair, find_copies
from imltool.traces.jpeg_grid import CrossDifference, grid_offset, history_likelihood
from imltool.traces.residual import error_level, fine_energy, grid_strength, relative_log
from imltool.traces.strips import FloatPlane, LumaRows

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
    "copy grid strength",
    "copy fine structure",
)
GROUPS: dict[str, tuple[int, ...]] = {"jpeg": (0, 1, 2, 3, 4), "noise": (5,), "copy": (6, 7, 8, 9, 10, 11, 12, 13, 14)}
"""Indices into `TRACES` of what can be switched on and off together."""
GRID = 112
"""Side of the square grid of the stack, unless another is asked for: half of a student's input of 224 pixels."""

SMOOTHED = 24 / 7
"""Long side at which planes are smoothed, over the side of the grid: 384 pixels for a grid of 112 (our choice)."""

VERSION = 2
"""Counts changes of what `picture_traces` returns; kept stacks of another version are not used."""

HALVED_FROM = 64_000_000
"""Of pictures with more pixels, planes are kept as means of 2×2 until they are shrunk further, which takes a quarter of
the memory and moves no trace noticeably (our choice)."""

Traces = NDArray[np.float16]


@dataclass(frozen=True)
class Analysis:
    """What the traces of a picture show.

    Attributes:
        traces: float16 [len(TRACES),grid,grid], see `picture_traces`.
        copies: pairs of places that are the same but for a similarity, best supported first.
    """

    traces: Traces
    copies: list[CopyPair]


@dataclass(frozen=True)
class Scale:
    """A resolution of the traces.

    Attributes:
        size: (width, height) at which planes are smoothed.
        grid: (width, height) onto which they are then averaged.
    """

    size: tuple[int, int]
    grid: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], side: int, cells: int, grid: tuple[int, int]) -> Scale:
        """The scale at which a picture [H,W] is seen when `side` of its pixels are `cells` cells of the grid."""
        factor = min(1.0, SMOOTHED * cells / side)
        return cls((max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))), grid)


def grid_side(input_size: int) -> int:
    """Side of the grid that suits a student's input of `input_size` pixels a side."""
    return input_size // 2


def picture_traces(rgb: RGB, grid: int = GRID) -> Traces:
    """All traces of a picture, float16 [len(TRACES),grid,grid]; the grid covers the whole picture.

    Nothing but the pixels is read, so a crop saved as PNG is treated as the JPEG it came from. The values are about
    −3..3; 0 means nothing unusual. Our choice throughout: the paper's student sees RGB alone.

    Args:
        rgb: uint8 [H,W,3], at the picture's own size.
        grid: cells a side.

    Raises `ImageError` when a library refuses the picture.
    """
    return analyse(rgb, grid).traces


def analyse(rgb: RGB, grid: int = GRID) -> Analysis:
    """`picture_traces`, and the copies found on the way. Raises `ImageError`."""
    (traces,), copies = _compute(rgb, [Scale.of(rgb.shape, max(rgb.shape[:2]), grid, (grid, grid))])
    return Analysis(traces, copies)


def tiled_traces(rgb: RGB, side: int, finer: tuple[int, int], grid: int = GRID) -> tuple[Traces, Traces]:
    """`picture_traces`, and the same traces on a finer grid, as far smoothed as in a picture of `side` pixels.

    What is usual is measured on the whole picture, and copies are sought in it, so that a part cut out of the finer
    grid knows more than a picture of that part would tell.

    Args:
        rgb: uint8 [H,W,3].
        side: of the parts that the finer grid is to be cut into, pixels: `grid` cells of it.
        finer: (width, height) of the finer grid.
        grid: cells a side of the first grid, and of a part of the finer one.

    Returns float16 [len(TRACES),grid,grid] and [len(TRACES),height,width]. Raises `ImageError`.
    """
    scales = [
        Scale.of(rgb.shape, max(rgb.shape[:2]), grid, (grid, grid)),
        Scale.of(rgb.shape, side, grid, finer),
    ]
    (first, second), _ = _compute(rgb, scales)
    return first, second


def _compute(rgb: RGB, scales: Sequence[Scale]) -> tuple[list[Traces], list[CopyPair]]:
    """The stack of a picture at each scale, and its copies."""
    try:
        copies = find_copies(rgb)
        return _stacks(rgb, scales, copies), copies
    except (cv2.error, OSError, ValueError) as error:
        raise ImageError(f"no traces could be taken ({' '.join(str(error).split())[:160]})") from error


def _stacks(rgb: RGB, scales: Sequence[Scale], copies: Sequence[CopyPair]) -> list[Traces]:
    smoothed: list[list[FloatPlane]] = [[] for _ in scales]
    for at_size in _measured(rgb, LumaRows(rgb)):
        for scale, planes in zip(scales, smoothed, strict=True):
            planes.append(at_size(scale.size))
        del at_size  # before the next plane of the picture's own size is made: of a large picture no two have room
    stacks = []
    for scale, planes in zip(scales, smoothed, strict=True):
        error_90, _, *others = planes
        compared = copy_planes(copies, (rgb.shape[0], rgb.shape[1]), scale.grid, [error_90, *others])
        stacks.append(np.stack([_fit(plane, scale.grid).astype(np.float16) for plane in (*planes, *compared)]))
    return stacks


def _fit(plane: FloatPlane, size: tuple[int, int]) -> FloatPlane:
    """Bring a plane to `size` (width, height), averaging where it shrinks."""
    if plane.shape == (size[1], size[0]):
        return plane
    shrinks = plane.shape[0] >= size[1] and plane.shape[1] >= size[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, size, interpolation=way), dtype=np.float32)


def _measured(rgb: RGB, luma: LumaRows) -> Iterator[Callable[[tuple[int, int]], FloatPlane]]:
    """The traces before "copy agreement", in the order of `TRACES`, as functions: a size → the trace's plane there."""
    shape = luma.shape
    halved = shape[0] * shape[1] > HALVED_FROM
    for quality in (90, 75):
        yield partial(_relative, error_level(rgb, quality, halved))
    if min(shape) >= 9:
        difference = CrossDifference(luma)
        offset = grid_offset(difference)
        for blocks in history_likelihood(luma, offset):
            yield partial(_block_plane, blocks, offset, shape)
        yield partial(_clipped, grid_strength(difference, offset, halved))
    else:
        for _ in range(3):
            yield lambda size: np.zeros(size[::-1], np.float32)
    yield partial(_relative, fine_energy(luma, halved))


def _relative(plane: FloatPlane, size: tuple[int, int]) -> FloatPlane:
    return relative_log(np.asarray(cv2.blur(_fit(plane, size), (5, 5)), dtype=np.float32), 0.2)


def _clipped(plane: FloatPlane, size: tuple[int, int]) -> FloatPlane:
    return np.clip(_fit(plane, size), -3, 3)


def _block_plane(
    blocks: FloatPlane, offset: tuple[int, int], shape: tuple[int, int], size: tuple[int, int]
) -> FloatPlane:
    """Values of 8×8 blocks brought to `size` (offset grid, edge blocks repeated), smoothed over 3×3 blocks."""
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
    plane = cv2.warpAffine(smooth, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(plane, dtype=np.float32)
