"""Generated pictures with metadata, and their forensic context, for the context tests."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import Image, ImageDraw

from helpers.pictures import photo
from imltool.evidence.model import Context
from imltool.evidence.reading import read_evidence
from imltool.evidence.remarks import make_remarks

pillow_heif.register_heif_opener()

SOFTWARE, CHANGED, TAKEN, DIGITISED, OFFSET = 305, 306, 36867, 36868, 36881
TAKEN_AT = "2024:05:01 12:00:00"


def picture(width: int = 320, height: int = 240, seed: int = 1) -> Image.Image:
    """Large shapes on a smooth background, which are visible in a thumbnail."""
    made = Image.fromarray(photo(seed, width, height))
    draw = ImageDraw.Draw(made)
    for number in range(4):
        x, y = width * number // 4, height * (3 - number) // 5
        draw.rectangle((x, y, x + width // 7, y + height // 4), fill=(250 - 60 * number, 40 * number, 90))
    return made


def exif(main: dict[int, Any], detail: dict[int, Any] | None = None, gps: dict[int, Any] | None = None) -> Image.Exif:
    block = Image.Exif()
    block.update(main)
    for tag, table in ((0x8769, detail), (0x8825, gps)):
        block.get_ifd(tag).update(table or {})
        if table:
            block[tag] = table  # used when writing TIFF
    return block


def exif_with_thumbnail(thumbnail: bytes, orientation: int = 1) -> bytes:
    """An EXIF block with an orientation and a thumbnail: two tables of tags, and the JPEG after them."""
    start = 8 + (2 + 12 + 4) + (2 + 24 + 4)
    first = struct.pack("<HHHLHHL", 1, 274, 3, 1, orientation, 0, 26)
    second = struct.pack("<HHHLLHHLLL", 2, 513, 4, 1, start, 514, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail


def exif_with_plain_thumbnail(thumbnail: Image.Image, photometric: int = 2) -> bytes:
    """An EXIF block with a thumbnail in two strips that are not compressed."""
    data, middle = thumbnail.tobytes(), thumbnail.height // 2
    cut = 3 * thumbnail.width * middle
    start = 8 + (2 + 12 + 4) + (2 + 9 * 12 + 4)
    first = struct.pack("<HHHLLL", 1, 274, 3, 1, 1, 26)
    entries = (
        (256, 4, 1, thumbnail.width), (257, 4, 1, thumbnail.height), (258, 3, 3, start), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 2, start + 6), (277, 3, 1, 3), (278, 4, 1, middle), (279, 4, 2, start + 14),
    )  # fmt: skip
    second = struct.pack("<H", 9) + b"".join(struct.pack("<HHLL", *entry) for entry in entries) + bytes(4)
    values = struct.pack("<3H4L", 8, 8, 8, start + 22, start + 22 + cut, cut, len(data) - cut)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + values + data


def jpeg(made: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    made.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def context_of(path: Path) -> Context:
    """The context, with the picture decoded if possible; check that it is reproducible and plain JSON."""
    found = read_evidence(path).context
    assert found is not None
    assert Context.model_validate_json(json.dumps(found.model_dump(mode="json"), allow_nan=False)) == found
    assert read_evidence(path).context == found
    return found


def ids(context: Context) -> set[str]:
    return {remark.id for remark in make_remarks(context)}
