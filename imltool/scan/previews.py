"""Small pictures for the report, as data URIs: thumbnail, picture, map and the layer laid over it."""

from __future__ import annotations

import base64
import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imltool.errors import ImageError, ObjectError, StoreError
from imltool.files import what_happened
from imltool.pictures.draw import colour_map, fit
from imltool.pictures.images import RGB, encode_jpeg, read_map, read_rgb
from imltool.scan.fetch import at_hand
from imltool.scan.picture_outputs import overlay, wash
from imltool.scan.pipeline import WORKERS, Row
from imltool.scan.stores import Stored

THUMBNAIL_SIDE = 160
PREVIEW_SIDE = 480
PREVIEW_BYTES = 25_000
"""A picture is compressed until it fits, so that a report stays near 60 kB a picture (our choice)."""
PIXELS_AT_ONCE = 50_000_000
"""Pixels of pictures read at once, about 10 bytes each (our choice). A larger picture goes alone."""


@dataclass(frozen=True)
class Preview:
    """Data URIs of one picture; all but the thumbnail have the same size, at most 480 pixels."""

    thumbnail: str
    picture: str
    map: str
    wash: str


@dataclass(frozen=True)
class Shown:
    """What a report shows of one analysed file; None is what could not be read, or was not asked for."""

    row: Row
    thumbnail: str | None
    preview: Preview | None


def make_previews(
    out: Path, sources: Mapping[str, Path | Stored], rows: Sequence[Row], threshold: float, whole: int
) -> Iterator[Shown]:
    """The small pictures of `rows`, in their order, made in threads a few ahead.

    Args:
        out: the scan's output folder.
        sources: name of a picture → where it lies.
        threshold: map values above it are outlined.
        whole: how many rows get a `Preview`, from the first; all get a thumbnail.
    """
    waiting: deque[tuple[int, Future[Shown]]] = deque()
    load = 0
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-report")
    try:
        for number, row in enumerate(rows):
            pixels = row["width"] * row["height"] if number < whole else 0
            while waiting and (load + pixels > PIXELS_AT_ONCE or len(waiting) > 4 * WORKERS):
                done, future = waiting.popleft()
                load -= done
                yield future.result()
            load += pixels
            source = sources.get(row["path"]) if number < whole else None
            waiting.append((pixels, pool.submit(_show, out, source, row, threshold)))
        for _, future in waiting:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _show(out: Path, source: Path | Stored | None, row: Row, threshold: float) -> Shown:
    preview = make_preview(source, row["sha256"], out / row["map"], threshold) if source else None
    return Shown(row, preview.thumbnail if preview else shrink_overlay(out / row["overlay"]), preview)


def shrink_overlay(file: Path) -> str | None:
    """A thumbnail from the overlay a scan wrote, much faster than from the picture; None when it cannot be read."""
    try:
        with Image.open(file, formats=("JPEG",)) as picture:
            picture.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))  # decodes only as much as is needed
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
            return _thumbnail(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


def make_preview(source: Path | Stored, sha256: str, map_file: Path, threshold: float) -> Preview | None:
    """Read a picture, fetched again from its store, and its map again and shrink them.

    None when one of them can no longer be read, or when the picture's file no longer has the hash it was analysed
    under: a map must not be shown over another picture.
    """
    try:
        with at_hand(source) as path:
            if what_happened(path, sha256):
                return None
            rgb = read_rgb(path)
        shape, rgb = rgb.shape[:2], fit(rgb, PREVIEW_SIDE)  # one after the other: only one is held at its full size
        values = read_map(map_file)
    except (ImageError, ObjectError, StoreError, OSError, MemoryError):
        return None
    if shape != values.shape:
        return None
    values = fit(values, PREVIEW_SIDE)
    small = overlay(fit(rgb, THUMBNAIL_SIDE), fit(values, THUMBNAIL_SIDE), threshold)
    return Preview(
        thumbnail=_thumbnail(Image.fromarray(small)),
        picture=_uri("jpeg", _small_jpeg(rgb)),
        map=_uri("jpeg", encode_jpeg(colour_map(values), quality=60)),
        wash=_webp(Image.fromarray(wash(values, threshold)), quality=50, alpha_quality=50),
    )


def _small_jpeg(rgb: RGB) -> bytes:
    """A JPEG of the best quality that fits `PREVIEW_BYTES`."""
    data = b""
    for quality in (80, 65, 50, 35, 20):
        data = encode_jpeg(rgb, quality)
        if len(data) <= PREVIEW_BYTES:
            break
    return data


def _thumbnail(picture: Image.Image) -> str:
    return _webp(picture, quality=60)


def _webp(picture: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", method=4, **options)
    return _uri("webp", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
