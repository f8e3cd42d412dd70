"""Pictures of a map for people: the overlay and the colour scale."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.images import RGB, Map, Mask

OVERLAY_SIDE = 1600
"""Longest side of an overlay in pixels; larger pictures are scaled down (the map and the mask are not)."""

WASH = (255, 120, 0)
"""Orange, RGB. On a picture turned nearly grey it is told apart with every kind of colour vision (our choice)."""

WASH_OPACITY = 0.75


def fit(array: NDArray, side: int) -> NDArray:
    """Scale [H,W] or [H,W,3] down so that the longest side is at most `side`, averaging over area; never up."""
    height, width = array.shape[:2]
    scale = side / max(height, width)
    if scale >= 1.0:
        return array
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def fit_mask(mask: Mask, side: int) -> Mask:
    """Scale a bool mask as `fit` does its picture; a pixel stays set when half of it was."""
    return fit(mask.astype(np.uint8) * 255, side) > 127


def contours(mask: Mask) -> list[NDArray[np.int32]]:
    """Outlines of a bool mask, holes included, as int32 [N,1,2] arrays of (x, y)."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(line, dtype=np.int32) for line in found]


def draw_overlay(rgb: RGB, values: Map, mask: Mask, side: int = OVERLAY_SIDE) -> RGB:
    """The picture under an orange wash as strong as the map, with the mask's outline in black and white.

    The picture is turned nearly grey, so that the wash is the only strong colour; the outline is a white line between
    two black ones, which shows on bright and on dark ground without any colour vision.

    Args:
        rgb: uint8 [H,W,3].
        values: float32 [H,W] in [0,1].
        mask: bool [H,W].
        side: longest side of the result.

    Returns uint8 RGB, aspect ratio kept.
    """
    small = fit(rgb, side)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None]
    ground = 0.25 * small + 0.75 * grey
    opacity = WASH_OPACITY * fit(values, side)[..., None]
    picture = np.rint(ground * (1.0 - opacity) + np.array(WASH) * opacity).astype(np.uint8)
    picture = np.ascontiguousarray(picture)
    lines = contours(fit_mask(mask, side))
    thickness = max(1, round(max(picture.shape) / 500))
    cv2.drawContours(picture, lines, -1, (0, 0, 0), thickness * 3, cv2.LINE_AA)
    cv2.drawContours(picture, lines, -1, (255, 255, 255), thickness, cv2.LINE_AA)
    return picture


def colour_map(values: Map) -> RGB:
    """A map in the cividis scale: dark blue is 0, yellow is 1, even in brightness and safe for colour blindness."""
    levels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB)
