"""Make coarse boxes from masks, as a person might draw them, to train with boxes on sets that have only masks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from imltool.data.box_formats import BoxedImage
from imltool.data.layouts.common import Problem
from imltool.data.manifest import Manifest
from imltool.errors import DataError, ImageError, UsageError
from imltool.pictures.images import Mask, read_size

JITTER = (-0.05, 0.15)
"""Range of the random share of its length by which each side of a box moves outwards (our choice, as in `synth`)."""


def boxes_root(manifest: Manifest) -> Path:
    """The innermost folder that contains all tampered pictures, to which the boxes' names are relative.

    Raises `DataError` when no picture is tampered.
    """
    parents = [os.path.abspath(manifest.file(record.image).parent) for record in manifest.records if record.tampered]
    if not parents:
        raise DataError("no tampered picture to make boxes for")
    return Path(os.path.commonpath(parents))


def boxes_from_masks(
    manifest: Manifest, jitter: tuple[float, float] = JITTER, seed: int = 0
) -> Iterator[BoxedImage | Problem]:
    """Yield a `BoxedImage` for every tampered record, named relative to `boxes_root`, or a `Problem` with the reason.

    Every separate region of the mask gets a box, except remnants smaller than a fiftieth of the largest region. The
    boxes of a picture depend on the seed and its name, not on the other pictures.

    Raises `UsageError` when the range is not within -0.25 … 1 or is descending.
    """
    low, high = jitter
    if not -0.25 <= low <= high <= 1.0:
        raise UsageError(
            f"jitter {low:g} {high:g} is not a range within -0.25 to 1", "for instance --jitter -0.05 0.15"
        )
    root = boxes_root(manifest)
    for record in manifest.records:
        if not record.tampered:
            continue
        file = manifest.file(record.image)
        name = Path(os.path.abspath(file)).relative_to(root).as_posix()
        try:
            size = read_size(file)
            truth = manifest.truth(record)
        except (DataError, ImageError) as error:
            yield Problem("left-out", record.image, error.message)
            continue
        boxes = coarse_boxes(_rng(seed, name), truth, jitter)
        if boxes:
            yield BoxedImage(name, tuple(boxes), size)
        else:
            yield Problem("left-out", record.image, f"its mask {record.mask} marks nothing")


def coarse_boxes(
    rng: np.random.Generator, mask: Mask, jitter: tuple[float, float]
) -> list[tuple[float, float, float, float]]:
    """XYXY boxes around the separate regions of a mask, each side moved outwards by a random share of its length.

    Regions smaller than a fiftieth of the largest one are remnants of blending and get no box.
    """
    if not mask.any():
        return []
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions = sorted(stats[1:].tolist(), key=lambda region: -region[cv2.CC_STAT_AREA])
    boxes = []
    for x, y, wide, tall, area in regions:
        if area * 50 < regions[0][cv2.CC_STAT_AREA]:
            break
        left, top, right, bottom = rng.uniform(*jitter, 4) * (wide, tall, wide, tall)
        boxes.append(
            (
                round(max(0.0, x - left), 2),
                round(max(0.0, y - top), 2),
                round(min(float(width), x + wide + right), 2),
                round(min(float(height), y + tall + bottom), 2),
            )
        )
    return boxes


def _rng(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
