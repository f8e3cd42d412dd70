"""The thumbnail inside a file, held against the picture: some programs edit the one and keep the other."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.evidence.model import Thumbnail
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB

Plane = NDArray[np.float32]

THUMBNAIL_SIDE = 2000
"""Larger thumbnails are not decoded."""
SMALLEST_SIDE = 24
"""Smaller thumbnails, or parts of them, show too little to compare."""
ASPECT_TOLERANCE = 0.03
"""Relative difference of the aspect ratios that whole pixels and a camera's own crop explain."""
DARK = 40
"""Bars beside a picture in a thumbnail of another shape are darker than this level."""
CORRELATION = 0.9
LOCAL_DIFFERENCE = 40.0
"""A thumbnail differs when its correlation with the picture is below, or its largest local difference above these."""

PHOTOSHOP_THUMBNAIL = 1036

TURNS: dict[int, Callable[[RGB], RGB]] = {
    1: lambda array: array,
    2: np.fliplr,
    3: lambda array: np.rot90(array, 2),
    4: np.flipud,
    5: lambda array: array.transpose(1, 0, 2),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).transpose(1, 0, 2),
    8: np.rot90,
}
"""EXIF orientation → what turns the stored pixels upright."""


def unturn(rgb: RGB, orientation: int) -> RGB:
    """The pixels as they are stored, of an upright picture with this EXIF orientation."""
    return TURNS[{6: 8, 8: 6}.get(orientation, orientation)](rgb)


def find_thumbnail(
    path: Path, image_format: str | None, exif: bytes | None, info: Mapping[str, Any]
) -> tuple[str, Callable[[], RGB]] | None:
    """Where a file's thumbnail is, and what decodes it as it is stored; None when there is none.

    "EXIF", "Photoshop"'s block, or "HEIF"'s own, which lies in the container and is turned like the picture. Only one
    is looked at, in this order: the later ones are more often made anew with the picture.

    Args:
        image_format: Pillow's name of the file's format.
        exif: JPEG bytes of the thumbnail in its EXIF block.
        info: what Pillow found beside the pixels.

    The decoder raises what Pillow and pillow-heif raise for a damaged thumbnail, ValueError for one too large.
    """
    if exif:
        return "EXIF", partial(_decode_jpeg, exif)
    blocks = info.get("photoshop")
    block = blocks.get(PHOTOSHOP_THUMBNAIL) if isinstance(blocks, dict) else None
    if isinstance(block, bytes) and len(block) > 28:
        return "Photoshop", partial(_decode_jpeg, block[28:])
    if image_format == "HEIF" and info.get("thumbnails"):
        return "HEIF", partial(_decode_heif, path)
    return None


def _decode_jpeg(data: bytes) -> RGB:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        _check_size(picture.size)
        return np.array(picture.convert("RGB"))


def _decode_heif(path: Path) -> RGB:
    import pillow_heif

    container = pillow_heif.open_heif(path)
    picture = container[container.primary_index].get_thumbnail(0)
    _check_size(picture.size)
    return np.array(picture.to_pillow().convert("RGB"))


def _check_size(size: tuple[int, int]) -> None:
    if max(size) > THUMBNAIL_SIDE:
        raise ValueError(f"{size[0]}x{size[1]} is no size for a thumbnail")


def compare_thumbnail(where: str, stored: RGB, rgb: RGB | None, orientation: int) -> Thumbnail:
    """Hold a thumbnail against its picture.

    Args:
        stored: the thumbnail as it is stored, uint8 [h,w,3].
        rgb: the picture, uint8 [H,W,3], upright; None when it could not be decoded.
        orientation: how the thumbnail has to be turned, as EXIF counts: the picture's own orientation, and 1 for
            HEIF's thumbnail.

    Returns:
        `width`, `height` as stored; `shows`: "the whole picture", "the picture between bars", "its middle" or "the
        picture, stretched", whichever agrees best; `aspect_differs`: whether neither of the first two does;
        `turned`: whether it agrees only when turned or mirrored; `correlation` of the two, and `local_difference`, the
        largest mean difference in 8-bit levels over about 1/100 of the area once the tone curves are fitted;
        `differs`: whether these two are beyond the limits of this module (our choice). None where not measured.
    """
    facts = Thumbnail(where=where, height=stored.shape[0], width=stored.shape[1])
    if rgb is None or min(stored.shape[:2]) < SMALLEST_SIDE:
        return facts
    rgb = fit(rgb, 4 * max(stored.shape[:2]))  # once, as it may be laid against the thumbnail many times
    best = _hold_against(TURNS.get(orientation, TURNS[1])(stored), rgb)
    turned = False
    if best["correlation"] < CORRELATION:
        others = [_hold_against(turn(stored), rgb) for number, turn in TURNS.items() if number != orientation]
        other = max(others, key=lambda each: float(each["correlation"]))
        turned = other["correlation"] >= CORRELATION and other["local_difference"] <= LOCAL_DIFFERENCE
        best = other if turned else best
    differs = best["correlation"] < CORRELATION or best["local_difference"] > LOCAL_DIFFERENCE
    del best["local_difference"]
    return facts.model_copy(update={**best, "turned": turned, "differs": differs})


