"""Noise-like traces: fine structure, error level and grid strength."""

from __future__ import annotations

import cv2
import numpy as np

from imltool.images import RGB, encode_jpeg
from imltool.synth.history import decode
from imltool.traces.jpeg_grid import Plane, corner_mask

TILE = 4096
"""Side of the parts saved at once, a multiple of a JPEG's 16: bounds memory, and no JPEG may be wider than 65,500."""
MEAN = np.full((1, 3), 1 / 3, np.float32)
FINE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 4.0


def fine_structure(luma: Plane) -> Plane:
    """What is left of the luma after everything smooth is taken away, float32 [H,W], signed grey levels."""
    return np.asarray(cv2.filter2D(luma, cv2.CV_32F, FINE, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def error_level(rgb: RGB, quality: int) -> Plane:
    """Mean absolute change of the three channels by one more JPEG save, float32 [H,W], grey levels."""
    height, width = rgb.shape[:2]
    levels = np.empty((height, width), np.float32)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            part = np.ascontiguousarray(rgb[top : top + TILE, left : left + TILE])
            change = cv2.absdiff(part, decode(encode_jpeg(part, quality, 2))).astype(np.float32)
            # numpy's mean over channels takes six times as long
            levels[top : top + TILE, left : left + TILE] = cv2.transform(change, MEAN)
    return levels


def grid_strength(difference: Plane, offset: tuple[int, int], window: int = 33) -> Plane:
    """How much the picture's JPEG grid shows around each pixel, float32 [H-1,W-1], about −1..3.

    Mean difference across block borders minus the mean of all, over the mean of all. Pasted regions carry another
    grid, or none.
    """
    corners = corner_mask(difference.shape, offset).astype(np.float32)
    size = (window, window)
    everything = cv2.blur(difference, size)
    share = cv2.blur(corners, size)
    borders = cv2.blur(difference * corners, size) / np.maximum(share, 1e-3)
    return np.asarray((borders - everything) / (everything + 0.5), dtype=np.float32)


def relative_log(values: Plane, floor: float) -> Plane:
    """log(values + floor) minus its median: how a place differs from the picture's usual."""
    logs = np.log(values + np.float32(floor))
    return logs - np.float32(np.median(logs[:: max(1, logs.shape[0] // 256), :: max(1, logs.shape[1] // 256)]))
