"""Photoshop resources and the IPTC records in them: programs, captions, a date, and nested blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imltool.evidence.programs import Field, Text
from imltool.texts import decoded

IPTC_RECORD, QUALITY, THUMBNAIL, VERSION, EXIF, XMP = 1028, 1030, 1036, 1057, 1058, 1060
"""Numbers of Photoshop's resources; only Photoshop itself writes `QUALITY` and `VERSION` when it saves."""
RESOURCES, DATA_SETS = 1000, 5000
"""Resources and IPTC data sets read at most (our choice)."""
FIELDS = {
    65: ("IPTC Originating Program", Text.PROGRAM),
    70: ("IPTC Program Version", Text.FREE),
    40: ("IPTC Special Instructions", Text.FREE),
    120: ("IPTC Caption", Text.FREE),
    110: ("IPTC Credit", Text.COMMENT),
}
DATE, TIME = 55, 60


@dataclass(frozen=True)
class Iptc:
    """IPTC records: fields that may name a program, and the creation date as raw text. `whole`: all could be read."""

    fields: tuple[Field, ...] = ()
    created: str = ""
    whole: bool = True


def read_resources(data: bytes) -> tuple[dict[int, bytes], bool]:
    """Photoshop's resources by number, and whether they could be read to their end."""
    found: dict[int, bytes] = {}
    place = 0
    for _ in range(RESOURCES):
        if place + 12 > len(data):
            return found, not data[place:].strip(b"\0")
        if data[place : place + 4] not in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"):
            return found, False
        (number,) = struct.unpack_from(">H", data, place + 4)
        name = data[place + 6]
        start = place + 7 + name + (name + 1) % 2
        if start + 4 > len(data):
            return found, False
        (size,) = struct.unpack_from(">L", data, start)
        content = data[start + 4 : start + 4 + size]
        if len(content) < size:
            return found, False
        found.setdefault(number, content)
        place = start + 4 + size + size % 2
    return found, False


def read_iptc(data: bytes) -> Iptc:
    """The IPTC records of a block."""
    values: dict[int, bytes] = {}
    whole = True
    for record, number, content in _data_sets(data):
        if number < 0:
            whole = False
        elif record == 2:
            values.setdefault(number, content)
    fields = tuple(
        Field(where, _text(values[number]), kind) for number, (where, kind) in FIELDS.items() if values.get(number)
    )
    created = f"{_text(values.get(DATE, b''))} {_text(values.get(TIME, b''))}".strip()
    return Iptc(fields, _stamp(created), whole)


def _data_sets(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(record, number, content) of each data set; the number is -1 where the rest cannot be read."""
    place = 0
    for _ in range(DATA_SETS):
        if place + 5 > len(data) or not data[place:].strip(b"\0"):
            return
        if data[place] != 0x1C:
            yield 0, -1, b""
            return
        record, number, size = struct.unpack_from(">BBH", data, place + 1)
        place += 5
        if size & 0x8000:
            width = size & 0x7FFF
            size = int.from_bytes(data[place : place + width], "big") if width <= 4 else len(data)
            place += width
        content = data[place : place + size]
        if len(content) < size:
            yield 0, -1, b""
            return
        yield record, number, content
        place += size


def _text(value: bytes) -> str:
    return decoded(value).strip("\0 ")


def _stamp(created: str) -> str:
    """`20240501 120000+0200` in the ISO 8601 form that XMP uses; any other text unchanged.

    An unknown day, or day and month, is written 00 and left out.
    """
    day, _, clock = created.partition(" ")
    if len(day) != 8 or not day.isdigit():
        return created
    parts = [day[:4], day[4:6], day[6:]]
    while not clock and len(parts) > 1 and parts[-1] == "00":
        parts.pop()
    stamp = "-".join(parts)
    if len(clock) >= 6 and clock[:6].isdigit():
        stamp += f"T{clock[:2]}:{clock[2:4]}:{clock[4:6]}"
        if len(clock) == 11:
            stamp += f"{clock[6:9]}:{clock[9:]}"
    return stamp
