"""From a probability map to the figures of a result row: score, area, regions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from imltool.images import Map, Mask

SMALLEST_REGION = 0.001
"""Regions below this share of the picture are not listed (our choice: 0.1 %); the mask keeps their pixels."""


def quantise(values: Map) -> Map:
    """Round a map (float32 [H,W] in [0,1]) to the 1/65535 steps its file holds.

    Everything a row says is derived from the rounded map, so that anyone can repeat it from the file.
    """
    steps = np.rint(np.clip(values, 0.0, 1.0) * np.float32(65535.0))
    return (steps / np.float32(65535.0)).astype(np.float32)


def find_regions(values: Map, mask: Mask) -> list[dict[str, Any]]:
    """Connected regions (8 neighbours) of a mask, largest first.

    Args:
        values: float32 [H,W] in [0,1].
        mask: bool [H,W], True = tampered.

    Returns a dict a region: `x, y, width, height` of its box in pixels from the top left corner, `area` in pixels,
    `score`, the mean of the map over the region. Regions smaller than `SMALLEST_REGION` of the picture are left out.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sums = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    regions = []
    for label in range(1, count):
        x, y, width, height, area = (int(figure) for figure in stats[label])
        if area >= SMALLEST_REGION * mask.size:
            score = round(float(sums[label]) / area, 6)
            regions.append({"x": x, "y": y, "width": width, "height": height, "area": area, "score": score})
    return sorted(regions, key=lambda region: (-region["area"], region["y"], region["x"]))
