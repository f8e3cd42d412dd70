"""The stack of traces a student may see beside RGB: computed at native resolution, averaged onto a small grid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import ImageError
from imltool.images import RGB
from imltool.traces.copy_match import DENSE_SIDE, Copy, copy_planes, find_copies
from imltool.traces.jpeg_grid import Plane, cross_difference, grid_offset, history_likelihood
from imltool.traces.residual import error_level, fine_structure, grid_strength, relative_log

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

Traces = NDArray[np.float16]


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
    try:
        return _stack(rgb)
    except (cv2.error, OSError, ValueError) as error:
        raise ImageError(f"no traces could be taken ({' '.join(str(error).split())[:160]})") from error


def _stack(rgb: RGB) -> Traces:
    height, width = rgb.shape[:2]
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    luma = (rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.float32)
    small = min(1.0, DENSE_SIDE / max(height, width))
    size = max(1, round(width * small)), max(1, round(height * small))

    if min(height, width) >= 9:
        difference = cross_difference(luma)
        offset = grid_offset(difference)
        histories = [_laid(size, blocks, offset, (height, width)) for blocks in history_likelihood(luma, offset)]
        strength = np.clip(_fit(grid_strength(difference, offset), size), -3, 3)
    else:
        strength = np.zeros((size[1], size[0]), np.float32)
        histories = [strength, strength]
    fine = fine_structure(luma)
    levels = [relative_log(_smooth(_fit(error_level(rgb, quality), size)), 0.2) for quality in (90, 75)]
    energy = relative_log(_smooth(_fit(np.abs(fine), size)), 0.2)

    copies = [_scaled(copy, small) for copy in find_copies(grey)]
    shrunk = _fit(luma, size)
    compared = copy_planes(shrunk, fine_structure(shrunk), [levels[0], *histories, energy], copies)
    planes = [*levels, *histories, strength, energy, *compared]
    return np.stack([_fit(plane, (GRID, GRID)) for plane in planes]).astype(np.float16)


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
