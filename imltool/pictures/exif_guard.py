"""Which EXIF blocks are read: a guard against those made to take memory."""

from __future__ import annotations

import struct

EXIF_BYTES = 1_000_000
EXIF_ENTRIES = 1000
"""EXIF blocks with more bytes or tags are not read: a tag may claim the whole block, so that reading all of them would
take their product in memory (our choice, several times what cameras write)."""
EXIF_TABLES = 10
"""Blocks of more tables are not read: cameras write five (our choice)."""


def exif_fault(data: bytes, thumbnail: bool = False) -> str:
    """Why an EXIF block is not read, or "": a guard against blocks made to take memory.

    Args:
        thumbnail: whether the thumbnail's table is to be read too. Programs that write no thumbnail leave anything
            where that table is told, which is no reason to leave the others unread.
    """
    start = 0
    while data.startswith(b"Exif\0\0", start):
        start += 6
    if len(data) > EXIF_BYTES:
        return f"more than {EXIF_BYTES} bytes"
    order = {b"II": "<", b"MM": ">"}.get(data[start : start + 2])
    if order is None:
        return "no TIFF header"
    first = _numbers(order + "L", data, start + 4)
    waiting, seen = [*first], {0}
    while waiting:
        offset = waiting.pop()
        if offset in seen:
            continue
        seen.add(offset)
        (count,) = _numbers(order + "H", data, start + offset) or (0,)
        if count > EXIF_ENTRIES:
            return f"more than {EXIF_ENTRIES} tags"
        if len(seen) > EXIF_TABLES + 1:
            return f"more than {EXIF_TABLES} tables"
        end = start + offset + 2 + 12 * count
        for place in range(start + offset + 2, end, 12):
            tag, _, _, value = _numbers(order + "HHLL", data, place) or (0, 0, 0, 0)
            if tag in (0x8769, 0x8825, 0xA005):  # the EXIF, GPS and interoperability tables
                waiting.append(value)
        if thumbnail and offset in first:
            waiting += _numbers(order + "L", data, end)
    return ""


def _numbers(form: str, data: bytes, place: int) -> tuple[int, ...]:
    """What `struct` reads there; nothing where the data is cut short."""
    whole = 0 <= place <= len(data) - struct.calcsize(form)
    return struct.unpack_from(form, data, place) if whole else ()
