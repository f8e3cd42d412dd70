"""Pasting a piece into a host: soft edges, Poisson blending, colour matching."""

from __future__ import annotations

import cv2
import numpy as np

from imltool.images import RGB, Mask
from imltool.synth.regions import Piece, bounds, window


def match_colour(piece: RGB, shape: Mask, target: RGB, strength: float) -> RGB:
    """Move mean and spread of a piece towards those of `target`, by `strength` 0..1, in CIELAB.

    Spread changes are held within a factor of two, so that flat targets do not flatten the piece.
    """
    if strength <= 0.0:
        return piece
    lab = cv2.cvtColor(piece, cv2.COLOR_RGB2LAB).astype(np.float32)
    inside = lab[shape]
    goal = cv2.cvtColor(np.ascontiguousarray(target), cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    mean, spread = inside.mean(axis=0), inside.std(axis=0) + 1e-3
    ratio = np.clip((goal.std(axis=0) + 1e-3) / spread, 0.5, 2.0)
    matched = (lab - mean) * ratio + goal.mean(axis=0)
    mixed = np.clip(lab + strength * (matched - lab), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def jitter_colour(rgb: RGB, gain: float, offset: float) -> RGB:
    """Contrast (`gain` around mid-grey) and brightness (`offset`, grey levels) of a uint8 picture."""
    return np.asarray(cv2.convertScaleAbs(rgb, alpha=gain, beta=offset + 128.0 * (1.0 - gain)), dtype=np.uint8)


def alpha_paste(host: RGB, piece: Piece, x: int, y: int, feather: float) -> tuple[RGB, Mask]:
    """Paste with a soft edge of standard deviation `feather` pixels; returns the picture and the mask of the piece.

    The mask is where the piece weighs anything: outside of it the host is untouched.
    (x, y) is the piece's top-left corner on the host.
    """
    result, mask = host.copy(), np.zeros(host.shape[:2], dtype=bool)
    overlap = window(piece, x, y, *host.shape[:2])
    if overlap is None:
        return result, mask
    rows, columns, piece_rows, piece_columns = overlap
    shape = piece.shape[piece_rows, piece_columns]
    weight = shape.astype(np.float32)
    if feather > 0.05:
        # blurred inside the piece's own frame, so that nothing outside its shape shines through
        weight = np.minimum(cv2.GaussianBlur(weight, (0, 0), feather) * 2.0 - 1.0, weight).clip(0.0, 1.0)
    part = piece.rgb[piece_rows, piece_columns].astype(np.float32)
    under = result[rows, columns].astype(np.float32)
    result[rows, columns] = np.rint(under + weight[..., None] * (part - under)).astype(np.uint8)
    mask[rows, columns] = weight > 0.0
    return result, mask


def poisson_paste(host: RGB, piece: Piece, x: int, y: int) -> tuple[RGB, Mask] | None:
    """Paste by gradient (OpenCV's seamless cloning), the host outside of the returned mask untouched.

    None when OpenCV cannot, or when less than 64 pixels of the piece lie on the canvas.
    """
    overlap = window(piece, x, y, *host.shape[:2])
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
    # OpenCV solves over the mask's whole bounding rectangle, which tints the host around the piece as well
    return np.where(mask[..., None], np.asarray(blended, dtype=np.uint8), host), mask
