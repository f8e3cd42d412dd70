"""The pixels of a picture file, by the reader that was verified for its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from imltool.errors import ImageError
from imltool.pictures.arrays import RGB, Pixels
from imltool.pictures.faults import faults
from imltool.pictures.header import Header, open_pillow
from imltool.pictures.jpeg import read_jpeg
from imltool.pictures.jpeg2000 import read_jpeg2000
from imltool.pictures.orientation import upright
from imltool.pictures.source import Source
from imltool.pictures.strips import strips
from imltool.pictures.tiff import read_tiff

STEPS = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
"""Modes that are converted to RGB by way of another one."""


def decode(source: Source, header: Header, partial: bool = False) -> Pixels:
    """Decode a file.

    Samples of more than 8 bits are scaled, not clipped: grey is rounded, colour keeps its highest 8 bits, so the two
    may differ by one level. Alpha is dropped, and the colours under it are kept. CMYK is converted to RGB by the plain
    formula; ICC profiles are not applied.

    Args:
        partial: return the complete rows of a truncated JPEG instead of raising an error. A JPEG is then decoded twice,
            to find out whether any part of it was made up by the decoder.

    Raises `ImageError` with a fixed reason.
    """
    with faults(source.path):
        if header.blocks.jpeg:
            pixels = read_jpeg(source.whole(), header.blocks.jpeg, thorough=partial)
            if pixels.rows is not None and not partial:
                raise ImageError(f"damaged picture (only {pixels.rows} of its {header.height} rows are whole)")
        elif header.layout and header.blocks.table:
            pixels = read_tiff(source, header.blocks.table)
        else:
            pixels = Pixels(read_jpeg2000(source, header.jp2) if header.jp2 else _by_pillow(source))
        rgb = pixels.rgb
        if header.aperture:
            part = header.aperture
            rgb = rgb[part.top : part.top + part.height, part.left : part.left + part.width]
        if header.orientation.applied != 1 or not rgb.flags.c_contiguous:
            rgb = upright(rgb, header.orientation.applied)
        return replace(pixels, rgb=rgb)


def _by_pillow(source: Source) -> RGB:
    with open_pillow(source) as picture:
        transparent = "transparency" in picture.info
        picture.load()
        return to_rgb(picture, transparent)


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits per sample."""
    return picture.mode.startswith("I;16") or picture.mode in ("I", "F")


def _strips(picture: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """A decoded picture in strips of rows: converting all of it at once may take several times its memory."""
    for rows in strips((picture.height, picture.width)):
        whole = rows.stop - rows.start == picture.height
        yield rows, picture if whole else picture.crop((0, rows.start, picture.width, rows.stop))


def brightest(picture: Image.Image) -> float:
    """The highest sample of a deep grey picture; 0 for a picture of 8 bits, or if all samples are NaN."""
    if not is_deep(picture):
        return 0.0
    highest = 0.0
    for _, strip in _strips(picture):
        values = np.nan_to_num(np.asarray(strip, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        highest = max(highest, float(values.max(initial=0.0)))
    return highest


def to_eight_bits(strip: Image.Image, highest: float) -> Image.Image:
    """Scale 16- and 32-bit integer and float grey samples to 8 bits; Pillow alone would clip them.

    Args:
        highest: of the whole picture, see `brightest`.
    """
    if not is_deep(strip):
        return strip
    values = np.asarray(strip, dtype=np.float64)
    if strip.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)
        values = values * 255.0 if highest <= 1.0 else values
    else:
        values = values * (255.0 / max(65535.0, highest))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def to_rgb(picture: Image.Image, transparent: bool) -> RGB:
    """The pixels of a decoded picture of any of Pillow's modes, uint8 [H,W,3]."""
    rgb = np.empty((picture.height, picture.width, 3), np.uint8)
    highest = brightest(picture)
    for rows, strip in _strips(picture):
        eight = to_eight_bits(strip, highest)
        if eight.mode == "P" and transparent:
            eight = eight.convert("RGBA")
        elif eight.mode in STEPS:
            eight = eight.convert(STEPS[eight.mode])
        rgb[rows] = np.asarray(eight if eight.mode == "RGB" else eight.convert("RGB"))
    return rgb
