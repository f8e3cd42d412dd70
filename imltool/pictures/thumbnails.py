"""Small pictures for lists, made as fast as the format allows."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

from imltool.pictures.draw import fit
from imltool.pictures.images import open_header, read_rgb

SIDE = 160
"""Longest side of a thumbnail, pixels."""


def read_thumbnail(path: Path) -> bytes:
    """A picture file shrunk to at most `SIDE` pixels, upright, as WebP. Raises `ImageError`.

    A JPEG is decoded at a fraction of its size, which takes a tenth of the time.
    """
    with open_header(path) as picture:
        if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
            try:
                picture.draft("RGB", (2 * SIDE, 2 * SIDE))
                picture.thumbnail((2 * SIDE, 2 * SIDE), Image.Resampling.BILINEAR)
                upright = ImageOps.exif_transpose(picture).convert("RGB")
                upright.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
                return _webp(upright)
            except Exception:  # a damaged file: `read_rgb` raises the error with its reason
                pass
    return _webp(Image.fromarray(fit(read_rgb(path), SIDE)))


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=70, method=2)
    return buffer.getvalue()
