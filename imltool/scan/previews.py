"""Small copies of a picture and its map for the report, one file per picture."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.journal import dump_json
from imltool.pictures.draw import colour_map, fit
from imltool.pictures.images import RGB, Map, encode_jpeg
from imltool.scan.picture_outputs import mask_outlines, overlay, wash
from imltool.scan.results import ScanResult
from imltool.texts import data_uri

THUMBNAIL_SIDE = 160
PREVIEW_SIDE = 480
PREVIEW_BYTES = 25_000
"""A picture is compressed until it fits, so that a report stays near 60 kB per picture (our choice)."""


@dataclass(frozen=True)
class Preview:
    """Data URIs of one picture; all but the thumbnail have the same size, at most 480 pixels.

    Attributes:
        thumbnail: the picture under its map, at most 160 pixels.
        picture: the picture, EXIF orientation applied.
        map: its map in colour.
        wash: the transparent layer of the map, see `picture_outputs.wash`.
        size: (width, height) of the last three, pixels.
        outline: the outline of the mask, as the `d` of an SVG path in these pixels.
    """

    thumbnail: str
    picture: str
    map: str
    wash: str
    size: tuple[int, int]
    outline: str

    def to_bytes(self) -> bytes:
        """The bytes of the file that `read_preview` reads: a JSON object."""
        return (dump_json(asdict(self)) + "\n").encode()


def make_preview(rgb: RGB, values: Map, threshold: float) -> Preview:
    """Shrink a picture, uint8 [H,W,3], and its map, float32 [H,W] in [0,1], and outline map values above `threshold`.

    Both may already have been shrunk.
    """
    rgb, values = fit(rgb, PREVIEW_SIDE), fit(values, PREVIEW_SIDE)
    small = overlay(fit(rgb, THUMBNAIL_SIDE), fit(values, THUMBNAIL_SIDE), threshold)
    return Preview(
        thumbnail=_webp(Image.fromarray(small), quality=60),
        picture=data_uri("jpeg", _small_jpeg(rgb)),
        map=data_uri("jpeg", encode_jpeg(colour_map(values), quality=60)),
        wash=_webp(Image.fromarray(wash(values)), quality=50, alpha_quality=50),
        size=(values.shape[1], values.shape[0]),
        outline=_path((values > threshold).view(np.uint8)),
    )


def read_preview(out: Path, result: ScanResult) -> Preview | None:
    """The preview of a result in the output folder `out`; None when it is missing or was changed."""
    if result.preview is None:
        return None
    try:
        data = (out / result.preview).read_bytes()
    except OSError:
        return None
    unchanged = hashlib.sha256(data).hexdigest() == result.outputs_sha256.get(result.preview)
    return Preview(**json.loads(data)) if unchanged else None


def _path(mask: NDArray[np.uint8]) -> str:
    """The outlines of a mask, uint8 [H,W], as an SVG path, within half a pixel."""
    parts = []
    for outline in mask_outlines(mask):
        points = np.asarray(cv2.approxPolyDP(outline, 0.5, True)).reshape(-1, 2)
        parts.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(parts)


def _small_jpeg(rgb: RGB) -> bytes:
    """A JPEG of the highest quality that fits `PREVIEW_BYTES`, else of the lowest."""
    data = b""
    for quality in (80, 65, 50, 35, 20):
        data = encode_jpeg(rgb, quality)
        if len(data) <= PREVIEW_BYTES:
            break
    return data


def _webp(picture: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", method=2, **options)  # on smooth maps as small as with 4, in half the time
    return data_uri("webp", buffer.getvalue())
