"""Teachers without weights, as baselines: the filled box, and OpenCV's GrabCut initialised with the box."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB, Mask
from imltool.teacher.teacher import BoxMask

GRABCUT_ITERATIONS = 5


def fill_box(size: tuple[int, int], box: NDArray[np.float32]) -> Mask:
    """A box as a mask, bool [H,W].

    Args:
        size: (H, W).
        box: [4] XYXY pixels; a pixel belongs to the box when its centre does, and every box covers at least one.
    """
    height, width = size
    x1, y1 = (max(0, math.ceil(float(value) - 0.5)) for value in box[:2])
    x2, y2 = math.ceil(float(box[2]) - 0.5), math.ceil(float(box[3]) - 0.5)
    x1, y1 = min(x1, width - 1), min(y1, height - 1)
    mask = np.zeros(size, dtype=bool)
    mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
    return mask


class _NonLearned:
    device = "cpu"
    engine = weights = embeddings = None

    def embed(self, rgb: RGB) -> RGB:
        return rgb


class BoxTeacher(_NonLearned):
    """The filled box: the annotation without refinement."""

    name = "box"

    def decode(self, rgb: RGB, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        """One filled box for every row of `boxes` [n,4] XYXY."""
        return [BoxMask(fill_box(rgb.shape[:2], box), math.nan, math.nan) for box in boxes]


class GrabCutTeacher(_NonLearned):
    """OpenCV's GrabCut: everything outside the box is background, the inside is segmented by colour."""

    name = "grabcut"

    def decode(self, rgb: RGB, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        """One mask for every row of `boxes` [n,4] XYXY; a box that covers the picture stays filled."""
        return [BoxMask(self._cut(rgb, box), math.nan, math.nan) for box in boxes]

    def _cut(self, rgb: RGB, box: NDArray[np.float32]) -> Mask:
        inside = fill_box(rgb.shape[:2], box)
        if inside.all():
            return inside  # no background to learn colours from
        labels = np.where(inside, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_BGD))
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        try:
            cv2.grabCut(rgb[..., ::-1].copy(), labels, (0, 0, 0, 0), *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
        except cv2.error:
            return inside  # fewer pixels than colour components: nothing to segment
        return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
