"""The embedded thumbnail, compared with the picture: some programs edit the picture and keep the old thumbnail."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.evidence.model import Thumbnail
from imltool.pictures.images import RGB
from imltool.pictures.orientation import TURNS
from imltool.pictures.source import Source

Plane = NDArray[np.float32]

THUMBNAIL_SIDE = 2000
"""Larger thumbnails are not decoded."""
SMALLEST_SIDE = 24
"""Smaller thumbnails, or parts of them, show too little to compare."""
COMPARED_SIDE = 96
"""Length of the longer side, in pixels, at which both are compared: the time does not grow with the thumbnail."""
BLUR = 1.5
"""Standard deviation of the blur in pixels, which removes sharpening, noise and a camera's slightly different frame."""
ASPECT_TOLERANCE = 0.03
"""Largest relative difference of the aspect ratios that rounding to pixels and a camera's own crop explain."""
DARK = 40
"""Bars beside the picture, in a thumbnail of another shape, are darker than this level."""
FLAT = 5.0
"""When the standard deviations of both are below this, in grey levels, rounding and noise decide the correlation."""
CORRELATION = 0.9
"""A thumbnail differs when its correlation with the picture is below this value.

Fitted on 26 camera files of 20 models: lower than the lowest of originals (.994), of strong tone curves (.964) and of
frames 5 % smaller (.950), and higher than the highest of 650 thumbnails of other pictures (.738). For files of 21 other
models see docs/scan.md."""


class Stored(NamedTuple):
    """A thumbnail as stored: uint8 [h,w,3], large ones shrunk on decoding, and its original (width, height)."""

    rgb: RGB
    size: tuple[int, int]


def find_thumbnail(
    source: Source, exif: bytes | RGB | None, photoshop: bytes | None, heif: bool
) -> tuple[str, Callable[[], Stored]] | None:
    """The place of a file's thumbnail and a function that decodes it as stored; None when there is none.

    The place is "EXIF", "Photoshop" (its resource) or "HEIF" (in the container, turned like the picture). Only the
    first of these is compared: the later ones are more often written again together with the picture.

    Args:
        exif: the thumbnail in the EXIF block: JPEG bytes, or its pixels, uint8 [h,w,3].
        photoshop: the content of Photoshop's thumbnail resource.
        heif: whether the container has one.

    The function raises what the libraries raise for a damaged thumbnail, and ValueError for one that is too large.
    """
    if exif is not None:
        return "EXIF", partial(_decode_jpeg, exif) if isinstance(exif, bytes) else partial(_stored, exif)
    if photoshop and len(photoshop) > 28:
        return "Photoshop", partial(_decode_jpeg, photoshop[28:])
    return ("HEIF", partial(_decode_heif, source)) if heif else None


def _decode_jpeg(data: bytes) -> Stored:
    if data[:2] != b"\xff\xd8":
        raise ValueError("is no JPEG")
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        size = picture.size
        _check_size(size)
        picture.draft("RGB", (4 * COMPARED_SIDE, 4 * COMPARED_SIDE))  # decode at a half, quarter or eighth of the size
        return Stored(np.array(picture.convert("RGB")), size)


def _stored(rgb: RGB) -> Stored:
    size = rgb.shape[1], rgb.shape[0]
    _check_size(size)
    return Stored(rgb, size)


def _decode_heif(source: Source) -> Stored:
    import pillow_heif

    container = pillow_heif.open_heif(source.fresh())
    picture = container[container.primary_index].get_thumbnail(0)
    _check_size(picture.size)
    return Stored(np.array(picture.to_pillow().convert("RGB")), picture.size)


def _check_size(size: tuple[int, int]) -> None:
    if max(size) > THUMBNAIL_SIDE:
        raise ValueError(f"{size[0]}x{size[1]} is no size for a thumbnail")


