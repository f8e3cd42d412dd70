"""Small pictures for the report, as data URIs: thumbnail, picture, map and the layer laid over it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imltool.errors import ImageError
from imltool.files import sha256_file
from imltool.images import RGB, encode_jpeg, read_map, read_rgb
from imltool.scan.outputs import RGBA, colour_map, fit, overlay, wash

THUMBNAIL_SIDE = 160
PREVIEW_SIDE = 480
PREVIEW_BYTES = 25_000
"""A preview is compressed until it fits, so that a report stays near 60 kB a picture (our choice)."""


@dataclass(frozen=True)
class Preview:
    """Data URIs of one picture; all but the thumbnail have the same size, at most 480 pixels."""

    thumbnail: str
    picture: str
    map: str
    wash: str


def make_preview(source: Path | None, sha256: str, map_file: Path, threshold: float) -> Preview | None:
    """Read a picture and its map again and shrink them.

    None when one of them can no longer be read, or when the picture's file no longer has the hash it was analysed
    under: a map must not be shown over another picture.
    """
    if source is None:
        return None
    try:
        if sha256_file(source) != sha256:
            return None
        rgb, values = read_rgb(source), read_map(map_file)
    except (ImageError, OSError):
        return None
    if rgb.shape[:2] != values.shape:
        return None
    rgb, values = fit(rgb, PREVIEW_SIDE), fit(values, PREVIEW_SIDE)
    thumbnail = overlay(fit(rgb, THUMBNAIL_SIDE), fit(values, THUMBNAIL_SIDE), threshold)
    return Preview(
        thumbnail=_uri("jpeg", encode_jpeg(thumbnail, quality=72)),
        picture=_uri("jpeg", _small_jpeg(rgb)),
        map=_uri("jpeg", encode_jpeg(colour_map(values), quality=60)),
        wash=_uri("webp", _webp(wash(values, threshold))),
    )


def _small_jpeg(rgb: RGB) -> bytes:
    """A JPEG of the best quality that fits `PREVIEW_BYTES`."""
    data = b""
    for quality in (80, 65, 50, 35, 20):
        data = encode_jpeg(rgb, quality)
        if len(data) <= PREVIEW_BYTES:
            break
    return data


def _webp(layer: RGBA) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, "WEBP", quality=50, alpha_quality=50, method=4)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
