"""Parsing of texts, times and positions as cameras and programs write them; unclear values are kept as raw text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from imltool.evidence.model import Unparsed
from imltool.pictures.tags import number_text
from imltool.texts import clean

STAMP = re.compile(
    r"\s*(\d{4})[:/.-]\s?(\d{1,2})[:/.-]\s?(\d{1,2})(?:[ T]\s?(\d{1,2}):\s?(\d{1,2})(?::\s?(\d{1,2}))?(?:[.,]\d*)?)?\s*"
)
PART_OF_DATE = re.compile(r"(\d{4})(?:-(\d\d))?")
"""A year, or a year and a month, as XMP and IPTC allow."""
MAIL_STAMP = re.compile(r"([A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d")
ZONE = re.compile(r"(Z)|([+-])(\d\d):?(\d\d)")
BLANK = re.compile(r"[\s0:.TZ/-]*")
"""Cameras write this when the clock was not set."""


@dataclass(frozen=True)
class Stamp:
    """A time as precise as the file gives it.

    Attributes:
        text: ISO 8601, with a zone if the file has one: `2024-05-01T12:00:00+02:00`, `2024-05-01`, `2024`.
        moment: None if the file gives no time of day, so that it cannot be compared with others.
    """

    text: str
    moment: datetime | None = None

    @classmethod
    def of(cls, moment: datetime, precision: str = "seconds") -> Stamp:
        """The stamp of a moment that is known to its "minutes" or "seconds"."""
        return cls(moment.isoformat(timespec=precision), moment)


@dataclass
class Notes:
    """Notes taken while reading: values that were not understood, and problems as fixed phrases."""

    unparsed: list[Unparsed] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def keep(self, where: str, raw: object, what: str) -> None:
        """Keep a value that is not understood; `what` names what was expected ("a time")."""
        text = clean(raw)
        if text:
            self.unparsed.append(Unparsed(where=where, text=text))
            self.problem(f"{where}: not {what}")

    def problem(self, text: str) -> None:
        """Note a problem once."""
        if text not in self.problems:
            self.problems.append(text)


def parse_time(text: object, zone: object = None) -> Stamp | None:
    """Parse a time as EXIF, XMP, IPTC or PNG write it, with its zone if there is one; None for blanks or other texts.

    Padded numbers are accepted. XMP may omit the seconds, the time of day, the day and the month; PNG recommends the
    RFC 1123 format.
    """
    raw = clean(text) or ""
    try:
        return _parse(raw, (clean(zone) or "").strip())
    except (ValueError, OverflowError):  # no such day or hour; a zone of any number of digits
        return None


def _parse(raw: str, zone: str) -> Stamp | None:
    """`parse_time` for clean texts. Raises ValueError and OverflowError for numbers out of range."""
    found = STAMP.match(raw)
    if found is None:
        if part := PART_OF_DATE.fullmatch(raw):
            datetime(int(part[1]), int(part[2] or 1), 1)  # noqa: DTZ001 raises for no such month
            return Stamp(raw)
        return Stamp.of(parsedate_to_datetime(raw)) if MAIL_STAMP.match(raw) else None
    moment = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    rest = raw[found.end() :].strip()
    shift = ZONE.fullmatch(rest) or (ZONE.fullmatch(zone) if not rest else None)
    if rest and shift is None:
        return None
    if found[4] is None:
        return Stamp(moment.date().isoformat())
    moment = moment.replace(tzinfo=_zone(shift)) if shift else moment
    return Stamp.of(moment, "minutes" if found[6] is None else "seconds")


def _zone(shift: re.Match[str]) -> timezone | None:
    if shift[1]:
        return timezone.utc
    minutes = (-1 if shift[2] == "-" else 1) * (60 * int(shift[3]) + int(shift[4]))
    return timezone(timedelta(minutes=minutes)) if abs(minutes) < 1440 else None


def read_time(where: str, text: object, notes: Notes, zone: object = None, zone_where: str = "") -> Stamp | None:
    """`parse_time`; texts that are no time, or no time zone, are kept in `notes`."""
    raw = clean(text) or ""
    stamp = parse_time(text, zone)
    if stamp is None and not BLANK.fullmatch(raw):
        notes.keep(where, raw, "a time")
    stated = (clean(zone) or "").strip(": ")
    if stated and stamp is not None:
        shift = ZONE.fullmatch(stated)
        if shift is None or _zone(shift) is None:
            notes.keep(zone_where, stated, "a time zone")
    return stamp


def keep_half(where: str, latitude: float | None, longitude: float | None, notes: Notes) -> None:
    """Note a latitude without a longitude, or the reverse."""
    for name, angle in (("Latitude", latitude), ("Longitude", longitude)):
        if angle is not None:
            notes.keep(f"{where}{name}", f"{angle:g}", "a whole position")


def is_void(status: str | None) -> bool:
    """Whether GPSStatus is `V` (EXIF 2.32): the receiver measured no position and may give an old one."""
    return bool(status) and str(status).strip().upper().startswith("V")


def degrees(where: str, numbers: Sequence[float] | None, reference: object, notes: Notes) -> float | None:
    """Degrees north or east from up to three numbers (degrees, minutes, seconds) and the name of a direction.

    Only the first letter of the direction is used, as some programs write it in full. Values that are not understood
    are kept in `notes`.
    """
    if not numbers:
        return None
    latitude = "atitude" in where
    letter = (clean(reference) or " ")[0].upper()
    raw = f"{', '.join(map(number_text, numbers))} {clean(reference) or ''}".strip()
    most, plus, minus = (90.0, "N", "S") if latitude else (180.0, "E", "W")
    known = len(numbers) <= 3 and all(math.isfinite(number) and number >= 0 for number in numbers)
    known = known and all(number <= 60 for number in numbers[1:])  # 60 comes from rounding
    angle = sum(number / 60**power for power, number in enumerate(numbers)) if known else -1.0
    if not 0 <= angle <= most or letter not in (plus, minus):
        notes.keep(where, raw, "a position")
        return None
    return round(-angle if letter == minus else angle, 6) + 0.0  # the equator has no sign


def metres(height: float, reference: str | None) -> float:
    """A height in metres, negative if `reference`, the value of GPSAltitudeRef, says so.

    0 and 1 are above and below. EXIF 3.0 takes these as heights over the ellipsoid, and adds 2 and 3, which are above
    and below sea level; older files mean sea level by 0 and 1.
    """
    return round(-height if (reference or "").strip() in ("1", "3") else height, 1) + 0.0
