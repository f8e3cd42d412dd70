"""Reference localizers to stand next to the student: what any method has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from imltool.pictures.images import RGB, Map
from imltool.traces.residual import error_level

if TYPE_CHECKING:
    import torch

    from imltool.student.settings import StudentSettings

Predict = Callable[[Sequence[RGB]], list[Map]]
"""Pictures, uint8 RGB [H,W,3] of any sizes → maps, float32 [H,W] in [0,1], each of its picture's size."""

ELA_QUALITY = 90
ELA_SIGMA = 3.0
ELA_PERCENTILE = 99.9


def error_level_analysis(rgb: RGB) -> Map:
    """Error-level analysis at native resolution (settings are our choice).

    The picture is saved as JPEG (quality 90, 4:2:0) and compared with itself: absolute difference averaged over the
    channels, Gaussian blur with σ = 3 pixels, divided by its 99.9 percentile, clipped to [0,1]. A picture that JPEG
    does not change gives a map of zeros.
    """
    blurred = cv2.GaussianBlur(error_level(rgb, ELA_QUALITY), (0, 0), ELA_SIGMA)
    top = float(np.percentile(blurred, ELA_PERCENTILE))
    if top <= 0.0:
        return np.zeros(rgb.shape[:2], dtype=np.float32)
    return np.clip(blurred / np.float32(top), 0.0, 1.0).astype(np.float32)


def _ela(architecture: StudentSettings | None, device: str | torch.device, seed: int) -> Predict:
    return lambda images: [error_level_analysis(image) for image in images]


def _constant(architecture: StudentSettings | None, device: str | torch.device, seed: int) -> Predict:
    return lambda images: [np.ones(image.shape[:2], dtype=np.float32) for image in images]


def _untrained(architecture: StudentSettings | None, device: str | torch.device, seed: int) -> Predict:
    from imltool.inference.localizer import Localizer

    return Localizer.untrained(architecture, device, seed).maps


BASELINES: dict[str, Callable[[StudentSettings | None, str | torch.device, int], Predict]] = {
    "ela": _ela,
    "constant": _constant,
    "untrained": _untrained,
}
"""Name → builder(architecture, device, seed).

`ela`: error-level analysis. `constant`: 1 everywhere, "all is tampered". `untrained`: the checkpoint's architecture
(the default one without a checkpoint) with random weights.
"""
