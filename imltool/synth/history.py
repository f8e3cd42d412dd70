"""Histories: what cameras, editors and networks do to a whole picture, before and after an edit."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

from imltool.images import RGB, Mask, encode_jpeg
from imltool.synth.settings import HistorySettings


def jpeg(rgb: RGB, quality: int, subsampling: int) -> RGB:
    """Encode as JPEG and decode again. `subsampling`: 0 is 4:4:4, 2 is 4:2:0."""
    return decode(encode_jpeg(rgb, quality, subsampling))


def decode(data: bytes) -> RGB:
    """The uint8 RGB [H,W,3] pixels of an RGB picture file held in memory."""
    return np.array(Image.open(io.BytesIO(data)))


def earlier_jpeg(
    rng: np.random.Generator, rgb: RGB, settings: HistorySettings, probability: float
) -> tuple[RGB, dict[str, Any]]:
    """A JPEG save before the edit, on a grid of its own offset, with `probability`."""
    if rng.random() >= probability:
        return rgb, {}
    quality = int(rng.integers(int(settings.jpeg_quality[0]), int(settings.jpeg_quality[1]) + 1))
    subsampling = int(rng.choice([0, 2]))
    return jpeg(rgb, quality, subsampling), {"quality": quality, "subsampling": subsampling}


def finish(
    rng: np.random.Generator, rgb: RGB, mask: Mask, settings: HistorySettings
) -> tuple[RGB, Mask, dict[str, Any], bytes | None]:
    """What happens after the edit, the same for tampered and authentic pictures: resize, blur, noise, final save.

    Returns the decoded final picture, the mask with the same geometry, the record of what was done (`format` is
    JPEG or PNG; a PNG leaves the pixels as they are), and the JPEG file itself (None for a PNG).
    """
    record: dict[str, Any] = {}
    if rng.random() < settings.resize:
        factor = float(rng.uniform(*settings.resize_range))
        size = max(16, round(rgb.shape[1] * factor)), max(16, round(rgb.shape[0] * factor))
        kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=kind), dtype=np.uint8)
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        record["resize"] = round(factor, 4)
    if rng.random() < settings.blur:
        sigma = float(rng.uniform(0.4, 1.2))
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), dtype=np.uint8)
        record["blur"] = round(sigma, 3)
    if rng.random() < settings.noise:
        sigma = float(rng.uniform(*settings.noise_sigma))
        noise = rng.normal(0.0, sigma, rgb.shape).astype(np.float32)
        rgb = np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
        record["noise"] = round(sigma, 3)
    if rng.random() < settings.final_png:
        return rgb, mask, record | {"format": "PNG"}, None
    quality = int(rng.integers(int(settings.final_quality[0]), int(settings.final_quality[1]) + 1))
    subsampling = int(rng.choice([0, 2], p=[0.3, 0.7]))
    record |= {"format": "JPEG", "quality": quality, "subsampling": subsampling}
    data = encode_jpeg(rgb, quality, subsampling)
    return decode(data), mask, record, data
