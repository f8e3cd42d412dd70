"""Degradations of pictures in transit: the grid on which robustness is measured.

Every step is applied to the picture at its own size, before any network resizes it; the same geometry is applied to
masks (nearest neighbour). Random choices are seeded by (seed, picture, step, level), so that they depend neither on the
order nor on whether a run was resumed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import PIL
from PIL import Image, features

from imltool.errors import ImageError, UsageError
from imltool.pictures import pixels
from imltool.pictures.images import RGB, Mask

Level = float | str
Change = Callable[[RGB, Mask, Level, np.random.Generator], tuple[RGB, Mask]]

SCREEN = (1280, 720)
SHARE_SEEN = 0.9
UPLOADS: dict[str, tuple[int, int, int]] = {
    "light": (2048, 92, 85),
    "usual": (1600, 85, 75),
    "heavy": (1080, 75, 60),
}
"""Longest side in pixels, quality of the first and of the second save (our choice; not the values of any service)."""


def _jpeg_round(rgb: RGB, quality: int) -> RGB:
    try:
        return pixels.jpeg(rgb, quality, subsampling=2)
    except OSError as error:
        raise ImageError(f"the picture cannot be saved as JPEG: {error}") from error


def jpeg(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Save as JPEG of quality `level` with Pillow, 4:2:0."""
    return _jpeg_round(rgb, int(level)), mask


def blur(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Gaussian blur with a kernel of `level` pixels; σ = 0.3·((k−1)/2 − 1) + 0.8 by OpenCV's rule."""
    side = int(level)
    return np.asarray(cv2.GaussianBlur(rgb, (side, side), 0)), mask


def noise(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Gaussian noise of standard deviation `level` in 8-bit steps, independent per channel, rounded and clipped."""
    noisy = rgb + rng.normal(0.0, float(level), rgb.shape).astype(np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), mask


def resize(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Scale both sides by `level`: area averaging for shrinking, bilinear for enlarging."""
    return _scaled(rgb, mask, float(level))


def webp(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Save as lossy WebP of quality `level` with Pillow, method 4."""
    buffer = io.BytesIO()
    try:
        Image.fromarray(rgb).save(buffer, "WEBP", quality=int(level), method=4)
    except (OSError, ValueError) as error:
        raise ImageError(f"the picture cannot be saved as WebP: {error}") from error
    return pixels.decode(buffer.getvalue()), mask


def screenshot(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Capture from a screen: scale down to fit 1280×720, keep nine tenths of each side at a random place, and store
    losslessly (our choice).
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, SCREEN[0] / width, SCREEN[1] / height)
    rgb, mask = _scaled(rgb, mask, scale)
    kept = [max(1, round(side * SHARE_SEEN)) for side in mask.shape]
    top, left = (int(rng.integers(0, side - keep + 1)) for side, keep in zip(mask.shape, kept, strict=True))
    part = slice(top, top + kept[0]), slice(left, left + kept[1])
    return np.ascontiguousarray(rgb[part]), np.ascontiguousarray(mask[part])


def upload(rgb: RGB, mask: Mask, level: Level, rng: np.random.Generator) -> tuple[RGB, Mask]:
    """Double JPEG as by social networks: save, scale down to a longest side, save again (see `UPLOADS`)."""
    longest, first, second = UPLOADS[str(level)]
    rgb = _jpeg_round(rgb, first)
    rgb, mask = _scaled(rgb, mask, min(1.0, longest / max(mask.shape)))
    return _jpeg_round(rgb, second), mask


def _scaled(rgb: RGB, mask: Mask, factor: float) -> tuple[RGB, Mask]:
    height, width = mask.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    truth = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    return pixels.resize(rgb, size, enlarge=cv2.INTER_LINEAR), truth


@dataclass(frozen=True)
class Degradation:
    """A kind of change and the levels at which it is measured.

    Attributes:
        title: its name in headings.
        axis: meaning and unit of a level.
        levels: the levels, mildest first.
        apply: function (picture, truth, level, generator) → picture and truth.
    """

    title: str
    axis: str
    levels: tuple[Level, ...]
    apply: Change


DEGRADATIONS: dict[str, Degradation] = {
    "jpeg": Degradation("JPEG", "quality", (100, 90, 80, 70, 60, 50), jpeg),
    "blur": Degradation("Gaussian blur", "kernel in pixels", (3, 7, 11, 15, 19, 23), blur),
    "noise": Degradation("Gaussian noise", "standard deviation in 8-bit steps", (3, 7, 11, 15, 19, 23), noise),
    "resize": Degradation("Resizing", "factor", (2.0, 1.5, 0.75, 0.5, 0.25), resize),
    "webp": Degradation("WebP", "quality", (90, 80, 70, 60, 50), webp),
    "screenshot": Degradation("Screenshot", "scaled to fit 1280×720, cropped, PNG", ("png",), screenshot),
    "upload": Degradation("Double JPEG with resizing", "upload", tuple(UPLOADS), upload),
}
"""Name for `--robust` → degradation."""


def choose(text: str) -> list[str]:
    """Parse `all` or names like `jpeg,blur`, returned in the grid's order. Raises `UsageError` for unknown names."""
    names = [name.strip() for name in text.split(",")]
    if names == ["all"]:
        return list(DEGRADATIONS)
    unknown = [name for name in names if name not in DEGRADATIONS]
    if unknown:
        raise UsageError(f"unknown degradation {unknown[0]!r}", f"choose all, or from {', '.join(DEGRADATIONS)}")
    return [name for name in DEGRADATIONS if name in names]


def degrade(name: str, level: Level, rgb: RGB, mask: Mask, picture: str, seed: int) -> tuple[RGB, Mask]:
    """Apply one level of a degradation.

    Args:
        rgb: uint8 [H,W,3]; mask: bool [H,W].
        picture: the picture's name, part of the random seed.

    Raises `ImageError` when an encoder cannot save the picture.
    """
    key = hashlib.sha256(f"{seed}\0{picture}\0{name}\0{level}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:8], "big"))
    return DEGRADATIONS[name].apply(rgb, mask, level, rng)


def encoder_versions() -> dict[str, str | None]:
    """Versions of the libraries that encode and filter, for the results."""
    turbo = features.version("libjpeg_turbo") if features.check("libjpeg_turbo") else None
    return {
        "pillow": PIL.__version__,
        "libjpeg-turbo": turbo,
        "libjpeg": features.version("jpg"),
        "webp": features.version("webp"),
        "opencv": cv2.__version__,
    }
