"""References to stand next to the student: what it has to beat to be worth anything."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from imltool.errors import UsageError
from imltool.evaluation.runner import Method
from imltool.images import RGB, Map, encode_jpeg

if TYPE_CHECKING:
    import torch

    from imltool.student.settings import StudentSettings

ELA_QUALITY = 90
ELA_SIGMA = 3.0
ELA_PERCENTILE = 99.9
ELA_THRESHOLD = 0.5


def ela_map(rgb: RGB) -> Map:
    """Error-level analysis (Krawetz, 2007) of one uint8 RGB picture [H,W,3], at its own resolution.

    The picture is saved as JPEG of quality 90 (4:2:0); the absolute difference, its largest channel, is blurred
    (Gaussian, σ = 3 pixels), divided by its 99.9 percentile and clipped: float32 [H,W] in [0,1]. A picture that the
    JPEG leaves as it is has a map of zeros. Quality, blur and scaling are our choice.
    """
    again = np.asarray(Image.open(io.BytesIO(encode_jpeg(rgb, ELA_QUALITY))).convert("RGB"))
    difference = cv2.absdiff(rgb, again).max(axis=2).astype(np.float32)
    levels = cv2.GaussianBlur(difference, (0, 0), ELA_SIGMA)
    top = float(np.percentile(levels, ELA_PERCENTILE))
    return np.clip(levels / np.float32(top), 0.0, 1.0) if top > 0 else np.zeros(rgb.shape[:2], np.float32)


def _ela(architecture: StudentSettings | None, device: torch.device | None, seed: int) -> Method:
    return Method("ela", lambda images: [ela_map(image) for image in images], pixel_threshold=ELA_THRESHOLD)


def _constant(architecture: StudentSettings | None, device: torch.device | None, seed: int) -> Method:
    def predict(images: Sequence[RGB]) -> list[Map]:
        return [np.ones(image.shape[:2], np.float32) for image in images]

    return Method("constant", predict)


def _untrained(architecture: StudentSettings | None, device: torch.device | None, seed: int) -> Method:
    from imltool.device import choose_device
    from imltool.student.localizer import Localizer

    localizer = Localizer.untrained(architecture, device or choose_device("auto"), seed)
    return Method("untrained", localizer.maps, localizer.header.pixel_threshold, localizer.header.score_threshold)


BASELINES: dict[str, Callable[[StudentSettings | None, torch.device | None, int], Method]] = {
    "ela": _ela,
    "constant": _constant,
    "untrained": _untrained,
}
"""Reference by name: `ela` (error levels), `constant` (everything is tampered), `untrained` (the student's net, random)."""


def build_baseline(
    name: str, architecture: StudentSettings | None = None, device: torch.device | None = None, seed: int = 0
) -> Method:
    """Build a reference by name.

    Args:
        architecture: of the untrained student; the default one when None.
        device: for the untrained student; the fastest present when None.
        seed: of its random weights.

    Raises `UsageError` for an unknown name.
    """
    if name not in BASELINES:
        raise UsageError(f"unknown baseline {name!r}", f"choose one of {', '.join(BASELINES)}")
    return BASELINES[name](architecture, device, seed)
