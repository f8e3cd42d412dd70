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
MAIL_STAMP = re.compile(r"([A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d")
ZONE = re.compile(r"(Z)|([+-])(\d\d):?(\d\d)")
BLANK = re.compile(r"[\s0:.TZ/-]*")
"""Cameras write this when the clock was not set."""


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


def parse_time(text: object, zone: object = None) -> datetime | None:
    """Parse a time as EXIF, XMP, IPTC or PNG write it, with its zone if there is one; None for blanks or other texts.

    Padded numbers are accepted. XMP may omit the seconds or the whole time of day; PNG recommends the RFC 1123 format.
    """
    raw = clean(text) or ""
    found = STAMP.match(raw)
    if found is None:
        try:
            return parsedate_to_datetime(raw) if MAIL_STAMP.match(raw) else None
        except ValueError:
            return None
    try:
        moment = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None
    rest = raw[found.end() :].strip()
    shift = ZONE.fullmatch(rest) or (ZONE.fullmatch((clean(zone) or "").strip()) if not rest else None)
    if rest and shift is None:
        return None
    return moment.replace(tzinfo=_zone(shift)) if shift else moment


def _zone(shift: re.Match[str]) -> timezone | None:
    if shift[1]:
        return timezone.utc
    minutes = (-1 if shift[2] == "-" else 1) * (60 * int(shift[3]) + int(shift[4]))
    return timezone(timedelta(minutes=minutes)) if abs(minutes) < 1440 else None


def read_time(where: str, text: object, notes: Notes, zone: object = None, zone_where: str = "") -> datetime | None:
    """`parse_time`; texts that are no time, or no time zone, are kept in `notes`."""
    raw = clean(text) or ""
    moment = parse_time(text, zone)
    if moment is None and not BLANK.fullmatch(raw):
        notes.keep(where, raw, "a time")
    stated = (clean(zone) or "").strip(": ")
    if stated and moment is not None:
        shift = ZONE.fullmatch(stated)
        if shift is None or _zone(shift) is None:
            notes.keep(zone_where, stated, "a time zone")
    return moment


def keep_half(where: str, latitude: float | None, longitude: float | None, notes: Notes) -> None:
    """Note a latitude without a longitude, or the reverse."""
    for name, angle in (("Latitude", latitude), ("Longitude", longitude)):
        if angle is not None:
            notes.keep(f"{where}{name}", f"{angle:g}", "a whole position")


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
    angle = sum(number / 60**power for power, number in enumerate(numbers)) if known else -1.0
    if not 0 <= angle <= most or letter not in (plus, minus):
        notes.keep(where, raw, "a position")
        return None
    return round(-angle if letter == minus else angle, 6)
