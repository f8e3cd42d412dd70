"""Tables of tags in TIFF files and EXIF blocks. A damaged tag does not affect the others.

Reads classic TIFF and BigTIFF in both byte orders. Reading is bounded, because a tag may claim the whole block as its
value, and tables may refer to each other in circles.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Read = Callable[[int, int], bytes]
"""Function (start, count) that reads bytes of a file or block; fewer at its end."""

ENTRIES = 1000
"""Tags of a table that are read at most (our choice: several times what cameras write)."""
TABLES = 10
"""Tables of one block that are read at most: cameras write five (our choice)."""
VALUE_BYTES = 4_000_000
"""Longer values are not read (our choice: previews and profiles are shorter)."""
BUDGET = 16_000_000
"""Bytes of values that are read from one file at most (our choice)."""

SUBFILE, WIDTH, HEIGHT, ORIENTATION = 254, 256, 257, 274
EXIF, GPS, INTEROPERABILITY, SUB_FILES = 0x8769, 0x8825, 0xA005, 330
XMP, IPTC, PHOTOSHOP, ICC, DNG = 700, 33723, 34377, 34675, 50706
THUMBNAIL_START, THUMBNAIL_BYTES = 513, 514

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
CODES = {3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 11: "f", 12: "d", 13: "L", 16: "Q", 17: "q", 18: "Q"}

Value = bytes | tuple[int, ...] | tuple[float, ...]
"""Bytes, also for text; integers; floats, also for rational numbers (`NoNumber` if the denominator is 0)."""


class NoNumber(float):
    """NaN for a rational number whose denominator is 0; `raw` is its text: "0/0"."""

    raw: str

    @classmethod
    def of(cls, up: int, down: int) -> NoNumber:
        """The value for `up`/`down`."""
        made = cls("nan")
        made.raw = f"{up}/{down}"
        return made


def number_text(number: float) -> str:
    """The text of a number for a message."""
    return number.raw if isinstance(number, NoNumber) else f"{number:g}"


@dataclass(frozen=True)
class Table:
    """One table: tag → value, the offset of the next table (0 for none), and the tags that could not be read."""

    values: Mapping[int, Value] = field(default_factory=dict)
    next: int = 0
    damaged: tuple[int, ...] = ()

    def number(self, tag: int) -> int | None:
        """The first integer of a tag, or None."""
        value = self.values.get(tag)
        if isinstance(value, bytes):
            value = tuple(value) if len(value) == 1 else ()
        return value[0] if value and isinstance(value[0], int) else None

    def raw(self, tag: int) -> bytes:
        """The bytes of a tag, empty if it has none. A list of integers below 256 is converted to bytes."""
        value = self.values.get(tag, b"")
        if isinstance(value, bytes):
            return value
        small = all(isinstance(each, int) and 0 <= each < 256 for each in value)
        return bytes(int(each) for each in value) if small else b""


class RawTable(NamedTuple):
    """A table as stored.

    Attributes:
        entries: (tag, kind, number of values, the values themselves or their offset), up to the first that is cut off.
        cut: whether an entry is cut off.
        next: the offset of the next table, 0 for none; None if it is cut off.
        end: the offset after the table.
    """

    entries: list[tuple[int, int, int, bytes]]
    cut: bool
    next: int | None
    end: int


@dataclass
class TagReader:
    """Reads tables of one block.

    Attributes:
        read: returns bytes at offsets from the block's start.
        order: "<" or ">".
        big: whether it is a BigTIFF.
        first: the offset of the first table.
    """

    read: Read
    order: str
    big: bool
    first: int
    _budget: int = BUDGET

    @classmethod
    def open(cls, read: Read) -> TagReader | None:
        """The reader of a block, or None when it does not begin like TIFF."""
        head = read(0, 16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return None
        (magic,) = struct.unpack_from(order + "H", head, 2)
        if magic == 43 and len(head) == 16 and struct.unpack_from(order + "HH", head, 4) == (8, 0):
            return cls(read, order, True, struct.unpack_from(order + "Q", head, 8)[0])
        # other numbers are used by camera raw files, whose tables have the same form
        return cls(read, order, False, struct.unpack_from(order + "L", head, 4)[0]) if magic != 43 else None

    @property
    def _forms(self) -> tuple[str, str, str]:
        """The forms of a table's number of entries, of an entry, and of the offset of the next table."""
        forms = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHL4s", "L")
        return forms[0], forms[1], forms[2]

    def place(self, inline: bytes) -> int:
        """The offset that an entry holds in the place of its value."""
        return int.from_bytes(inline, "little" if self.order == "<" else "big")

    def raw_table(self, offset: int) -> RawTable:
        """The entries of the table at `offset`. Raises ValueError when there is none, or when it has too many tags."""
        count_form, entry_form, next_form = (self.order + form for form in self._forms)
        head = self.read(offset, struct.calcsize(count_form))
        if offset < 8 or len(head) < struct.calcsize(count_form):
            raise ValueError("points outside the block")
        (count,) = struct.unpack(count_form, head)
        if count > ENTRIES:
            raise ValueError(f"has more than {ENTRIES} tags")
        size, start = struct.calcsize(entry_form), offset + len(head)
        body = self.read(start, count * size + struct.calcsize(next_form))
        whole = min(count, len(body) // size)
        entries = [*struct.iter_unpack(entry_form, body[: whole * size])]
        rest = body[count * size :]
        follows = struct.unpack(next_form, rest)[0] if len(rest) == struct.calcsize(next_form) else None
        return RawTable(entries, whole < count, follows, start + len(body))

    def table(self, offset: int) -> Table:
        """The table at `offset` with its values. Raises as `raw_table` does."""
        raw = self.raw_table(offset)
        values: dict[int, Value] = {}
        damaged = []
        for tag, kind, length, inline in raw.entries:
            value = self._value(kind, length, inline)
            if value is None:
                damaged.append(tag)
            else:
                values.setdefault(tag, value)
        return Table(values, raw.next or 0, (*damaged, -1) if raw.cut else tuple(damaged))

    def chain(self, most: int) -> list[int]:
        """The offsets of the chain of tables from the first on, at most `most`; a circle ends the chain."""
        count_form, entry_form, next_form = (self.order + form for form in self._forms)
        places: list[int] = []
        offset = self.first
        while offset and offset not in places and len(places) < most:
            head = self.read(offset, struct.calcsize(count_form))
            if len(head) < struct.calcsize(count_form):
                break
            places.append(offset)
            (count,) = struct.unpack(count_form, head)
            after = self.read(offset + len(head) + count * struct.calcsize(entry_form), struct.calcsize(next_form))
            offset = self.place(after) if len(after) == struct.calcsize(next_form) else 0
        return places

    def _value(self, kind: int, length: int, inline: bytes) -> Value | None:
        size = SIZES.get(kind, 0) * length
        if kind not in SIZES or size > min(VALUE_BYTES, self._budget):
            return None
        if size <= len(inline):
            data = inline[:size]
        else:
            self._budget -= size
            data = self.read(self.place(inline), size)
            if len(data) < size:
                return None
        if kind in (1, 2, 7):
            return data
        if kind in (5, 10):
            pairs = struct.unpack(f"{self.order}{2 * length}{'L' if kind == 5 else 'l'}", data)
            return tuple(
                up / down if down else NoNumber.of(up, down) for up, down in zip(pairs[::2], pairs[1::2], strict=True)
            )
        return struct.unpack(f"{self.order}{length}{CODES[kind]}", data)
