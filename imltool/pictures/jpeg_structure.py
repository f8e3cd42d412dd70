"""The structure of a JPEG file: segments, tables, frame, scans, and the end of its data."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from imltool.pictures.tags import TagReader

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])", re.DOTALL)
"""A marker in coded data that is neither a stuffed zero nor a restart marker."""
RESTART = re.compile(rb"\xff+([\xd0-\xd7])", re.DOTALL)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers that begin a frame; 0xF7 is JPEG-LS."""
PROGRESSIVE, ARITHMETIC, LOSSLESS = {0xC2, 0xC6, 0xCA, 0xCE}, {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}, {0xC3, 0xC7, 0xCB}
HIERARCHICAL = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}
BETWEEN_SCANS = {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
SEGMENTS = 2000
"""Segments read at most (our choice)."""
MPF_COUNT, MPF_ENTRIES = 0xB001, 0xB002

ZIGZAG = (
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
)  # fmt: skip
"""The position, in row-by-row order, of each step in the stored order of a quantisation table."""


@dataclass(frozen=True)
class Segment:
    """A segment: its marker (0xE1 for APP1), its offset, and its data after the length."""

    marker: int
    start: int
    data: bytes

    @property
    def name(self) -> str:
        """`APP1`, `COM`, `DQT`, …"""
        if 0xE0 <= self.marker <= 0xEF:
            return f"APP{self.marker - 0xE0}"
        return {0xFE: "COM", 0xDB: "DQT", 0xC4: "DHT", 0xDD: "DRI", 0xCC: "DAC"}.get(self.marker, f"{self.marker:02X}")


@dataclass(frozen=True)
class Frame:
    """A frame header: marker, bits per sample, size, and for each component (across, down, table number)."""

    marker: int
    precision: int
    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]

    @property
    def process(self) -> str:
        """The kind of JPEG, in words."""
        if self.marker == 0xF7:
            return "JPEG-LS"
        parts = (
            "hierarchical" if self.marker in HIERARCHICAL else "",
            "lossless" if self.marker in LOSSLESS else "progressive" if self.marker in PROGRESSIVE else "",
            "arithmetic-coded" if self.marker in ARITHMETIC else "",
            f"{self.precision}-bit" if self.precision != 8 else "",
        )
        return " ".join(part for part in (*parts, "JPEG") if part)

    @property
    def unit_rows(self) -> int:
        """Number of pixel rows that are coded together."""
        return self._unit(max((down for _, down, _ in self.components), default=1))

    @property
    def unit_columns(self) -> int:
        """Number of pixel columns that are coded together."""
        return self._unit(max((across for across, _, _ in self.components), default=1))

    def _unit(self, most: int) -> int:
        if len(self.components) == 1:  # the factors of a single component have no effect
            most = 1
        return (1 if self.marker in LOSSLESS else 8) * most


