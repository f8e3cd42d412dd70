"""Bytes after the end of a picture: a motion photo's video, an appended archive, a maker's own trailer, padding."""

from __future__ import annotations

from imltool.evidence.model import Trailer
from imltool.pictures.block import Blocks
from imltool.pictures.source import Source

LOOKED_AT = 1_000_000
"""Bytes of a trailer that are read to find its kind (our choice)."""
STARTS = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b\x08", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"<?php", "a PHP script"),
)
VIDEO = "a video (motion photo)"
KNOWN = frozenset({*(kind for _, kind in STARTS), VIDEO})
SLACK = 1024
"""Writers of TIFF leave up to this many bytes unused (our choice): only a longer or known trailer is reported."""


def find_trailer(source: Source, blocks: Blocks) -> Trailer | None:
    """The bytes after the picture in a file; None if there are none or the format does not define a picture's end."""
    if blocks.end is None or blocks.end >= source.size_bytes:
        return None
    size = source.size_bytes - blocks.end
    kind = _kind(source, blocks.end, size)
    if blocks.table is not None and kind not in KNOWN and (size <= SLACK or not blocks.end_sure):
        return None
    return Trailer(offset=blocks.end, size_bytes=size, kind=kind)


def _kind(source: Source, start: int, size: int) -> str:
    head, tail = source.read(start, LOOKED_AT), source.read(max(start, source.size_bytes - 70_000), 70_000)
    if not head.strip(b"\0"):
        return "padding" if size <= LOOKED_AT and not tail.strip(b"\0") else "unknown data after zero bytes"
    begins = head.lstrip(b"\0")
    for mark, kind in STARTS:
        if begins.startswith(mark):
            return kind
    if 0 <= head.find(b"ftyp") <= len(head) - 8:
        return VIDEO
    if tail.endswith(b"SEFT"):
        return "a Samsung trailer"
    if b"PK\x05\x06" in tail:
        return "a ZIP archive"
    return "text" if _is_text(head[:4096]) else "unknown data"


def _is_text(data: bytes) -> bool:
    try:
        letters = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 4:  # more than a character cut in two at the end
            return False
        letters = data[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\t\r\n" for letter in letters)
