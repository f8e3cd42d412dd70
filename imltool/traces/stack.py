"""The stack of traces that a student may take beside RGB: computed at native resolution, averaged to a small grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import ImageError
from imltool.pictures.images import RGB
from imltool.pictures.pixels import resample
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
"""Indices into `TRACES` of the traces that are switched on and off together."""
GRID = 112
"""Side of the square grid of the stack."""

VERSION = 1
"""Increased when the values of `picture_traces` change; cached stacks of another version are not used."""

HALVED_FROM = 64_000_000
"""Pictures with more pixels have their planes stored as means over 2×2 pixels before further shrinking, which takes a
quarter of the memory and does not change traces noticeably (our choice).
"""

Traces = NDArray[np.float16]


@dataclass(frozen=True)
class Scale:
    """A resolution of the traces.

    Attributes:
        size: (width, height) at which planes are smoothed and copies are compared.
        grid: (width, height) to which planes are then averaged.
    """

    size: tuple[int, int]
    grid: tuple[int, int] = (GRID, GRID)

    @classmethod
    def of(cls, shape: tuple[int, ...], side: int, grid: tuple[int, int] = (GRID, GRID)) -> Scale:
        """The scale at which `side` pixels of a picture [H,W] are shrunk to `DENSE_SIDE`."""
        factor = min(1.0, DENSE_SIDE / side)
        return cls((max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))), grid)


def picture_traces(rgb: RGB, grid: int = GRID) -> Traces:
    """All traces of a picture, float16 [len(TRACES),grid,grid]; the grid covers the whole picture.

    Only pixels are read, so a crop of a JPEG that was saved as PNG still shows the JPEG's traces. The values are about
    −3..3; 0 means nothing unusual. All of this is our choice: the paper's student takes RGB alone.

    Args:
        rgb: uint8 [H,W,3], at the picture's own size.
        grid: side of the grid, cells.

    Raises `ImageError` when a library cannot process the picture.
    """
    return _take(rgb, grid, ())[0]


def on_grid(traces: Traces, grid: int) -> Traces:
    """Resample traces [C,t,t] to [C,grid,grid]: averaged when the new grid is coarser, interpolated when finer."""
    if traces.shape[-1] == grid:
        return traces
    return np.stack([resample(plane.astype(np.float32), (grid, grid)) for plane in traces]).astype(np.float16)


def tiled_traces(rgb: RGB, side: int, grid: tuple[int, int], whole_grid: int = GRID) -> tuple[Traces, Traces]:
    """`picture_traces`, and the same traces on a finer grid with the smoothing of a picture of `side` pixels.

    Medians are measured on the whole picture, and copies are searched for in all of it. A part cut from the finer grid
    therefore contains more information than the traces of a picture of that part alone.

    Args:
        rgb: uint8 [H,W,3].
        side: size of the parts into which the finer grid will be cut, pixels.
        grid: (width, height) of the finer grid.
        whole_grid: side of the grid over the whole picture.

    Returns float16 [len(TRACES),whole_grid,whole_grid] and [len(TRACES),height,width]. Raises `ImageError`.
    """
    first, second = _take(rgb, whole_grid, (Scale.of(rgb.shape, side, grid),))
    return first, second


def _take(rgb: RGB, grid: int, further: Sequence[Scale]) -> list[Traces]:
    scales = [Scale.of(rgb.shape, max(rgb.shape[:2]), (grid, grid)), *further]
    try:
        return _stacks(rgb, scales)
    except (cv2.error, OSError, ValueError) as error:
        raise ImageError(f"no traces could be taken ({' '.join(str(error).split())[:160]})") from error


def _stacks(rgb: RGB, scales: Sequence[Scale]) -> list[Traces]:
    """The stack of a picture at each scale; the first must be the whole picture's, at which copies are compared."""
    shape = rgb.shape[0], rgb.shape[1]
    copies = find_copies(rgb)
    luma = Luma(rgb)
    shrunk = resample(whole(luma, 0, lambda rows, _: rows, _is_halved(shape)), scales[0].size)
    measured: list[Plane] = []
    stacks: list[list[Traces]] = [[] for _ in scales]
    for seen_at in _measured(rgb, luma):
        for scale, stack in zip(scales, stacks, strict=True):
            plane = seen_at(scale.size)
            stack.append(resample(plane, scale.grid).astype(np.float16))
            if scale is scales[0]:
                measured.append(plane)
        del seen_at  # before the next full-size plane is made: two planes of a large picture do not fit into memory
    error_90, _, *histories, _, energy = measured
    scaled = [_scaled(copy, min(1.0, DENSE_SIDE / max(shape))) for copy in copies]
    compared = copy_planes(shrunk, fine_structure(shrunk), [error_90, *histories, energy], scaled)
    for scale, stack in zip(scales, stacks, strict=True):
        stack += [resample(plane, scale.grid).astype(np.float16) for plane in compared]
    return [np.stack(stack) for stack in stacks]


def _measured(rgb: RGB, luma: Luma) -> Iterator[Callable[[tuple[int, int]], Plane]]:
    """The traces before "copy agreement", in the order of `TRACES`, as functions that return the plane at a size."""
    shape = luma.shape
    halved = _is_halved(shape)
    for quality in (90, 75):
        yield partial(_strange, error_level(rgb, quality, halved))
    if min(shape) >= 9:
        difference = CrossDifference(luma)
        offset = grid_offset(difference)
        for blocks in history_likelihood(luma, offset):
            yield partial(_laid, blocks, offset, shape)
        yield partial(_clipped, grid_strength(difference, offset, halved))
    else:
        for _ in range(3):
            yield lambda size: np.zeros(size[::-1], np.float32)
    yield partial(_strange, fine_energy(luma, halved))


def _is_halved(shape: tuple[int, int]) -> bool:
    return shape[0] * shape[1] > HALVED_FROM


def _strange(plane: Plane, size: tuple[int, int]) -> Plane:
    return relative_log(np.asarray(cv2.blur(resample(plane, size), (5, 5)), dtype=np.float32), 0.2)


def _clipped(plane: Plane, size: tuple[int, int]) -> Plane:
    return np.clip(resample(plane, size), -3, 3)


def _laid(blocks: Plane, offset: tuple[int, int], shape: tuple[int, int], size: tuple[int, int]) -> Plane:
    """Block values as a plane over the picture (offset grid, edge blocks repeated), smoothed over 3×3 blocks."""
    if blocks.shape == (1, 1):
        return np.zeros((size[1], size[0]), np.float32)
    smooth = cv2.blur(blocks, (3, 3))
    factor_x, factor_y = size[0] / shape[1], size[1] / shape[0]
    # centre of block (r, c) is at offset + 8·c + 3.5
    matrix = np.array(
        [
            [8.0 * factor_x, 0.0, (offset[0] + 4.0) * factor_x - 0.5],
            [0.0, 8.0 * factor_y, (offset[1] + 4.0) * factor_y - 0.5],
        ]
    )
    laid = cv2.warpAffine(smooth, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid, dtype=np.float32)


def _scaled(copy: Copy, factor: float) -> Copy:
    """The same transform in a picture scaled by `factor`."""
    if factor == 1.0:
        return copy
    matrix = copy.matrix.copy()
    # pixel centres: x_small = (x + 0.5)·factor − 0.5
    shift = matrix[:, :2].sum(axis=1) * 0.5 * (1 / factor - 1)
    matrix[:, 2] = (matrix[:, 2] + shift + 0.5) * factor - 0.5
    return Copy(matrix, *(((points + 0.5) * factor - 0.5).astype(np.float32) for points in (copy.here, copy.there)))
