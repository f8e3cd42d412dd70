"""Conversion of CIE L*a*b* in TIFF files to RGB: relative to D50, the format's default, or D65 if the file says so."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from imltool.pictures import tags
from imltool.pictures.arrays import RGB

Illuminant = Literal["D50", "D65", "other"]

WHITE_POINT = 318
CHROMATICITIES: tuple[tuple[Illuminant, float, float], ...] = (("D50", 0.3457, 0.3585), ("D65", 0.3127, 0.3290))
NEAR = 0.001
"""Tolerance of chromaticities: programs write them with four digits or fewer."""
D65 = np.array([0.95047, 1.0, 1.08883], np.float32)
TO_SRGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]], np.float32
)  # IEC 61966-2-1


def illuminant(table: tags.Table) -> Illuminant:
    """The white point of a page; D50 if it has none (TIFF 6.0, section 23)."""
    value = table.values.get(WHITE_POINT)
    if not value or isinstance(value, bytes) or len(value) != 2:
        return "D50"
    return next((name for name, x, y in CHROMATICITIES if abs(value[0] - x) < NEAR > abs(value[1] - y)), "other")


def lab_to_rgb(lab: RGB, white: Illuminant) -> RGB:
    """Convert L* (0 to 255), a* and b* (signed bytes), uint8 [h,w,3], to sRGB. LittleCMS adapts D50."""
    if white == "D65":
        return _from_d65(lab)
    data = np.ascontiguousarray(lab)
    picture = Image.frombytes("LAB", (data.shape[1], data.shape[0]), data.tobytes(), "raw", "LAB", 0, 1)
    return np.asarray(picture.convert("RGB"))


def _from_d65(lab: RGB) -> RGB:
    """Convert by the formulas of CIE 15 and of sRGB, which has the same white point."""
    luminance = lab[..., 0].astype(np.float32) * (100 / 255)
    red_green, yellow_blue = (lab[..., each].view(np.int8).astype(np.float32) for each in (1, 2))
    middle = (luminance + 16) / 116
    roots = np.dstack([middle + red_green / 500, middle, middle - yellow_blue / 200])
    low = 6 / 29
    values = np.where(roots > low, roots**3, 3 * low**2 * (roots - 4 / 29)) * D65
    linear = np.clip(values @ TO_SRGB.T, 0, 1)
    levels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * levels), dtype=np.uint8)
