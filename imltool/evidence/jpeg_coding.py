"""Coding of a JPEG file: quantisation tables and their quality, chroma subsampling, progressive scans, blocks."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.evidence.model import JpegCoding
from imltool.pictures.jpeg_structure import PROGRESSIVE, JpegStructure, Segment
from imltool.texts import clean

Tables = NDArray[np.int64]

SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0"}
SEGMENTS_KEPT = 24
"""Blocks listed at most (our choice)."""


def jpeg_coding(structure: JpegStructure) -> JpegCoding:
    """The coding of a file.

    `tables_sha256` is the SHA-256 of the quantisation tables, in order of their numbers, each as its number (1 byte)
    and its 64 steps row by row (16 bit, big-endian). This is our choice: it does not depend on the order and width in
    which the file stores them.
    """
    tables, frame = structure.tables, structure.frame
    components = frame.components if frame else ()
    digest = hashlib.sha256()
    for number in sorted(tables):
        digest.update(struct.pack(">B64H", number, *tables[number]))
    used = dict.fromkeys(table for _, _, table in components)
    quality, exact = estimate_quality([tables[number] for number in used if number in tables][:2])
    return JpegCoding(
        tables_sha256=digest.hexdigest() if tables else None,
        quality=quality,
        quality_exact=exact,
        subsampling=_subsampling([(across, down) for across, down, _ in components]),
        progressive=frame is not None and frame.marker in PROGRESSIVE,
        segments=tuple(
            _segment(each) for each in structure.segments if 0xE0 <= each.marker <= 0xEF or each.marker == 0xFE
        )[:SEGMENTS_KEPT],
    )


def estimate_quality(tables: Sequence[Sequence[int]]) -> tuple[int | None, bool]:
    """The IJG quality of a luma and a chroma table (or only a luma table), and whether the tables match it exactly.

    For other tables it is an estimate (our choice): the quality whose luma steps are as coarse on average, that is, for
    which the mean ratio of the steps is nearest to 1.
    """
    if not tables:
        return None, False
    found = np.asarray(tables, dtype=np.int64)
    standard = ijg_tables()[:, : len(found)]
    same = np.flatnonzero((standard == found).all(axis=(1, 2)))
    if len(same):
        return int(same[-1]) + 1, True
    ratios = (found[0] / standard[:, 0]).mean(axis=1)
    return int(np.abs(np.log(ratios)).argmin()) + 1, False


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


def _segment(segment: Segment) -> str:
    """A block and the name at its beginning: `APP1 Exif`."""
    label = segment.data[:32].split(b"\0", 1)[0]
    word = clean(label, 32) if segment.name.startswith("APP") and label.isascii() else None
    return f"{segment.name} {word}" if word else segment.name