def compare_thumbnail(where: str, stored: Stored, rgb: RGB | None, orientation: int) -> Thumbnail:
    """Compare a thumbnail with its picture: their shapes, and the correlation of the two, blurred and at one size.

    Args:
        where: its place in the file.
        stored: the thumbnail as stored.
        rgb: the picture, uint8 [H,W,3], upright; None when it could not be decoded completely.
        orientation: EXIF orientation that makes the thumbnail upright: the picture's, or 1 for HEIF's thumbnail.

    `shows` is "the whole picture", "the picture between bars", "its middle" or "the picture, stretched", whichever
    agrees best. `aspect_differs`: it is neither of the first two. `turned`: it agrees only when turned or mirrored.
    `differs`: the correlation is below `CORRELATION`. Two flat pictures are not compared.
    """
    facts = Thumbnail(where=where, height=stored.size[1], width=stored.size[0])
    if rgb is None or min(stored.rgb.shape[:2]) < SMALLEST_SIDE:
        return facts
    picture = _small(rgb)
    small = _small(stored.rgb)
    if max(float(picture.std()), float(small.std())) < FLAT:
        return facts
    shows, correlation = _best(TURNS[orientation](small), picture)
    turned = False
    if correlation < CORRELATION:
        others = [_best(turn(small), picture) for number, turn in TURNS.items() if number != orientation]
        other = max(others, key=lambda each: each[1])
        turned = other[1] >= CORRELATION
        shows, correlation = other if turned else (shows, correlation)
    return facts.model_copy(
        update={
            "shows": shows,
            "aspect_differs": shows in ("its middle", "the picture, stretched"),
            "turned": turned,
            "correlation": round(correlation, 4),
            "differs": correlation < CORRELATION,
        }
    )


def _small(rgb: RGB) -> Plane:
    """A picture in grey levels, float32, its longer side at most four times `COMPARED_SIDE`."""
    height, width = rgb.shape[:2]
    share = min(1.0, 4 * COMPARED_SIDE / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    shrunk = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA) if share < 1 else rgb
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(shrunk), cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _best(thumbnail: Plane, picture: Plane) -> tuple[str, float]:
    """The reading (what the thumbnail shows) that agrees best, and its correlation."""
    readings = _readings(np.ascontiguousarray(thumbnail), picture)
    return max(((shows, _correlation(small, large)) for shows, small, large in readings), key=lambda each: each[1])


def _readings(thumbnail: Plane, picture: Plane) -> list[tuple[str, Plane, Plane]]:
    """Ways to align the two: (what the thumbnail shows, its part, the picture's part)."""
    height, width = thumbnail.shape
    aspect = picture.shape[1] / picture.shape[0]
    slack = ASPECT_TOLERANCE + 1.5 / min(height, width)
    if abs(width / height / aspect - 1) <= slack:
        return [("the whole picture", thumbnail, picture)]
    inner = _without_bars(thumbnail)
    if min(inner.shape) >= SMALLEST_SIDE // 2 and abs(inner.shape[1] / inner.shape[0] / aspect - 1) <= 2 * slack:
        return [("the picture between bars", inner, picture)]
    return [("its middle", thumbnail, _middle(picture, width / height)), ("the picture, stretched", thumbnail, picture)]


def _without_bars(thumbnail: Plane) -> Plane:
    """The thumbnail without the dark rows and columns at its edges."""
    rows = np.flatnonzero(np.percentile(thumbnail, 95, axis=1) >= DARK)
    columns = np.flatnonzero(np.percentile(thumbnail, 95, axis=0) >= DARK)
    if not len(rows) or not len(columns):
        return thumbnail
    return thumbnail[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _middle(picture: Plane, aspect: float) -> Plane:
    """The largest middle part with an aspect ratio (width / height)."""
    height, width = picture.shape
    if width / height > aspect:
        inner = min(width, max(1, round(height * aspect)))
        start = (width - inner) // 2
        return picture[:, start : start + inner]
    inner = min(height, max(1, round(width / aspect)))
    start = (height - inner) // 2
    return picture[start : start + inner]


def _correlation(thumbnail: Plane, picture: Plane) -> float:
    """Pearson correlation of the two, blurred, at `COMPARED_SIDE` or the thumbnail's own size."""
    height, width = thumbnail.shape
    share = min(1.0, COMPARED_SIDE / max(height, width))
    size = (max(2, round(width * share)), max(2, round(height * share)))
    first, second = (
        cv2.GaussianBlur(cv2.resize(np.ascontiguousarray(each), size, interpolation=cv2.INTER_AREA), (0, 0), BLUR)
        for each in (thumbnail, picture)
    )
    energy = max(float(first.std()), 1.0) * max(float(second.std()), 1.0)  # one of them may be flat
    return float(((first - first.mean()) * (second - second.mean())).mean() / energy)
