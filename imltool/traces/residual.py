"""Noise-like traces: fine structure, error level and grid strength."""

from __future__ import annotations

import cv2
import numpy as np

from imltool.pictures.images import RGB
from imltool.traces.jpeg_grid import corner_mask
from imltool.traces.rows import Canvas, Plane, Rows, whole

TILE = 4096
"""Side of the parts saved at a time, a multiple of JPEG's 16: limits memory, and a JPEG's side is at most 65,500."""
MEAN = np.full((1, 3), 1 / 3, np.float32)
CHANGE_ROWS = 512
"""Rows averaged over channels at a time: the change by a save takes twelve bytes per pixel as floats."""
WINDOW = 33
"""Side of the square window of `grid_strength`, pixels."""
FINE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 4.0


def fine_structure(luma: Plane) -> Plane:
    """The luma minus its smooth part, float32 [H,W], signed grey levels."""
    return np.asarray(cv2.filter2D(luma, cv2.CV_32F, FINE, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def error_level(rgb: RGB, quality: int, halved: bool = False) -> Plane:
    """Mean absolute change of the three channels by another JPEG save, float32 [H,W], grey levels.

    With `halved`, means over 2×2 pixels: float32 [⌈H/2⌉,⌈W/2⌉].
    """
    height, width = rgb.shape[:2]
    canvas = Canvas((height, width), halved)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            change = _change_by_save(rgb[top : top + TILE, left : left + TILE], quality)
            for first in range(0, len(change), CHANGE_ROWS):
                rows = change[first : first + CHANGE_ROWS].astype(np.float32)
                # numpy's mean over channels takes six times as long
                canvas.put(top + first, left, np.asarray(cv2.transform(rows, MEAN), dtype=np.float32))
    return canvas.plane


def _change_by_save(rgb: RGB, quality: int) -> RGB:
    """Absolute change of each channel by a JPEG save with 4:2:0 chroma subsampling, uint8 [H,W,3].

    OpenCV's codec takes half the time of Pillow's for the same pixels: both use libjpeg-turbo.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    saved = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if saved is None:
        raise OSError("the JPEG just written could not be read")
    return np.asarray(cv2.cvtColor(cv2.absdiff(bgr, saved), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def fine_energy(luma: Rows, halved: bool = False) -> Plane:
    """Absolute `fine_structure` of a luma, float32 [H,W]; with `halved`, means over 2×2 pixels."""
    return whole(luma, 1, lambda rows, _: np.abs(fine_structure(rows)), halved)


def grid_strength(difference: Rows, offset: tuple[int, int], halved: bool = False) -> Plane:
    """Strength of the picture's JPEG grid around each pixel, float32 [H-1,W-1], about −1..3.

    In a window around the pixel: (mean `difference` across block borders − overall mean) / overall mean. Pasted
    regions have another grid, or none. With `halved`, means over 2×2 pixels.
    """
    size = (WINDOW, WINDOW)

    def strength(rows: Plane, top: int) -> Plane:
        corners = corner_mask(rows.shape, (offset[0], offset[1] - top)).astype(np.float32)
        everything = cv2.blur(rows, size)
        share = cv2.blur(corners, size)
        borders = cv2.blur(rows * corners, size) / np.maximum(share, 1e-3)
        return np.asarray((borders - everything) / (everything + 0.5), dtype=np.float32)

    return whole(difference, WINDOW // 2, strength, halved)


def relative_log(values: Plane, floor: float) -> Plane:
    """log(values + floor) minus its median: how a place differs from the rest of the picture."""
    logs: Plane = values + np.float32(floor)
    np.log(logs, out=logs)
    logs -= np.float32(np.median(logs[:: max(1, logs.shape[0] // 256), :: max(1, logs.shape[1] // 256)]))
    return logs
