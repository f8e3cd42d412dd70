"""The orientation of a stored picture, determined once for pixels, sizes, the context and thumbnails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imltool.pictures import tags
from imltool.pictures.arrays import RGB, Scalar
from imltool.pictures.block import Blocks
from imltool.pictures.xmp_packet import decode_xmp, descriptions, parse_xmp, value_of

TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda array: array,
    2: np.fliplr,
    3: lambda array: np.rot90(array, 2),
    4: np.flipud,
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""EXIF orientation → function that turns the stored pixels upright."""

TIFF = "http://ns.adobe.com/tiff/1.0/"
IN_XMP = re.compile(r"""\b([\w.-]{1,40}):Orientation\b(?:\s*=\s*["']|[^<>=]{0,200}>)\s*([1-8])\s*["'<]""")
PREFIX = re.compile(rf"""\bxmlns:([\w.-]+)\s*=\s*["']{re.escape(TIFF)}["']""")
OTHERS = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<([\w.-]{1,40}:(?:Pantry|Ingredients|DerivedFrom|History))(?:\s[^<>]*)?(?<!/)>.*?(?:</\1\s*>|\Z)",
    re.DOTALL,
)
"""Comments, and properties of other pictures: those that a composite was made from, and earlier versions."""


@dataclass(frozen=True)
class Orientation:
    """The orientation of a file.

    Attributes:
        value: EXIF orientation, 1..8; None if the file has none.
        source: its carrier: "EXIF", "XMP", or "container" (AVIF's rotation).
        applied: the orientation by which the stored pixels are turned: `value`, or 1 if the decoder has turned them.
    """

    value: int | None = None
    source: str | None = None
    applied: int = 1


def find_orientation(image_format: str, blocks: Blocks) -> Orientation:
    """The orientation of a file: EXIF's tag, else XMP's.

    HEIF's own rotation is applied by its decoder, and AVIF's is in the EXIF that Pillow returns, so XMP is ignored in
    both.
    """
    value, source = _in_exif(blocks), "EXIF"
    if image_format == "AVIF":
        return Orientation(value, "container", value) if value else Orientation()
    if value is None and image_format != "HEIF":
        value, source = _in_xmp(block.data for block in blocks.blocks if block.kind == "XMP"), "XMP"
    if value is None:
        return Orientation()
    return Orientation(value, source, 1 if image_format == "HEIF" else value)


def _in_exif(blocks: Blocks) -> int | None:
    tables = [blocks.table] if blocks.table else []
    for block in blocks.blocks:
        if block.kind == "EXIF" and block.data:
            reader = tags.TagReader.open(lambda start, count, data=block.data: data[start : start + count])  # type: ignore[misc]
            try:
                tables += [reader.table(reader.first)] if reader else []
            except ValueError:
                continue
    values = (table.number(tags.ORIENTATION) for table in tables)
    return next((value for value in values if value is not None and 1 <= value <= 8), None)


def _in_xmp(packets: Iterable[bytes]) -> int | None:
    for packet in packets:
        try:
            value = value_of(descriptions([parse_xmp(packet)]), f"{{{TIFF}}}Orientation") or ""
        except ValueError:  # damaged: the text is searched
            value = _search(OTHERS.sub("", decode_xmp(packet)))
        if (value := value.strip()) in [*"12345678"]:
            return int(value)
    return None


def _search(text: str) -> str:
    prefixes = {found[1] for found in PREFIX.finditer(text)} or {"tiff"}
    return next((found[2] for found in IN_XMP.finditer(text) if found[1] in prefixes), "")


def upright(stored: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """Stored pixels [H,W,3], or a mask [H,W] of them, turned upright."""
    return np.ascontiguousarray(TURNS[orientation](stored))


def unturn(rgb: RGB, orientation: int) -> RGB:
    """The stored pixels of an upright picture with this orientation: the inverse of `upright`."""
    return TURNS[{6: 8, 8: 6}.get(orientation, orientation)](rgb)