def _hold_against(thumbnail: RGB, rgb: RGB) -> dict[str, Any]:
    """The reading of what the thumbnail shows that agrees best, with its figures."""
    found = []
    for shows, small, large in _readings(np.ascontiguousarray(thumbnail), rgb):
        correlation, difference = _agreement(small, large)
        aspect = shows in ("its middle", "the picture, stretched")
        found.append(
            {
                "shows": shows,
                "aspect_differs": aspect,
                "correlation": round(correlation, 4),
                "local_difference": round(difference, 2),
            }
        )
    return max(found, key=lambda each: float(each["correlation"]))


def _readings(thumbnail: RGB, rgb: RGB) -> list[tuple[str, RGB, RGB]]:
    """Ways to lay the two over each other: (what the thumbnail shows, its part, the picture's part)."""
    height, width = thumbnail.shape[:2]
    aspect = rgb.shape[1] / rgb.shape[0]
    slack = ASPECT_TOLERANCE + 1.5 / min(height, width)
    if abs(width / height / aspect - 1) <= slack:
        return [("the whole picture", thumbnail, rgb)]
    inner = _without_bars(thumbnail)
    if min(inner.shape[:2]) >= SMALLEST_SIDE and abs(inner.shape[1] / inner.shape[0] / aspect - 1) <= 2 * slack:
        return [("the picture between bars", inner, rgb)]
    return [("its middle", thumbnail, _middle(rgb, width / height)), ("the picture, stretched", thumbnail, rgb)]


def _without_bars(thumbnail: RGB) -> RGB:
    """The thumbnail without the dark rows and columns at its rim."""
    luma = thumbnail.max(axis=2)
    rows = np.flatnonzero(np.percentile(luma, 95, axis=1) >= DARK)
    columns = np.flatnonzero(np.percentile(luma, 95, axis=0) >= DARK)
    if not len(rows) or not len(columns):
        return thumbnail
    return thumbnail[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _middle(array: RGB, aspect: float) -> RGB:
    """The largest middle part with an aspect ratio (width / height)."""
    height, width = array.shape[:2]
    if width / height > aspect:
        inner = min(width, max(1, round(height * aspect)))
        start = (width - inner) // 2
        return array[:, start : start + inner]
    inner = min(height, max(1, round(width / aspect)))
    start = (height - inner) // 2
    return array[start : start + inner]


def _agreement(thumbnail: RGB, rgb: RGB) -> tuple[float, float]:
    """Correlation of two pictures, and their largest local difference in levels once tones are fitted.

    Both are blurred first, so that sharpening and JPEG noise do not count.
    """
    height, width = thumbnail.shape[:2]
    # cameras cut the two to slightly different frames: without its rim the thumbnail is laid where it fits best
    rim_y, rim_x = max(1, height // 24), max(1, width // 24)
    small = np.ascontiguousarray(_soften(thumbnail)[rim_y : height - rim_y, rim_x : width - rim_x])
    large = _soften(np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)))
    fits = np.nan_to_num(cv2.matchTemplate(large, small, cv2.TM_CCOEFF_NORMED))
    y, x = np.unravel_index(fits.argmax(), fits.shape) if np.ptp(fits) > 0 else (rim_y, rim_x)
    large = large[y : y + small.shape[0], x : x + small.shape[1]]
    first, second = small - small.mean(axis=(0, 1)), large - large.mean(axis=(0, 1))
    energy = float((first**2).sum() * (second**2).sum())
    if energy < 1e-6:  # a flat picture, or a flat thumbnail
        return 1.0 if float(np.abs(small - large).mean()) < DARK else 0.0, float(np.abs(small - large).max())
    correlation = float((first * second).sum() / np.sqrt(energy))
    difference = np.abs(small - _tone(large, small)).mean(axis=2)
    side = max(5, round(np.sqrt(height * width) / 10))
    local = np.asarray(cv2.blur(difference, (side, side), borderType=cv2.BORDER_REFLECT))
    return correlation, float(local.max())


def _tone(source: Plane, target: Plane) -> Plane:
    """`source` with the tones of `target`: a cubic curve a channel, as the two may come by different curves."""
    fitted = np.empty_like(source)
    for channel in range(3):
        values = source[..., channel].ravel() / 255.0
        curve = np.polynomial.Polynomial.fit(
            values, target[..., channel].ravel(), 3, domain=[0.0, 1.0], window=[0.0, 1.0]
        )
        fitted[..., channel] = curve(source[..., channel] / 255.0)
    return fitted


def _soften(array: RGB) -> Plane:
    return np.asarray(cv2.GaussianBlur(array.astype(np.float32), (0, 0), 1.0))
