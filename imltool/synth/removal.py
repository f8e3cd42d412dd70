"""Removals: paint over a region with OpenCV's inpainting or a patch of the surroundings."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from imltool.pictures.images import RGB, Mask
from imltool.pictures.pixels import bounds
from imltool.synth.edit import Edit, Host, nothing, paste, some_region
from imltool.synth.records import Record
from imltool.synth.regions import Piece, around
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

OFFSETS = 24
"""Number of places tried for a patch; the one with the least visible seam is used."""


def grow(region: Mask, pixels: int) -> Mask:
    """A region with a margin of `pixels` around it."""
    return cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=pixels) > 0


def shrink(region: Mask, pixels: int) -> Mask:
    """A region without its outermost `pixels`; the array's border also ends the region."""
    kernel = np.ones((3, 3), np.uint8)
    shape = region.astype(np.uint8)
    return cv2.erode(shape, kernel, iterations=pixels, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0


def inpaint(rng: np.random.Generator, rgb: RGB, hole: Mask) -> Edit:
    """Fill a non-empty hole from its edge with one of OpenCV's two methods."""
    method, radius = str(rng.choice(["telea", "ns"])), float(rng.uniform(3, 6))
    # inpainting uses only the surroundings: a crop gives the same result faster
    rows, columns = around(bounds(hole), 12, *hole.shape)
    result: RGB = rgb.copy()
    result[rows, columns] = cv2.inpaint(
        np.ascontiguousarray(rgb[rows, columns]),
        np.ascontiguousarray(hole[rows, columns]).astype(np.uint8),
        radius,
        cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS,
    )
    return Edit(result, hole, Record(method=method, radius=radius))


def find_patch(rng: np.random.Generator, rgb: RGB, hole: Mask) -> tuple[int, int] | None:
    """The offset (dx, dy) of the place whose pixels continue the hole's edge best; None if none fits."""
    x1, y1, x2, y2 = bounds(hole)
    height, width = hole.shape
    reach = max(x2 - x1, y2 - y1) * 2
    offsets = rng.integers(-reach, reach + 1, (OFFSETS, 2))
    dx, dy = offsets[:, 0], offsets[:, 1]
    fits = (x1 + dx >= 0) & (y1 + dy >= 0) & (x2 + dx <= width) & (y2 + dy <= height)
    offsets = offsets[fits & ((abs(dx) >= (x2 - x1) * 0.8) | (abs(dy) >= (y2 - y1) * 0.8))]
    if not len(offsets):
        return None
    ys, xs = np.nonzero(grow(hole, 2) & ~hole)
    thin = rng.permutation(len(ys))[:200]
    ys, xs = ys[thin], xs[thin]
    smooth = cv2.blur(rgb, (5, 5)).astype(np.int16)
    best: tuple[float, int, int] | None = None
    for dx, dy in offsets.tolist():
        inside = (xs + dx >= 0) & (xs + dx < width) & (ys + dy >= 0) & (ys + dy < height)
        if not inside.any():
            continue
        seam = float(np.abs(smooth[ys[inside], xs[inside]] - smooth[ys[inside] + dy, xs[inside] + dx]).mean())
        if best is None or seam < best[0]:
            best = (seam, dx, dy)
    return None if best is None else best[1:]


def patch(rng: np.random.Generator, rgb: RGB, hole: Mask, settings: SynthSettings) -> Edit | None:
    """Cover a hole with pixels from elsewhere in the picture; None if no place fits."""
    offset = find_patch(rng, rgb, hole)
    if offset is None:
        return None
    x1, y1, x2, y2 = bounds(hole)
    dx, dy = offset
    piece = Piece(rgb[y1 + dy : y2 + dy, x1 + dx : x2 + dx], hole[y1:y2, x1:x2])
    return paste(rng, nothing(rgb, Record(method="patch", offset=offset)), piece, x1, y1, settings)


def fill(rng: np.random.Generator, rgb: RGB, hole: Mask, settings: SynthSettings) -> Edit | None:
    """Patch a hole, or inpaint it if it is small and either this is drawn or no patch fits; None if neither works."""
    small = float(hole.mean()) <= settings.inpaint_area
    if not small or rng.random() >= settings.inpaint:
        patched = patch(rng, rgb, hole, settings)
        if patched is not None or not small:
            return patched
    return inpaint(rng, rgb, hole)


def removal(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Paint over a region with OpenCV's inpainting or a patch of the surroundings."""
    region, source = some_region(rng, host, settings)
    filled = fill(rng, host.rgb, grow(region, 2), settings)
    return nothing(host.rgb) if filled is None else replace(filled, record=replace(filled.record, region=source))
