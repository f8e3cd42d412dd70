"""Development and retouching of whole pictures as photographers do it, which are not forgeries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from imltool.pictures.images import RGB
from imltool.pictures.pixels import resize, scaled
from imltool.synth.edit import Edit, Host, nothing
from imltool.synth.history import log_uniform, sharpen
from imltool.synth.records import Record
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

Step = Callable[[np.random.Generator, RGB], RGB]


def _tone(rng: np.random.Generator, rgb: RGB) -> RGB:
    """Apply a smooth tone curve to all channels: gamma and an S-curve of random strength."""
    x = np.linspace(0.0, 1.0, 256)
    curve = x ** log_uniform(rng, 0.65, 1.5)
    curve += float(rng.uniform(-0.12, 0.16)) * np.sin(2 * np.pi * (curve - 0.5)) * -0.5
    low, high = float(rng.uniform(0.0, 0.05)), float(rng.uniform(0.95, 1.05))
    return np.asarray(cv2.LUT(rgb, np.clip(np.rint(255 * (low + curve * (high - low))), 0, 255).astype(np.uint8)))


def _saturation(rng: np.random.Generator, rgb: RGB) -> RGB:
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    amount = float(rng.choice([0.0, rng.uniform(0.6, 1.6)], p=[0.12, 0.88]))
    return np.asarray(cv2.addWeighted(rgb, amount, grey, 1.0 - amount, 0.0), dtype=np.uint8)


def _white(rng: np.random.Generator, rgb: RGB) -> RGB:
    gains = rng.uniform(0.88, 1.12, 3)
    return np.asarray(cv2.multiply(rgb, np.append(gains, 0.0)), dtype=np.uint8)


def _clarity(rng: np.random.Generator, rgb: RGB) -> RGB:
    """Raise local contrast with an unsharp mask of large radius."""
    small = cv2.resize(rgb, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA) if min(rgb.shape[:2]) > 64 else rgb
    smooth = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.5), (rgb.shape[1], rgb.shape[0]))
    amount = float(rng.uniform(0.1, 0.5))
    return np.asarray(cv2.addWeighted(rgb, 1.0 + amount, smooth, -amount, 0.0), dtype=np.uint8)


def _vignette(rng: np.random.Generator, rgb: RGB) -> RGB:
    height, width = rgb.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    fall = np.float32(rng.uniform(-0.35, 0.15)) * (x**2 + y**2) / 2
    return np.asarray(cv2.multiply(rgb, np.dstack([1.0 + fall] * 3), dtype=cv2.CV_8U), dtype=np.uint8)


def _denoise(rng: np.random.Generator, rgb: RGB) -> RGB:
    """Smooth flat areas as noise reduction does."""
    sigma = float(rng.uniform(8, 30))
    smooth = cv2.bilateralFilter(rgb, 5, sigma, 2.0)
    keep = float(rng.uniform(0.0, 0.5))
    return np.asarray(cv2.addWeighted(smooth, 1.0 - keep, rgb, keep, 0.0), dtype=np.uint8)


def _sharpened(rng: np.random.Generator, rgb: RGB) -> RGB:
    return sharpen(rgb, float(rng.uniform(0.2, 1.5)), float(rng.uniform(0.6, 2.0)))


def _resized(rng: np.random.Generator, rgb: RGB) -> RGB:
    """Resize as for export at another size, or as an upscaler."""
    factor = log_uniform(rng, 0.6, 1.7)
    kernel = int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])) if factor > 1 else None
    size = scaled(rgb.shape, factor)
    return resize(rgb, size, kernel) if kernel is not None else resize(rgb, size)


STEPS: dict[str, Step] = {
    "tone": _tone,
    "white": _white,
    "saturation": _saturation,
    "clarity": _clarity,
    "vignette": _vignette,
    "denoise": _denoise,
    "sharpen": _sharpened,
}


def develop(rng: np.random.Generator, rgb: RGB) -> tuple[RGB, tuple[str, ...]]:
    """Apply two to five random development steps to a whole picture, uint8 RGB [H,W,3]; returns it and their names.

    The geometry does not change, so that the mask of an earlier edit stays valid.
    """
    names = tuple(str(name) for name in rng.permutation(list(STEPS))[: int(rng.integers(2, 6))])
    for name in names:
        rgb = np.ascontiguousarray(STEPS[name](rng, rgb))
    return rgb, names


def developed(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Make an authentic picture that was developed, retouched as a whole and perhaps exported at another size."""
    rgb, steps = develop(rng, host.rgb)
    record = Record(developed=steps)
    if rng.random() < 0.5:
        rgb = _resized(rng, rgb)
        record = replace(record, exported=(rgb.shape[1], rgb.shape[0]))
    return nothing(rgb, record)
