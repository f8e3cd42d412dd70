"""XMP of a picture: camera, programs, clocks, position, history, and how it was made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from imltool.evidence.model import Camera, Position
from imltool.evidence.programs import Field, Text
from imltool.evidence.values import Notes, Stamp, degrees, is_void, keep_half, metres, read_time
from imltool.pictures.xmp_packet import RDF, descriptions, value_of
from imltool.texts import clean

STEPS_KEPT = 20
"""Steps of a history, and programs named in it, that are kept at most (our choice)."""
NAMESPACES = {
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "exifEX": "http://cipa.jp/exif/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "iptcExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
META = "{adobe:ns:meta/}"
PROVENANCE = re.compile(r"\s*((?:https?://|self#|#)\S*)\s*", re.IGNORECASE)
"""An address of Content Credentials; others write texts about the owners of a work into the same property."""
COORDINATE = re.compile(r"\s*([\d.]+(?:,[\d.]+){0,2})\s*([NSEW]?)\s*", re.IGNORECASE)


@dataclass
class Xmp:
    """The content of a file's XMP packets.

    Attributes:
        camera, position: as given in XMP.
        fields: fields that may name a program, with their whole texts.
        taken, created, changed, gps: times; `gps` is that of the satellites.
        steps: editing steps, oldest first: "saved", "converted", …
        derived: whether it names another document as its origin.
        source_types: IPTC terms for how the picture was made, such as `digitalCapture`.
        provenance: the address of Content Credentials.
    """

    camera: Camera = field(default_factory=Camera)
    position: Position = field(default_factory=Position)
    fields: list[Field] = field(default_factory=list)
    taken: Stamp | None = None
    created: Stamp | None = None
    changed: Stamp | None = None
    gps: Stamp | None = None
    steps: tuple[str, ...] = ()
    derived: bool = False
    source_types: tuple[str, ...] = ()
    provenance: str | None = None


def read_xmp(roots: list[Element], notes: Notes) -> Xmp | None:
    """The combined content of a file's packets, the main one first; None when there is none."""
    if not roots:
        return None
    parts = descriptions(roots)
    steps = [step for part in parts for step in _items(part.find(_name("xmpMM:History")))]
    address = PROVENANCE.fullmatch(_value(parts, "dcterms:provenance") or "")
    camera = {
        "make": clean(_value(parts, "tiff:Make")),
        "model": clean(_value(parts, "tiff:Model")),
        "lens": clean(_value(parts, "exifEX:LensModel") or _value(parts, "aux:Lens")),
        "serial": clean(_value(parts, "exifEX:BodySerialNumber") or _value(parts, "aux:SerialNumber")),
    }
    return Xmp(
        camera=Camera(**camera, source="XMP" if any(camera.values()) else None),
        position=_position(parts, notes),
        fields=[*_fields(parts, roots, steps)],
        taken=_time(parts, "exif:DateTimeOriginal", notes) or _time(parts, "photoshop:DateCreated", notes),
        created=_time(parts, "xmp:CreateDate", notes),
        changed=_time(parts, "xmp:ModifyDate", notes),
        gps=_time(parts, "exif:GPSTimeStamp", notes, zone="Z"),  # defined as UTC
        steps=tuple(clean(_value([step], "stEvt:action"), 40) or "?" for step in steps[:STEPS_KEPT]),
        derived=any(part.find(_name("xmpMM:DerivedFrom")) is not None for part in parts),
        source_types=source_types([_value(parts, "iptcExt:DigitalSourceType")]),
        provenance=clean(address[1]) if address else None,
    )


def _fields(parts: list[Element], roots: list[Element], steps: list[Element]) -> Iterator[Field]:
    raw_settings = _value(parts, "crs:Version")
    yield Field("XMP CreatorTool", _value(parts, "xmp:CreatorTool") or "", Text.PROGRAM)
    yield Field("XMP Software", _value(parts, "tiff:Software") or "", Text.PROGRAM)
    yield Field("XMP camera raw settings", f"Camera Raw {raw_settings}" if raw_settings else "", Text.PROGRAM)
    for toolkit in dict.fromkeys(root.get(f"{META}xmptk") or "" for root in roots):
        yield Field("XMP toolkit", toolkit, Text.PROGRAM)
    agents = dict.fromkeys(_value([step], "stEvt:softwareAgent") or "" for step in steps)
    for agent in [*agents][:STEPS_KEPT]:
        yield Field("XMP history", agent, Text.PROGRAM)
    yield Field("XMP AISystemUsed", _value(parts, "iptcExt:AISystemUsed") or "", Text.PROGRAM)
    yield Field("XMP Credit", _value(parts, "photoshop:Credit") or "", Text.COMMENT)
    yield Field("XMP description", _value(parts, "dc:description") or "", Text.FREE)
    yield Field("XMP ImageDescription", _value(parts, "tiff:ImageDescription") or "", Text.FREE)
    yield Field("XMP UserComment", _value(parts, "exif:UserComment") or "", Text.FREE)


def _time(parts: list[Element], name: str, notes: Notes, zone: str | None = None) -> Stamp | None:
    return read_time(f"XMP {name.partition(':')[2]}", _value(parts, name), notes, zone)


def _position(parts: list[Element], notes: Notes) -> Position:
    latitude = _coordinate(parts, "exif:GPSLatitude", notes)
    longitude = _coordinate(parts, "exif:GPSLongitude", notes)
    if latitude is None or longitude is None:
        keep_half("XMP GPS", latitude, longitude, notes)
        return Position()
    raw = _value(parts, "exif:GPSAltitude")
    altitude = None
    if raw:
        up, _, down = raw.partition("/")
        try:
            height = float(up) / float(down or 1)
            if not math.isfinite(height):
                raise ValueError
            altitude = metres(height, _value(parts, "exif:GPSAltitudeRef"))
        except (ValueError, ZeroDivisionError):
            notes.keep("XMP GPSAltitude", raw, "a height")
    void = is_void(_value(parts, "exif:GPSStatus"))
    return Position(present=True, latitude=latitude, longitude=longitude, altitude=altitude, void=void, source="XMP")


def _coordinate(parts: list[Element], name: str, notes: Notes) -> float | None:
    """Degrees from `33,51.5S` or `33,51,30S`."""
    raw = _value(parts, name)
    if not raw:
        return None
    where = f"XMP {name.partition(':')[2]}"
    found = COORDINATE.fullmatch(raw)
    try:
        numbers = [float(each) for each in found[1].split(",")] if found else []
    except ValueError:
        numbers = []
    if not found or not numbers:
        notes.keep(where, raw, "a position")
        return None
    return degrees(where, numbers, found[2], notes)


def source_types(addresses: list[str | None]) -> tuple[str, ...]:
    """The last part of each IPTC address, each once: `…/digitalCapture` → `digitalCapture`."""
    terms = (clean((address or "").rstrip("/").rsplit("/", 1)[-1], 60) for address in addresses)
    return tuple(dict.fromkeys(term for term in terms if term))


def _name(name: str) -> str:
    prefix, _, rest = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{rest}"


def _items(container: Element | None) -> Iterator[Element]:
    """The entries of a list: for each, the element that has its properties."""
    for item in container.iter(f"{{{RDF}}}li") if container is not None else ():
        inner = item.find(f"{{{RDF}}}Description")
        yield item if inner is None else inner


def _value(parts: list[Element], name: str) -> str | None:
    """The first value of a property; None when there is none."""
    return value_of(parts, _name(name))
