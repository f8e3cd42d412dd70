"""Companion maps: classical forensic filters of a picture, for a person to look at beside its map.

They are pictures with fixed scales, so that two of them can be compared. None is scored, and none affects the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import UsageError
from imltool.pictures.draw import fit
from imltool.pictures.grey_png import encode_grey
from imltool.pictures.images import RGB
from imltool.pictures.strips import strips
from imltool.traces.jpeg_grid import BLOCK
from imltool.traces.residual import TILE, error_level, fine_structure

FOLDER = "companions"

ELA_QUALITY = 90
ELA_GAIN = 32
"""Grey steps per level of error: white is a change of 8 levels or more (our choice)."""
NOISE_GAIN = 16
"""Grey steps per level of noise around the middle grey: black and white are 8 levels (our choice)."""
STRIP = 512
"""Rows filtered at once: bounds memory."""

GHOST_QUALITIES = tuple(range(40, 100, 5))
GHOST_COLUMNS = 4
GHOST_WINDOW = 3
"""Side of the neighbourhood averaged over, in blocks of 8 pixels (our choice; Farid averages over 16 pixels)."""
GHOST_SPAN = 0.5
"""Blocks whose change differs less than this many grey levels between qualities are flat: they show no ghost."""
PANEL_SIDE = 400
CAPTION = 24

Grey = NDArray[np.uint8]


def error_levels(rgb: RGB) -> Grey:
    """Error-level analysis: how much one more JPEG save of quality 90 changes each pixel, uint8 [H,W].

    The value over 32 is the mean change of the three channels in grey levels (`traces.residual.error_level`).

    Args:
        rgb: uint8 [H,W,3].
    """
    shown = np.empty(rgb.shape[:2], np.uint8)
    for rows, columns in _tiles(rgb.shape):
        shown[rows, columns] = _shade(error_level(rgb[rows, columns], ELA_QUALITY) * np.float32(ELA_GAIN))
    return shown


def noise_residual(rgb: RGB) -> Grey:
    """The 3×3 high-pass residual of the luma, uint8 [H,W] (`traces.residual.fine_structure`).

    The value minus 128, over 16, is the signed residual in grey levels.

    Args:
        rgb: uint8 [H,W,3].
    """
    height = rgb.shape[0]
    shown = np.empty(rgb.shape[:2], np.uint8)
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        above, below = min(top, 1), min(height - bottom, 1)  # the filter looks one row beyond the strip
        part = rgb[top - above : bottom + below].astype(np.float32)
        residual = fine_structure(np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), dtype=np.float32))
        shown[top:bottom] = _shade(128.0 + NOISE_GAIN * residual[above : above + bottom - top])
    return shown


def jpeg_ghosts(rgb: RGB) -> Grey:
    """JPEG ghosts (Farid 2009): a sheet of panels, one per quality from 40 to 95 and captioned with it; uint8 [h,w].

    Each cell of a panel is a block of 8×8 pixels. It is black where a save at this quality changes the block least of
    all qualities, and white where it changes it most, relative to the block's own range. A region that was once saved
    at a lower quality than the rest is dark in the panel of that quality, where the rest is not. Our choice: the mean
    change as in error-level analysis instead of its square, over 3×3 blocks; blocks that no quality changes are white.

    Args:
        rgb: uint8 [H,W,3]. Panels are enlarged or shrunk to at most 400 pixels a side.
    """
    rows, columns = (max(1, -(-side // BLOCK)) for side in rgb.shape[:2])
    changes = np.empty((len(GHOST_QUALITIES), rows, columns), np.float32)
    for change, quality in zip(changes, GHOST_QUALITIES, strict=True):
        for down, across in _tiles(rgb.shape):
            cells = _block_means(error_level(rgb[down, across], quality))
            top, left = down.start // BLOCK, across.start // BLOCK
            change[top : top + cells.shape[0], left : left + cells.shape[1]] = cells
        change[:] = cv2.blur(change, (GHOST_WINDOW, GHOST_WINDOW))
    least, most = changes.min(axis=0), changes.max(axis=0)
    flat = most - least < GHOST_SPAN
    panels = []
    for change, quality in zip(changes, GHOST_QUALITIES, strict=True):
        relative = np.where(flat, 1.0, (change - least) / np.maximum(most - least, GHOST_SPAN))
        panels.append(_panel(_shade(255.0 * relative), str(quality)))
    lines = [np.hstack(panels[i : i + GHOST_COLUMNS]) for i in range(0, len(panels), GHOST_COLUMNS)]
    return np.vstack(lines)


COMPANIONS: dict[str, Callable[[RGB], Grey]] = {
    "ela": error_levels,
    "noise": noise_residual,
    "ghost": jpeg_ghosts,
}
"""Name of `--companions` → the function that draws the map."""
COMPANION_WORDS: dict[str, tuple[str, str]] = {
    "ela": (
        "Error level (ELA)",
        "Brighter where a JPEG save at quality 90 changes more. Edges and texture are always bright: compare like with "
        "like, and look for a part that differs from others of the same texture.",
    ),
    "noise": (
        "Noise residual",
        "The result of a high-pass filter; zero is grey. Look for a part whose grain is finer, coarser or missing.",
    ),
    "ghost": (
        "JPEG ghosts",
        "One panel for each quality. A part that is dark where the rest is not was once saved at that quality.",
    ),
}
"""Companion map → its title and how to read it."""


def choose_companions(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in the order of `COMPANIONS`. Raises `UsageError` for an unknown one."""
    unknown = [name for name in names if name not in COMPANIONS]
    if unknown:
        raise UsageError(f"unknown companion map {unknown[0]!r}", f"choose from {', '.join(COMPANIONS)}")
    return tuple(name for name in COMPANIONS if name in names)


