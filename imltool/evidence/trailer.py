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
VIDEO, HEIF = "a video (motion photo)", "a HEIF or AVIF picture"
KNOWN = frozenset({*(kind for _, kind in STARTS), VIDEO, HEIF})
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
LONGEST_FTYP = 1024
"""The first box of a video or HEIF file is shorter (our choice): it holds some four-letter names."""
SLACK = 1024
"""Writers of TIFF leave up to this many bytes unused (our choice): only a longer or known trailer is reported."""


def find_trailer(source: Source, blocks: Blocks) -> Trailer | None:
    """The bytes after the picture in a file; None if there are none or the format does not define a picture's end."""
    if blocks.end is None or blocks.end >= source.size_bytes:
        return None
    size = source.size_bytes - blocks.end
    kind = _kind(source, blocks.end)
    if blocks.table is not None and kind not in KNOWN and (size <= SLACK or not blocks.end_sure):
        return None
    return Trailer(offset=blocks.end, size_bytes=size, kind=kind)


def _kind(source: Source, start: int) -> str:
    """The kind of the data from `start` on, after zero bytes of any number."""
    first = _first_byte(source, start)
    if first is None:
        return "padding"
    start = max(start, first - 3)  # a box may begin with zeros
    head, tail = source.read(start, LOOKED_AT), source.read(max(start, source.size_bytes - 70_000), 70_000)
    begins = head.lstrip(b"\0")
    for mark, kind in STARTS:
        if begins.startswith(mark):
            return kind
    if found := _of_boxes(head):
        return found
    if tail.endswith(b"SEFT"):
        return "a Samsung trailer"
    if b"PK\x05\x06" in tail:
        return "a ZIP archive"
    return "text" if _is_text(head[:4096]) else "unknown data"


def _first_byte(source: Source, start: int) -> int | None:
    """The offset of the first byte from `start` on that is not zero; None when there is none."""
    while block := source.read(start, LOOKED_AT):
        if rest := block.lstrip(b"\0"):
            return start + len(block) - len(rest)
        start += len(block)
    return None


def _of_boxes(head: bytes) -> str | None:
    """The kind of a file of boxes that begins in `head`, by its brand; None when none begins there."""
    place = head.find(b"ftyp", 4)
    while 0 <= place <= len(head) - 8:
        if 16 <= int.from_bytes(head[place - 4 : place], "big") <= LONGEST_FTYP:
            return HEIF if head[place + 4 : place + 8] in HEIF_BRANDS else VIDEO
        place = head.find(b"ftyp", place + 4)
    return None


def _is_text(data: bytes) -> bool:
    try:
        letters = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(data) - 4:  # more than a character cut in two at the end
            return False
        letters = data[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\t\r\n" for letter in letters)
