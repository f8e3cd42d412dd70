"""The outputs of a picture: file names, overlay, regions of the mask, score."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.inference.localizer import image_score
from imltool.pictures.draw import levels, palette
from imltool.pictures.images import RGB, Map
from imltool.pictures.strips import strips
from imltool.scan.results import Region

OVERLAY_SIDE = 1600
"""Longest side of an overlay in pixels: enough for a screen, small enough to send (our choice)."""
WASH_OPACITY = 0.8
"""Opacity of the colour in the overlay where the map is 1. It is proportional to the map's square, so that low values
leave the picture clear (our choice)."""
SMALLEST_REGION = 0.001
"""Regions below this share of the picture are in the mask but not in the list (our choice)."""

RGBA = NDArray[np.uint8]


def quantise(values: Map) -> Map:
    """Round a map (float32 [H,W] in [0,1]) to the 1/65535 steps of its file, in place, and return it.

    All other values are computed from the rounded map, so that they can be reproduced from the file. NaN stays NaN.
    """
    np.clip(values, 0.0, 1.0, out=values)
    values *= np.float32(65535.0)
    np.rint(values, out=values)
    values /= np.float32(65535.0)
    return values


def output_files(name: str) -> dict[str, str]:
    """`map`, `mask`, `overlay` and `preview` of a picture: paths relative to the output folder.

    Args:
        name: output name of the picture, relative, with forward slashes.
    """
    return {
        "map": f"maps/{name}.png",
        "mask": f"masks/{name}.png",
        "overlay": f"overlays/{name}.jpg",
        "preview": f"previews/{name}.json",
    }


def map_score(values: Map) -> float | None:
    """The score of a map, to six decimals; None when the map holds values that are not numbers."""
    score = image_score(values)
    return score if math.isfinite(score) else None


def find_regions(values: Map, threshold: float) -> list[Region]:
    """Connected parts (8 neighbours) of the map above `threshold`, largest first.

    Parts smaller than 0.1 % of the picture are left out.
    """
    mask = (values > threshold).view(np.uint8)
    pixels = mask.size
    # labels take four bytes per pixel, so they are only made for the rectangle that holds the mask
    left, top, across, down = cv2.boundingRect(mask)
    if not across:
        return []
    mask, values = mask[top : top + down, left : left + across], values[top : top + down, left : left + across]
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    sums = np.zeros(count)
    for part in strips(mask.shape):
        inside = mask[part] > 0
        sums += np.bincount(labels[part][inside], weights=values[part][inside], minlength=count)
    regions = [
        Region(
            x=int(left + x),
            y=int(top + y),
            width=int(width),
            height=int(height),
            area=int(area),
            score=round(float(sums[label] / area), 6),
        )
        for label, (x, y, width, height, area) in enumerate(boxes)
        if label > 0 and area >= SMALLEST_REGION * pixels
    ]
    return sorted(regions, key=lambda region: (-region.area, region.y, region.x))


@lru_cache(maxsize=1)
def wash_colours() -> NDArray[np.uint8]:
    """Colour and opacity of the 256 levels of a map laid over a picture: uint8 RGBA [256,4], transparent at 0."""
    colours = np.empty((256, 4), np.uint8)
    colours[:, :3] = palette()
    colours[:, 3] = np.rint((np.arange(256) / 255.0) ** 2 * (WASH_OPACITY * 255.0))
    return colours


def wash(values: Map) -> RGBA:
    """The map as a layer over its picture: uint8 [H,W,4], RGB and opacity, transparent where the map is 0."""
    # gathering the four bytes of a pixel as one number is faster
    colours = np.take(wash_colours().view(np.uint32)[:, 0], levels(values))
    return colours.view(np.uint8).reshape(*values.shape, 4)


def mask_outlines(mask: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """Outlines of the parts of a mask, uint8 [H,W] with 0 outside, and of their holes: int32 [N,1,2] each, x and y.

    Parts below `SMALLEST_REGION` are left out with their holes: those of specks would hide the specks.
    """
    outlines, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # half of an outline's own pixels lie outside the polygon through their centres
    smallest = SMALLEST_REGION * mask.size
    large = [cv2.contourArea(outline) + len(outline) / 2 + 1 >= smallest for outline in outlines]
    around = [index if parents[3] < 0 else parents[3] for index, parents in enumerate(hierarchy[0])] if outlines else []
    return [np.asarray(each, np.int32) for each, whole in zip(outlines, around, strict=True) if large[whole]]


def overlay(rgb: RGB, values: Map, threshold: float) -> RGB:
    """The picture with its map laid over as a colour wash and the outline of the mask: uint8 RGB [H,W,3].

    The outline is a white line in a black one, visible on any background.
    """
    layer = wash(values)
    outlines = mask_outlines((values > threshold).view(np.uint8))
    line = max(1, round(max(values.shape) / 500))
    cv2.drawContours(layer, outlines, -1, (0, 0, 0, 255), thickness=3 * line)
    cv2.drawContours(layer, outlines, -1, (255, 255, 255, 255), thickness=line)
    opacity = cv2.merge([cv2.extractChannel(layer, 3)] * 3)
    below = cv2.multiply(rgb, cv2.bitwise_not(opacity), scale=1 / 255)
    above = cv2.multiply(cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), opacity, scale=1 / 255)
    return np.asarray(cv2.add(below, above), dtype=np.uint8)
