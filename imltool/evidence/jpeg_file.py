"""How a JPEG file is coded: quantisation tables, the quality they stand for, chroma, order of the scans, blocks."""

from __future__ import annotations

import hashlib
import io
import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.evidence.model import JpegCoding
from imltool.texts import clean

Tables = NDArray[np.int64]

SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0"}
SEGMENTS_KEPT = 24
"""Blocks listed (our choice)."""


def jpeg_facts(picture: Image.Image) -> JpegCoding:
    """Facts of an opened JPEG or MPO file.

    Returns:
        `tables_sha256`: SHA-256 of the quantisation tables, in order of their numbers, each as its number (1 byte) and
        its 64 steps row by row (16 bit, big-endian); our choice, the same whatever order or width the file stores.
        `quality`: the IJG quality, 1..100, whose tables are these or come nearest; `quality_exact`: whether they are
        these. `subsampling` in J:a:b notation, None for grey. `progressive`. `segments`: the blocks before the pixels.
    """
    tables: dict[int, list[int]] = picture.quantization  # type: ignore[attr-defined]
    layers: list[tuple[int, int, int, int]] = picture.layer  # type: ignore[attr-defined]
    digest = hashlib.sha256()
    for number in sorted(tables):
        digest.update(struct.pack(">B64H", number, *tables[number]))
    used = dict.fromkeys(layer[3] for layer in layers)
    quality, exact = estimate_quality([tables[number] for number in used if number in tables][:2])
    return JpegCoding(
        tables_sha256=digest.hexdigest() if tables else None,
        quality=quality,
        quality_exact=exact,
        subsampling=_subsampling([(layer[1], layer[2]) for layer in layers]),
        progressive=bool(picture.info.get("progressive")),
        segments=tuple(_segment(name, data) for name, data in picture.applist[:SEGMENTS_KEPT]),  # type: ignore[attr-defined]
    )


def estimate_quality(tables: list[list[int]]) -> tuple[int | None, bool]:
    """The IJG quality of a luma and a chroma table (or a luma table alone), and whether it is met exactly.

    The nearest is the one with the smallest mean relative difference of the luma steps (our choice).
    """
    if not tables:
        return None, False
    found = np.asarray(tables, dtype=np.int64)
    standard = ijg_tables()[:, : len(found)]
    same = np.flatnonzero((standard == found).all(axis=(1, 2)))
    if len(same):
        return int(same[-1]) + 1, True
    distance = (np.abs(standard[:, 0] - found[0]) / standard[:, 0]).mean(axis=1)
    return int(distance.argmin()) + 1, False


@lru_cache(maxsize=1)
def ijg_tables() -> Tables:
    """The tables that libjpeg writes at quality 1..100: int64 [100,2,64], luma and chroma, row by row."""
    grey = Image.new("RGB", (8, 8))
    rows = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        grey.save(buffer, "JPEG", quality=quality)
        with Image.open(buffer, formats=("JPEG",)) as picture:
            tables = picture.quantization  # type: ignore[attr-defined]
            rows.append([tables[0], tables[1]])
    return np.asarray(rows, dtype=np.int64)


def _subsampling(factors: list[tuple[int, int]]) -> str | None:
    if len(factors) < 3:
        return None
    luma, *rest = factors
    if rest[:2] == [(1, 1), (1, 1)] and luma in SUBSAMPLING:
        return SUBSAMPLING[luma]
    return ",".join(f"{width}x{height}" for width, height in factors)


def _segment(name: str, data: bytes) -> str:
    """`APP1 Exif`: a block and the name it begins with."""
    label = data[:32].split(b"\0", 1)[0]
    word = clean(label, 32) if name.startswith("APP") and label.isascii() else None
    return f"{name} {word}" if word else name
