"""The end of the picture in files whose format has no single end marker: TIFF, BMP, PPM, JPEG 2000; PPM's comments."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from imltool.pictures import tags
from imltool.pictures.boxes import box_at, boxes
from imltool.pictures.source import Source

TABLES = 1000
"""Tables of a TIFF file that are followed at most (our choice)."""
TILE_PARTS = 65_536
"""Tile-parts of a JPEG 2000 codestream that are followed at most (our choice)."""
POINTERS = (tags.EXIF, tags.GPS, tags.INTEROPERABILITY, tags.SUB_FILES)
PLACES = {273: 279, 324: 325, 513: 514, 288: 289}
"""Tags with offsets of data → tags with its lengths: strips, tiles, a JPEG preview, free space."""
PIXELS = (273, 324)
"""Those of strips and tiles."""
COMPRESSION, OLD_JPEG = 259, 6
"""The tag, and the value of a compression whose writers often state wrong lengths."""
PUBLIC = frozenset({
    *range(32), *range(254, 600), 700, 4096, 4097, 4098, 18246, 18249, 32781, *range(32995, 32999), 33432, 33550, 33723,
    33922, 34264, 34377, 34665, 34675, *range(34735, 34738), 34853, *range(36864, 37500), *range(37510, 42241), 42112,
    42113, 50341, 59932,
})  # fmt: skip
"""Tags whose values are known not to be offsets of further data; those in a maker note (37500) may be."""
NETPBM = re.compile(rb"P(?:4((?:\s|#[^\n]*\n)+\d+){2}|[56]((?:\s|#[^\n]*\n)+\d+){3})\s")
NETPBM_HEAD = re.compile(rb"P[1-6]((?:\s|#[^\n]*\n)+\d+){2,3}")
"""The header of a PBM, PGM or PPM file, up to its last number."""
STACKED = re.compile(rb"^(ImageJ=.*?^images=[2-9]|\{\"shape\")", re.DOTALL | re.MULTILINE)
"""Descriptions by programs that write more pictures after the first one, without tables."""

CONTENT = frozenset(b"meta|mdat|moov|moof|mpvd|jp2h|jp2c|jumb|uuid|xml ".split(b"|"))
"""Boxes whose data belong to the picture or its metadata."""


class TiffEnd(NamedTuple):
    """The end of a TIFF file.

    Attributes:
        end: the offset after the last byte that its tables use; None when tables are damaged.
        sure: whether this is certainly the end: not for a file with a maker note or tags of unknown meaning, whose
            values may be offsets in the file, and for stacks written after the first picture.
        cut: whether strips or tiles of a page, or a table, reach beyond the end of the file.
    """

    end: int | None
    sure: bool
    cut: bool


def tiff_end(source: Source) -> TiffEnd:
    """Where the data of a TIFF file end, by all of its tables."""
    reader = tags.TagReader.open(source.read)
    if reader is None:
        return TiffEnd(None, False, False)
    walk = _TiffWalk(source, reader)
    walk.run()
    return TiffEnd(walk.end if not walk.damaged else None, walk.sure, walk.cut)


class _TiffWalk:
    """Follows all tables, and records how far they reach."""

    def __init__(self, source: Source, reader: tags.TagReader) -> None:
        self.source, self.reader = source, reader
        self.end, self.sure, self.damaged, self.cut = 16 if reader.big else 8, True, False, False

    def run(self) -> None:
        """Follow the tables from the first on."""
        waiting, seen = [self.reader.first], set[int]()
        while waiting and len(seen) < TABLES and not self.damaged:
            place = waiting.pop()
            if place and place not in seen:
                seen.add(place)
                waiting += self._table(place)
        self.damaged |= bool(waiting)

    def _table(self, place: int) -> list[int]:
        try:
            raw = self.reader.raw_table(place)
        except ValueError:
            raw = None
        if raw is None or raw.next is None:
            self.damaged = True
            self.cut |= place >= self.source.size_bytes or raw is not None
            return []
        self.end = max(self.end, raw.end)
        values = {tag: self._numbers(tag, kind, length, inline) for tag, kind, length, inline in raw.entries}
        for starts, sizes in PLACES.items():
            places, lengths = values.get(starts, ()), values.get(sizes, ())
            self.sure &= len(places) == len(lengths)
            ends = [start + each for start, each in zip(places, lengths, strict=False)]
            self.end = max(self.end, *ends, 0)
            stated = starts in PIXELS and values.get(COMPRESSION) != (OLD_JPEG,)
            self.cut |= stated and max(ends, default=0) > self.source.size_bytes
        return [raw.next, *(number for tag in POINTERS for number in values.get(tag, ()))]

    def _numbers(self, tag: int, kind: int, length: int, inline: bytes) -> tuple[int, ...]:
        """The integers of a tag with offsets or lengths; for other tags, only the end of the value is recorded."""
        size, place = tags.SIZES.get(kind, 0) * length, 0
        self.sure &= tag in PUBLIC
        if size > len(inline):
            place = self.reader.place(inline)
            self.end = max(self.end, place + size)
        wanted = tag in POINTERS or tag in PLACES or tag in PLACES.values() or tag == COMPRESSION
        if not size or not (wanted or tag == 270) or size > tags.VALUE_BYTES:
            self.sure &= bool(size) and not wanted
            return ()
        data = self.source.read(place, size) if place else inline[:size]
        if tag == 270:
            self.sure &= not STACKED.search(data)
            return ()
        whole = len(data) == size and kind in (3, 4, 13, 16, 18)
        return struct.unpack(f"{self.reader.order}{length}{tags.CODES[kind]}", data) if whole else ()


def bmp_end(source: Source) -> int | None:
    """The offset after the pixels and the profile of a BMP file; None if its header does not define it."""
    head = source.read(0, 138)
    if head[:2] != b"BM" or len(head) < 54:
        return None
    stated, _, start, header = struct.unpack_from("<LLLL", head, 2)
    if header < 40:
        return stated or None
    width, height, _, bits, packing, size = struct.unpack_from("<llHHLL", head, 18)
    if packing in (0, 3, 6):
        size = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    elif not size:
        return stated or None
    end: int = start + size
    if header >= 124 and len(head) == 138:
        place, length = struct.unpack_from("<LL", head, 14 + 112)
        end = max(end, 14 + place + length if length else 0)
    return end


def netpbm_end(source: Source) -> int | None:
    """The offset after the samples of a binary PBM, PGM or PPM file; None for files written as text, and for PFM."""
    found = NETPBM.match(source.read(0, 4096))
    if found is None:
        return None
    kind, rest = found[0][:2], re.sub(rb"#[^\n]*\n", b" ", found[0][2:])
    width, height, *white = (int(each) for each in rest.split())
    if kind == b"P4":
        return found.end() + (width + 7) // 8 * height
    return found.end() + width * height * (3 if kind == b"P6" else 1) * (2 if white[0] > 255 else 1)


def netpbm_comments(source: Source) -> list[bytes]:
    """The comments in the header of a PBM, PGM or PPM file: a line each, after a number sign."""
    found = NETPBM_HEAD.match(source.read(0, 4096))
    return [line.strip() for line in re.findall(rb"#([^\n]*)", found[0])] if found else []


def codestream_end(source: Source, start: int, stop: int) -> int | None:
    """The offset after the end marker of a JPEG 2000 codestream; None if it is missing or no length leads to it."""
    place = start + 2
    for _ in range(TILE_PARTS):
        head = source.read(place, 12)
        if head[:2] == b"\xff\xd9":
            return place + 2
        if len(head) < 12 or head[:1] != b"\xff" or place >= stop:
            return None
        length = 2 + int.from_bytes(head[2:4], "big")
        if head[:2] == b"\xff\x90":  # a tile-part; a length of 0 means up to the end marker
            length = int.from_bytes(head[6:10], "big")
            if length < 12:
                return None
        place += length
    return None


def container_end(source: Source) -> tuple[int, bool]:
    """The offset after the last box of a file of boxes, and whether that box is cut off.

    A second file after it, or zeros, do not count as boxes.
    """
    end, place, begun = 0, 0, set[bytes]()
    for box in boxes(source, 0, source.size_bytes):
        if box.name in begun or not (box.name.isascii() and box.name.decode("ascii").isprintable()):
            return end, False
        begun |= {box.name} & {b"jP  ", b"ftyp"}
        end = place = box.end
        if box.name == b"jp2c":
            end = codestream_end(source, box.start, box.end) or end
    last = box_at(source, place, source.size_bytes)
    if last and last.name in CONTENT and last.end > source.size_bytes:
        return source.size_bytes, True
    return end, False
