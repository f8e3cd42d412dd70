"""Boxes of ISO base media files (HEIF and AVIF) and of JPEG 2000, whose boxes have the same form."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imltool.pictures.source import Source

BOXES = 2000
"""Boxes read at one level at most (our choice)."""
META_BYTES = 8_000_000
"""A longer description of items is not read (our choice)."""


@dataclass(frozen=True)
class Box:
    """A box: its four-letter name, and where its content begins and ends."""

    name: bytes
    start: int
    end: int


def boxes(source: Source, start: int, end: int) -> Iterator[Box]:
    """The boxes between two offsets, in order, up to the first that does not fit."""
    for _ in range(BOXES):
        box = box_at(source, start, end)
        if box is None or box.end > end:
            return
        yield box
        start = box.end


def box_at(source: Source, start: int, end: int) -> Box | None:
    """The box at an offset, which may reach beyond `end`; None if none begins there. One of size 0 ends at `end`."""
    head = source.read(start, 16)
    if len(head) < 8:
        return None
    size, name = struct.unpack_from(">L4s", head)
    header = 8
    if size == 1 and len(head) == 16:
        (size,) = struct.unpack_from(">Q", head, 8)
        header = 16
    if size != 0 and size < header:
        return None
    return Box(name, start + header, start + size if size else end)


@dataclass(frozen=True)
class Aperture:
    """The part of a coded picture that its clean aperture box selects for display, in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def clean_aperture(source: Source, size: tuple[int, int]) -> Aperture | None:
    """The clean aperture of the primary item of a HEIF or AVIF file of `size`; None if there is none or it is invalid.

    The first clean aperture that is associated with the primary item is used (ISO/IEC 14496-12, 23008-12).
    """
    properties = _primary_properties(source)
    box = next((box for box in properties if box.name == b"clap"), None)
    if box is None or box.end - box.start < 32:
        return None
    numbers = struct.unpack(">LLLLlLlL", source.read(box.start, 32))
    pairs = [*zip(numbers[::2], numbers[1::2], strict=True)]
    if any(down == 0 for _, down in pairs):
        return None
    width, height, right, below = (up / down for up, down in pairs)
    left = right + (size[0] - 1) / 2 - (width - 1) / 2
    top = below + (size[1] - 1) / 2 - (height - 1) / 2
    part = Aperture(round(left), round(top), round(width), round(height))
    fits = part.left >= 0 and part.top >= 0 and part.width > 0 and part.height > 0
    inside = part.left + part.width <= size[0] and part.top + part.height <= size[1]
    return part if fits and inside and (part.width, part.height) != size else None


def _primary_properties(source: Source) -> list[Box]:
    """The property boxes of the primary item."""
    meta = next((box for box in boxes(source, 0, source.size_bytes) if box.name == b"meta"), None)
    if meta is None or meta.end - meta.start > META_BYTES:
        return []
    inner = {box.name: box for box in boxes(source, meta.start + 4, meta.end)}
    if b"pitm" not in inner or b"iprp" not in inner:
        return []
    item = _item_number(source, inner[b"pitm"])
    listed: list[Box] = []
    associations: list[Box] = []
    for box in boxes(source, inner[b"iprp"].start, inner[b"iprp"].end):
        if box.name == b"ipco":
            listed = [*boxes(source, box.start, box.end)]
        elif box.name == b"ipma":
            associations.append(box)
    indices = [
        index for box in associations for index in _associated(source.read(box.start, box.end - box.start), item)
    ]
    return [listed[index - 1] for index in indices if 0 < index <= len(listed)]


def _item_number(source: Source, box: Box) -> int:
    data = source.read(box.start, box.end - box.start)
    return int.from_bytes(data[4:8] if data[:1] != b"\0" else data[4:6], "big")


def _associated(data: bytes, item: int) -> list[int]:
    """Numbers of the properties that an item property association box assigns to an item."""
    if len(data) < 8:
        return []
    version, wide = data[0], data[3] & 1
    (count,) = struct.unpack_from(">L", data, 4)
    place, number_size, index_size = 8, 2 if version < 1 else 4, 2 if wide else 1
    for _ in range(min(count, BOXES)):
        number = int.from_bytes(data[place : place + number_size], "big")
        place += number_size
        if place >= len(data):
            return []
        length = data[place]
        place += 1
        indices = [
            int.from_bytes(data[at : at + index_size], "big") & (0x7FFF if wide else 0x7F)
            for at in range(place, place + length * index_size, index_size)
        ]
        if number == item:
            return indices
        place += length * index_size
    return []
