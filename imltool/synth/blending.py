"""Paste a piece into a host: alpha and Poisson blending, matching of colours and light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB, Mask
from imltool.pictures.pixels import bounds
from imltool.synth.regions import Piece, window

Weight = NDArray[np.float32]
"""float32 [h,w] in [0,1]: the opacity of each pixel of a pasted piece."""

STATISTICS_PIXELS = 20_000
"""Pixels sampled for colour statistics: enough for a mean, and the cost does not grow with the host."""


def _thin(rgb: RGB) -> RGB:
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / STATISTICS_PIXELS) ** 0.5))
    return np.ascontiguousarray(rgb[::step, ::step])


def match_colour(piece: RGB, shape: Mask, target: RGB, strength: float) -> RGB:
    """Move the mean and standard deviation of a piece towards those of `target`, by `strength` 0..1, in CIELAB.

    The standard deviation changes by a factor of two at most, so that flat targets do not flatten the piece.
    """
    if strength <= 0.0:
        return piece
    lab = cv2.cvtColor(np.ascontiguousarray(piece), cv2.COLOR_RGB2LAB)
    goal = cv2.cvtColor(_thin(target), cv2.COLOR_RGB2LAB)
    mean, spread = cv2.meanStdDev(lab, mask=shape.astype(np.uint8))
    goal_mean, goal_spread = cv2.meanStdDev(goal)
    ratio = np.clip((goal_spread + 1e-3) / (spread + 1e-3), 0.5, 2.0)
    levels = np.arange(256, dtype=np.float64)[:, None]
    matched = (levels - mean.T) * ratio.T + goal_mean.T
    table = np.clip(np.rint(levels + strength * (matched - levels)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.LUT(lab, table[None]), cv2.COLOR_LAB2RGB), dtype=np.uint8)


def jitter_colour(rgb: RGB, gain: float, offset: float) -> RGB:
    """Change contrast (`gain` around mid-grey) and brightness (`offset`, grey levels) of a uint8 picture."""
    levels = np.arange(256) * gain + offset + 128.0 * (1.0 - gain)
    return np.asarray(cv2.LUT(rgb, np.clip(np.rint(levels), 0, 255).astype(np.uint8)), dtype=np.uint8)


def match_light(piece: RGB, under: RGB, strength: float) -> RGB:
    """Apply the brightness gradient of the host pixels `under` a piece to the piece, by `strength` 0..1.

    The piece is multiplied by a plane fitted to the luminance of `under`, divided by its mean and limited to a factor
    of two. The piece's mean brightness stays about the same.
    """
    grid = np.linspace(-7 / 8, 7 / 8, 8, dtype=np.float32)
    grey = cv2.resize(
        cv2.cvtColor(np.ascontiguousarray(under), cv2.COLOR_RGB2GRAY), (8, 8), interpolation=cv2.INTER_AREA
    )
    light = grey.astype(np.float32) / max(float(grey.mean()), 16.0)
    slope_x = float((light * grid).sum() / (8 * (grid**2).sum()))
    slope_y = float((light * grid[:, None]).sum() / (8 * (grid**2).sum()))
    height, width = piece.shape[:2]
    plane = (
        np.linspace(-slope_x, slope_x, width, dtype=np.float32)
        + np.linspace(-slope_y, slope_y, height, dtype=np.float32)[:, None]
    )
    gain = np.clip(1.0 + strength * plane, 0.5, 2.0)
    return np.asarray(cv2.multiply(piece, np.dstack([gain] * 3), dtype=cv2.CV_8U), dtype=np.uint8)


def alpha_paste(host: RGB, rgb: RGB, weight: Weight, x: int, y: int) -> tuple[RGB, Mask]:
    """Paste `rgb` [h,w,3] with `weight` [h,w]; returns the picture and the mask of the piece, both the host's size.

    The mask contains every pixel with a weight above 0; all other pixels are the host's. (x, y) is the piece's top-left
    corner on the host.
    """
    result, mask = host.copy(), np.zeros(host.shape[:2], dtype=bool)
    overlap = window(weight.shape, x, y, *host.shape[:2])
    if overlap is None:
        return result, mask
    rows, columns, piece_rows, piece_columns = overlap
    part, seen = rgb[piece_rows, piece_columns], weight[piece_rows, piece_columns]
    result[rows, columns] = blend(result[rows, columns], part, seen)
    mask[rows, columns] = seen > 0.0
    return result, mask


def blend(under: RGB, over: RGB, weight: Weight) -> RGB:
    """Blend `over` onto `under`, both uint8 [h,w,3], by `weight` [h,w]."""
    base = under.astype(np.float32)
    return np.rint(base + weight[..., None] * (over.astype(np.float32) - base)).astype(np.uint8)


def poisson_paste(host: RGB, piece: Piece, x: int, y: int) -> tuple[RGB, Mask] | None:
    """Paste by gradients (OpenCV's seamless cloning); the host is unchanged outside of the returned mask.

    None when OpenCV fails, or when fewer than 64 pixels of the piece are on the canvas.
    """
    overlap = window(piece.shape.shape, x, y, *host.shape[:2])
    mask = np.zeros(host.shape[:2], dtype=bool)
    if overlap is None:
        return None
    rows, columns, piece_rows, piece_columns = overlap
    mask[rows, columns] = piece.shape[piece_rows, piece_columns]
    mask[:2] = mask[-2:] = False
    mask[:, :2] = mask[:, -2:] = False
    if mask.sum() < 64:
        return None
    source = host.copy()
    source[rows, columns] = piece.rgb[piece_rows, piece_columns]
    x1, y1, x2, y2 = bounds(mask)
    centre = ((x1 + x2) // 2, (y1 + y2) // 2)
    try:
        blended = cv2.seamlessClone(source, host, mask.astype(np.uint8) * 255, centre, cv2.NORMAL_CLONE)
    except cv2.error:
        return None
    # OpenCV solves over the mask's whole bounding rectangle, which also tints the host around the piece
    return np.where(mask[..., None], np.asarray(blended, dtype=np.uint8), host), mask
