"""Small pictures for the report, kept beside the results so that a resumed scan need not decode anything twice."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from imltool.files import write_text
from imltool.images import RGB, Map, Mask, encode_jpeg
from imltool.scan.overlay import WASH, colour_map, contours, fit, fit_mask

THUMBNAIL_SIDE = 160
CASE_SIDE = 480
_CASE_BYTES = 26_000
_WASH_LEVELS = 24


def make_preview(rgb: RGB, values: Map, mask: Mask) -> dict[str, str | int]:
    """What the report shows of one picture.

    Args:
        rgb: uint8 [H,W,3].
        values: float32 [H,W] in [0,1].
        mask: bool [H,W].

    Returns `width` and `height` of the case pictures (longest side 480 px), `thumbnail`, `picture` and `map` (cividis
    scale) as JPEG data URIs, `wash` as a PNG data URI (orange, as opaque as the map is high) and `outline`, the mask's
    outline as the `d` of an SVG path in case-picture pixels.
    """
    picture = fit(rgb, CASE_SIDE)
    small = fit(values, CASE_SIDE)
    height, width = picture.shape[:2]
    return {
        "width": width,
        "height": height,
        "thumbnail": _jpeg(fit(picture, THUMBNAIL_SIDE), 6_000),
        "picture": _jpeg(picture, _CASE_BYTES),
        "map": _jpeg(colour_map(small), 9_000),
        "wash": _wash(fit(small, CASE_SIDE // 2)),
        "outline": _outline(fit_mask(mask, CASE_SIDE)),
    }


def save_preview(path: Path, preview: dict[str, str | int]) -> None:
    """Write a preview as JSON, atomically."""
    write_text(path, json.dumps(preview))


def load_preview(path: Path) -> dict[str, str | int] | None:
    """Read a preview back; None when it is missing or damaged (the report then goes without the pictures)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg(rgb: RGB, limit: int) -> str:
    """A JPEG of the best quality that stays below `limit` bytes, so that the report's size is bounded."""
    data = b""
    for quality in (80, 68, 55, 40, 25):
        data = encode_jpeg(rgb, quality)
        if len(data) <= limit:
            break
    return _data_uri("jpeg", data)


def _wash(values: Map) -> str:
    """A palette PNG of one colour whose palette entries differ in opacity: a few kB where RGBA would take tens."""
    levels = np.rint(np.clip(values, 0.0, 1.0) * (_WASH_LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(levels).convert("P")
    picture.putpalette(list(WASH) * _WASH_LEVELS)
    opacity = bytes(round(255 * level / (_WASH_LEVELS - 1)) for level in range(_WASH_LEVELS))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=opacity, optimize=True)
    return _data_uri("png", buffer.getvalue())


def _outline(mask: Mask) -> str:
    parts = []
    for line in contours(mask):
        points = cv2.approxPolyDP(line, 0.8, True)[:, 0]
        if len(points) > 2:
            parts.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(parts)