@dataclass
class JpegStructure:
    """The result of `read_structure`.

    Attributes:
        segments: those before the coded data.
        tables: number → 64 quantisation steps, row by row, as defined when the first scan begins.
        frame: the frame header; None if it is missing.
        scans: number of scans that begin.
        refined: whether the scan headers cover every bit of every coefficient, as in a complete progressive file.
        end: the offset after the end marker; None if it is missing.
        interval: coded units between restart markers, 0 for none.
        restarts: numbers of the restart markers of a file with one scan, in the file's order.
    """

    segments: list[Segment] = field(default_factory=list)
    tables: dict[int, tuple[int, ...]] = field(default_factory=dict)
    frame: Frame | None = None
    scans: int = 0
    refined: bool = True
    end: int | None = None
    interval: int = 0
    restarts: bytes = b""

    def rows_in_order(self) -> int | None:
        """Number of rows before the first restart marker that is missing or out of order; None without such a fault.

        Only for files of one scan with restart markers; None for others.
        """
        frame = self.frame
        if not self.interval or self.scans != 1 or frame is None or frame.marker in PROGRESSIVE | LOSSLESS:
            return None
        across, down = -(-frame.width // frame.unit_columns), -(-frame.height // frame.unit_rows)
        wanted = -(-across * down // self.interval) - 1
        good = next((place for place, number in enumerate(self.restarts) if number != place % 8), len(self.restarts))
        if good == len(self.restarts) and (self.end is None or good - wanted in (0, 1)):
            return None  # cameras write another one after the last unit
        return min(good, wanted) * self.interval // across * frame.unit_rows


def read_structure(data: bytes) -> JpegStructure:
    """Read the structure of JPEG data, however damaged."""
    found = JpegStructure()
    place, scan = 2, 0
    missing: dict[int, set[int]] = {}
    for _ in range(SEGMENTS):
        mark = MARKER.search(data, place)
        if mark is None:
            break
        marker, start, place = mark[1][0], mark.end() - 2, mark.end()
        if marker == 0xD9:
            found.end = place
            break
        if marker in (0x01, 0xD8) or (found.scans and marker not in BETWEEN_SCANS):
            continue  # no segment, or noise in the coded data
        if place + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, place)
        content = data[place + 2 : place + max(length, 2)]
        if not found.scans:
            found.segments.append(Segment(marker, start, content))
        if marker == 0xDA:
            found.scans += 1
            scan = place
            _note_scan(content, missing)
        elif marker == 0xDD and not found.scans and len(content) >= 2:
            (found.interval,) = struct.unpack_from(">H", content)
        elif marker == 0xDB and not found.scans:
            found.tables |= _tables(content)
        elif marker in FRAMES and found.frame is None:
            found.frame = _frame(marker, content)
            missing = {each: set(range(64)) for each in _component_ids(content)}
        place += max(length, 2)
    if found.interval and found.scans == 1:
        stop = len(data) if found.end is None else found.end
        found.restarts = bytes(mark[1][0] - 0xD0 for mark in RESTART.finditer(data, scan, stop))
    if found.frame and found.frame.marker in PROGRESSIVE:
        found.refined = not any(missing.values())
    return found


def _frame(marker: int, content: bytes) -> Frame | None:
    if len(content) < 6:
        return None
    precision, height, width, count = struct.unpack_from(">BHHB", content)
    parts = [content[6 + 3 * each : 9 + 3 * each] for each in range(count)]
    components = tuple((part[1] >> 4, part[1] & 15, part[2]) for part in parts if len(part) == 3)
    return Frame(marker, precision, width, height, components)


def _component_ids(content: bytes) -> list[int]:
    return [*content[6::3]] if len(content) > 6 else []


def _note_scan(content: bytes, missing: dict[int, set[int]]) -> None:
    """Remove from `missing` the coefficients that a scan carries to their last bit."""
    count = content[0] if content else 0
    rest = content[1 + 2 * count :]
    if len(rest) < 3 or rest[2] & 15:
        return
    for component in content[1 : 1 + 2 * count : 2]:
        missing.get(component, set()).difference_update(range(rest[0], rest[1] + 1))


def _tables(content: bytes) -> dict[int, tuple[int, ...]]:
    tables: dict[int, tuple[int, ...]] = {}
    place = 0
    while place < len(content):
        wide, number = content[place] >> 4, content[place] & 15
        size = 128 if wide else 64
        part = content[place + 1 : place + 1 + size]
        if len(part) < size:
            break
        steps = struct.unpack(">64H" if wide else "64B", part)
        natural = [0] * 64
        for position, step in zip(ZIGZAG, steps, strict=True):
            natural[position] = step
        tables[number] = tuple(natural)
        place += 1 + size
    return tables


def multi_pictures(segment: Segment) -> list[tuple[int, int]]:
    """(start, size) of each picture that a multi-picture segment (MPF) lists; the start of the first is 0."""
    if segment.name != "APP2" or not segment.data.startswith(b"MPF\0"):
        return []
    block = segment.data[4:]
    reader = TagReader.open(lambda start, count: block[start : start + count])
    if reader is None:
        return []
    try:
        entries = reader.table(reader.first).raw(MPF_ENTRIES)
    except ValueError:
        return []
    base = segment.start + 8  # the marker, the length and the name
    listed = [struct.unpack_from(reader.order + "LLL", entries, place) for place in range(0, len(entries) - 15, 16)]
    return [(base + start if start else 0, size) for _, size, start in listed]


def bare(data: bytes, found: JpegStructure) -> bytes:
    """The same coded picture without its metadata, so that no damaged block can stop a decoder.

    The segments that define the colour model for a decoder are kept: JFIF's, unless it is truncated, and Adobe's.
    """
    kept = []
    for segment in found.segments:
        app = 0xE0 <= segment.marker <= 0xEF
        jfif = segment.marker == 0xE0 and segment.data.startswith(b"JFIF\0") and len(segment.data) >= 14
        adobe = segment.marker == 0xEE and segment.data.startswith(b"Adobe") and len(segment.data) >= 12
        if segment.marker != 0xDA and (jfif or adobe or not (app or segment.marker == 0xFE)):
            kept.append(data[segment.start : segment.start + 4 + len(segment.data)])
    first = next((segment.start for segment in found.segments if segment.marker == 0xDA), len(data))
    return b"".join((SOI, *kept, data[first : found.end or len(data)]))
