"""An XMP packet as XML, and the properties of the picture itself in it."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

ELEMENTS = 100_000
"""Packets of more elements are not read (our choice)."""
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def decode_xmp(packet: bytes) -> str:
    """The text of an XMP packet in any encoding of Unicode."""
    for mark, encoding in (
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if packet.startswith(mark):
            return packet.decode(encoding, "replace")
    return packet.decode("utf-8", "replace")


def parse_xmp(packet: bytes) -> Element:
    """The root of an XMP packet. Raises ValueError with a fixed phrase for one that is damaged or not safe to read."""
    try:
        # XMP has no document type declaration; entities in one could exhaust memory
        root: Element = fromstring(decode_xmp(packet).strip("\0 \t\r\n\ufeff"), forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError("holds a document type") from None
    except (ParseError, ValueError):  # ValueError: invalid characters
        raise ValueError("is no complete XML") from None
    if sum(1 for _ in root.iter()) > ELEMENTS:
        raise ValueError(f"has more than {ELEMENTS} elements")
    return root


def descriptions(roots: Iterable[Element]) -> list[Element]:
    """The top-level descriptions. Those further down describe other pictures, such as the parts of a composite."""
    trees = [tree for root in roots for tree in root.iter(f"{{{RDF}}}RDF")]
    return [part for tree in trees for part in tree.findall(f"{{{RDF}}}Description")]


def value_of(parts: Iterable[Element], key: str) -> str | None:
    """The first value of a property `{namespace}name`, written as attribute, element or list."""
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