def companion_files(name: str, chosen: Sequence[str]) -> dict[str, str]:
    """Companion maps of one picture: the name of each → its path relative to the output folder.

    Args:
        name: output name of the picture, relative, with forward slashes.
        chosen: names of `COMPANIONS`.
    """
    return {each: f"{FOLDER}/{each}/{name}.png" for each in chosen}


def companion_png(name: str, rgb: RGB) -> bytes:
    """A companion map of one picture, uint8 [H,W,3], as 8-bit grey PNG.

    Args:
        name: of `COMPANIONS`.
    """
    plane = COMPANIONS[name](rgb)
    return encode_grey((plane[rows] for rows in strips(plane.shape)), plane.shape, 8)


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the tiles of `error_level`: the values of tiles are those of the whole picture."""
    for top in range(0, shape[0], TILE):
        for left in range(0, shape[1], TILE):
            yield slice(top, min(top + TILE, shape[0])), slice(left, min(left + TILE, shape[1]))


def _shade(values: NDArray[np.floating]) -> Grey:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _block_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over blocks of 8×8, the last ones padded by repeating the border. float32 [H,W] → [⌈H/8⌉,⌈W/8⌉]."""
    height, width = values.shape
    whole = cv2.copyMakeBorder(values, 0, -height % BLOCK, 0, -width % BLOCK, cv2.BORDER_REPLICATE)
    size = whole.shape[1] // BLOCK, whole.shape[0] // BLOCK
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _panel(cells: Grey, caption: str) -> Grey:
    """A panel with its caption above it and a white edge."""
    times = max(1, PANEL_SIDE // max(cells.shape))
    shown = fit(cells.repeat(times, axis=0).repeat(times, axis=1), PANEL_SIDE)
    panel = np.asarray(cv2.copyMakeBorder(shown, CAPTION, 8, 8, 8, cv2.BORDER_CONSTANT, value=255), dtype=np.uint8)
    cv2.putText(panel, caption, (8, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
    return panel
