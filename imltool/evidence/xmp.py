"""What XMP and IPTC say of a picture: programs, clocks, its history, and how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from PIL import ImageFile, IptcImagePlugin

from imltool.evidence.exif import parse_time
from imltool.texts import clean

XMP_BYTES = 2_000_000
"""Longer XMP is not read (our choice)."""
STEPS_KEPT = 20
"""Steps of a history and programs named in it that are kept (our choice)."""

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
    "dcterms": "http://purl.org/dc/terms/",
    "iptcExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
META = "{adobe:ns:meta/}"

IPTC = {(2, 65): "IPTC Originating Program", (2, 70): "IPTC Program Version", (2, 40): "IPTC Special Instructions"}


@dataclass(frozen=True)
class Xmp:
    """What was read of an XMP packet.

    Attributes:
        software: where a program is named, and what it says there.
        created, changed: the file's own clocks.
        steps: what was done, oldest first: "saved", "converted", …
        derived: whether it names another document as its origin.
        source_types: IPTC terms for how it was made, such as `digitalCapture`.
        provenance: address of Content Credentials that lie elsewhere.
    """

    software: tuple[tuple[str, str | None], ...] = ()
    created: datetime | None = None
    changed: datetime | None = None
    steps: tuple[str, ...] = ()
    derived: bool = False
    source_types: tuple[str, ...] = ()
    provenance: str | None = None


def read_xmp(info: Mapping[str, Any]) -> Xmp | None:
    """The XMP packet of an opened picture, or None. Raises ValueError for one that is damaged or not safe to read."""
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if not packet:
        return None
    if len(packet) > XMP_BYTES:
        raise ValueError(f"longer than {XMP_BYTES} bytes")
    text = _decode(packet) if isinstance(packet, bytes) else str(packet)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # XMP has neither; both can be made to take memory
        raise ValueError("holds a document type")
    try:
        root = ElementTree.fromstring(text.strip("\0 \t\r\n\ufeff"))
    except ElementTree.ParseError as error:
        raise ValueError(f"not XML ({error})") from None
    parts = [part for tree in root.iter(f"{{{RDF}}}RDF") for part in tree.findall(f"{{{RDF}}}Description")]
    steps = [step for part in parts for step in _items(part.find(_name("xmpMM:History")))]
    agents = dict.fromkeys(clean(_value([step], "stEvt:softwareAgent")) for step in steps)
    raw_settings = _value(parts, "crs:Version")
    return Xmp(
        software=(
            ("XMP CreatorTool", clean(_value(parts, "xmp:CreatorTool"))),
            ("XMP Software", clean(_value(parts, "tiff:Software"))),
            ("XMP camera raw settings", clean(f"Camera Raw {raw_settings}") if raw_settings else None),
            ("XMP toolkit", clean(root.get(f"{META}xmptk"))),
            *(("XMP history", agent) for agent in [*agents][:STEPS_KEPT]),
        ),
        created=parse_time(_value(parts, "xmp:CreateDate")),
        changed=parse_time(_value(parts, "xmp:ModifyDate")),
        steps=tuple(clean(_value([step], "stEvt:action"), 40) or "?" for step in steps[:STEPS_KEPT]),
        derived=any(part.find(_name("xmpMM:DerivedFrom")) is not None for part in parts),
        source_types=source_types([_value(parts, "iptcExt:DigitalSourceType")]),
        provenance=clean(_value(parts, "dcterms:provenance")),
    )


def source_types(addresses: list[str | None]) -> tuple[str, ...]:
    """The last parts of the addresses of IPTC's terms, each once: `…/digitalCapture` → `digitalCapture`."""
    terms = (clean((address or "").rstrip("/").rsplit("/", 1)[-1], 60) for address in addresses)
    return tuple(dict.fromkeys(term for term in terms if term))


def read_iptc(picture: ImageFile.ImageFile) -> list[tuple[str, str | None]]:
    """Where the IPTC block of an opened picture names programs, and what it says there."""
    block = IptcImagePlugin.getiptcinfo(picture) or {}
    found = []
    for key, where in IPTC.items():
        value = block.get(key)
        found.append((where, clean(value[0] if isinstance(value, list) and value else value)))
    return found


def _decode(packet: bytes) -> str:
    for mark, encoding in (
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if packet.startswith(mark):
            return packet.decode(encoding, "replace")
    return packet.decode("utf-8", "replace")


def _name(name: str) -> str:
    prefix, _, rest = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{rest}"


def _items(container: ElementTree.Element | None) -> Iterator[ElementTree.Element]:
    """The entries of a list; each is the element that carries their properties."""
    for item in container.iter(f"{{{RDF}}}li") if container is not None else ():
        inner = item.find(f"{{{RDF}}}Description")
        yield item if inner is None else inner


def _value(parts: list[ElementTree.Element], name: str) -> str | None:
    """The first value of a property, written as attribute, element or list."""
    key = _name(name)
    for part in parts:
        if part.get(key):
            return part.get(key)
        element = part.find(key)
        if element is None:
            continue
        entry = next(element.iter(f"{{{RDF}}}li"), element)
        text = entry.text or entry.get(f"{{{RDF}}}resource")
        if text and text.strip():
            return text
    return None
