"""What EXIF says of a picture: camera, clocks, position, its own size, and the thumbnail it carries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD

from imltool.pictures.exif_guard import exif_fault
from imltool.texts import clean

MAKE, MODEL, SOFTWARE, CHANGED, HOST, PROCESSED_BY = 271, 272, 305, 306, 316, 11
TAKEN, DIGITISED, ZONES = 36867, 36868, {CHANGED: 36880, 36867: 36881, 36868: 36882}
SERIAL, LENS, WIDTH, HEIGHT, COMMENT = 42033, 42036, 40962, 40963, 37510
THUMBNAIL_START, THUMBNAIL_BYTES = 513, 514
"""Numbers of EXIF tags."""

STAMP = re.compile(r"(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
ZONE = re.compile(r"([+-])(\d\d):?(\d\d)$")


@dataclass(frozen=True)
class ExifBlock:
    """The tables of an EXIF block by tag number, and the thumbnail's bytes (JPEG), or None."""

    main: Mapping[int, Any] = field(default_factory=dict)
    detail: Mapping[int, Any] = field(default_factory=dict)
    gps: Mapping[int, Any] = field(default_factory=dict)
    thumbnail: bytes | None = None


def read_exif(picture: Image.Image, info: Mapping[str, Any]) -> ExifBlock:
    """The EXIF of an opened picture; an empty block when it has none. Raises ValueError and what Pillow raises."""
    data: bytes | None = info.get("exif")
    if data is None and isinstance(info.get("Raw profile type exif"), str):
        data = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    if data is None and picture.format == "TIFF":
        exif = picture.getexif()
        return ExifBlock(dict(exif), exif.get_ifd(IFD.Exif), exif.get_ifd(IFD.GPSInfo))
    if not data:
        return ExifBlock()
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    if fault := exif_fault(data):
        raise ValueError(fault)
    exif = Image.Exif()
    exif.load(data)
    preview = {} if exif_fault(data, thumbnail=True) else exif.get_ifd(IFD.IFD1)
    return ExifBlock(dict(exif), exif.get_ifd(IFD.Exif), exif.get_ifd(IFD.GPSInfo), _thumbnail(data, preview))


def _thumbnail(data: bytes, preview: Mapping[int, Any]) -> bytes | None:
    start, count = preview.get(THUMBNAIL_START), preview.get(THUMBNAIL_BYTES)
    if not isinstance(start, int) or not isinstance(count, int) or not 0 < start < len(data) or count <= 0:
        return None
    return data[start : start + count]


def camera(exif: ExifBlock) -> dict[str, str | None]:
    """`make`, `model`, `lens` and `serial` number as the camera wrote them."""
    return {
        "make": _text(exif.main.get(MAKE)),
        "model": _text(exif.main.get(MODEL)),
        "lens": _text(exif.detail.get(LENS)),
        "serial": _text(exif.detail.get(SERIAL)),
    }


def software(exif: ExifBlock) -> list[tuple[str, str | None]]:
    """Where EXIF names a program, and what it says there."""
    return [
        ("EXIF Software", _text(exif.main.get(SOFTWARE))),
        ("EXIF ProcessingSoftware", _text(exif.main.get(PROCESSED_BY))),
        ("EXIF HostComputer", _text(exif.main.get(HOST))),
        ("EXIF UserComment", _comment(exif.detail.get(COMMENT))),
    ]


def _text(value: object) -> str | None:
    """A text; Pillow takes its bytes for Latin-1, and today's cameras write UTF-8."""
    if isinstance(value, str):
        try:
            return clean(value.encode("latin-1"))
        except UnicodeEncodeError:
            return clean(value)
    return clean(value)


def _comment(value: object) -> str | None:
    """A user comment, which begins with the name of its character set in 8 bytes."""
    if not isinstance(value, bytes):
        return clean(value)
    text = value[8:2000]
    if value.startswith(b"UNICODE"):  # in which byte order, the standard leaves open
        return clean(text.decode("utf-16-be" if text[:1] == b"\0" else "utf-16-le", "replace"))
    return clean(text)


def parse_time(text: object, zone: object = None) -> datetime | None:
    """A time as EXIF, XMP or PNG write it, with its zone when one is told; None for blanks and what is no time.

    XMP may leave the seconds out.
    """
    raw = clean(text) or ""
    found = STAMP.match(raw)
    if found is None:
        return None
    try:
        moment = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    rest = raw[found.end() :]
    if rest.endswith("Z"):
        return moment.replace(tzinfo=timezone.utc)
    shift = ZONE.search(rest) or ZONE.match(clean(zone) or "")
    if shift is None:
        return moment
    sign = -1 if shift[1] == "-" else 1
    minutes = sign * (60 * int(shift[2]) + int(shift[3]))
    return moment.replace(tzinfo=timezone(timedelta(minutes=minutes))) if abs(minutes) < 1440 else moment


def times(exif: ExifBlock) -> dict[str, datetime | None]:
    """`taken`, `digitised` and `changed` by the camera's clock, and `gps` by the satellites' (UTC)."""
    places = {"taken": (exif.detail, TAKEN), "digitised": (exif.detail, DIGITISED), "changed": (exif.main, CHANGED)}
    found = {name: parse_time(table.get(tag), exif.detail.get(ZONES[tag])) for name, (table, tag) in places.items()}
    return {**found, "gps": _gps_time(exif.gps)}


def _gps_time(gps: Mapping[int, Any]) -> datetime | None:
    day, clock = clean(gps.get(29)), gps.get(7)
    numbers = _numbers(clock, 3)
    if not day or numbers is None:
        return None
    hours, minutes, seconds = numbers
    try:
        start = datetime.strptime(day[:10].replace("-", ":"), "%Y:%m:%d").replace(tzinfo=timezone.utc)
        return start + timedelta(seconds=round(3600 * hours + 60 * minutes + seconds))
    except (ValueError, OverflowError):
        return None


def position(exif: ExifBlock) -> dict[str, Any]:
    """`present`: whether coordinates are told; `latitude`, `longitude` in degrees (north, east), `altitude` in m."""
    latitude = _degrees(exif.gps.get(2), exif.gps.get(1), "S", 90.0)
    longitude = _degrees(exif.gps.get(4), exif.gps.get(3), "W", 180.0)
    height = _numbers((exif.gps.get(6),), 1)
    below = exif.gps.get(5) in (1, b"\x01")
    known = latitude is not None and longitude is not None
    return {
        "present": known,
        "latitude": latitude if known else None,
        "longitude": longitude if known else None,
        "altitude": round(-height[0] if below else height[0], 1) if known and height else None,
    }


def _degrees(value: Any, reference: Any, negative: str, most: float) -> float | None:
    numbers = _numbers(value, 3)
    if numbers is None:
        return None
    angle = numbers[0] + numbers[1] / 60 + numbers[2] / 3600
    if not 0 <= angle <= most:
        return None
    return round(-angle if (clean(reference) or "").upper() == negative else angle, 6)


def _numbers(value: Any, count: int) -> list[float] | None:
    """Finite numbers, exactly `count` of them, or None."""
    try:
        numbers = [float(each) for each in value]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def exif_size(exif: ExifBlock) -> tuple[int, int] | None:
    """(width, height) in pixels of the stored picture by EXIF, or None."""
    width, height = exif.detail.get(WIDTH), exif.detail.get(HEIGHT)
    known = isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
    return (int(width), int(height)) if known else None  # type: ignore[arg-type]
