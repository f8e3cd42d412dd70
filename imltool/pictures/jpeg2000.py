"""The pixels of JPEG 2000 files: OpenJPEG decodes the codestream, and the file's boxes define its components."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imltool.errors import ImageError
from imltool.pictures.arrays import RGB
from imltool.pictures.boxes import Box, boxes
from imltool.pictures.source import Source

GREY, SRGB, SYCC = 17, 16, 18
SPACES = {12: "CMYK", 14: "CIE L*a*b*", 15: "bilevel", 20: "e-sRGB", 21: "ROMM-RGB", 24: "e-sYCC"}
PROFILES = {b"RGB ": 0, b"GRAY": GREY, b"CMYK": 12, b"Lab ": 14}
"""Colour space of an ICC profile, from its header → number of the space; 0 where only the samples' number matters."""
START = b"\xff\x4f\xff\x51"
"""The start of a codestream, and its size marker."""


@dataclass
class Jp2Header:
    """How a picture has to be decoded.

    Attributes:
        start, end: offsets of the codestream in the file.
        width, height: of the picture.
        bits: of each component of the codestream.
        signed: whether any component is signed.
        subsampled: whether any component has fewer samples than the picture has pixels.
        space: enumerated colour space, also of a profile; 0 for one of RGB or without a header, None for a bare
            codestream.
        palette: [entries,columns], None without one; palette_bits: bits of its columns.
        columns: (component, palette column or None) of each channel.
        colours: colour number (from 0) → channel, where the file defines it.
    """

    start: int
    end: int
    width: int
    height: int
    bits: tuple[int, ...]
    signed: bool
    subsampled: bool = False
    space: int | None = None
    palette: NDArray[np.int64] | None = None
    palette_bits: tuple[int, ...] = ()
    columns: tuple[tuple[int, int | None], ...] = ()
    colours: Mapping[int, int] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Number of channels of a pixel after the palette is applied."""
        return len(self.columns) if self.palette is not None else len(self.bits)

    @property
    def mode(self) -> str:
        """Pillow's name of the colour model, with the depth appended if over 8 bits: `RGB;16`."""
        names = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
        deep = max(self.bits, default=8)
        return names.get(self.channels, "?") + (f";{deep}" if deep > 8 else "")


def read_jp2_header(source: Source) -> Jp2Header:
    """The header of a JPEG 2000 file or codestream. Raises `ImageError` when it is damaged."""
    if source.read(0, 4) == START:
        return _codestream(source, 0, source.size_bytes)
    found: Jp2Header | None = None
    described: Box | None = None
    for box in boxes(source, 0, source.size_bytes):
        if box.name == b"jp2h":
            described = box
        elif box.name == b"jp2c" and found is None:
            found = _codestream(source, box.start, box.end)
    if found is None:
        raise ImageError("damaged picture (a JPEG 2000 file without a codestream)")
    if described is not None:
        _describe(source, described, found)
    return found


def _codestream(source: Source, start: int, end: int) -> Jp2Header:
    head = source.read(start, 42)
    if len(head) < 42 or head[:4] != START:
        raise ImageError("damaged picture (a JPEG 2000 codestream without a size)")
    right, bottom, left, top = struct.unpack_from(">4L", head, 8)
    (count,) = struct.unpack_from(">H", head, 40)
    parts = source.read(start + 42, 3 * count)
    depths = parts[::3]
    bits = tuple((depth & 0x7F) + 1 for depth in depths)
    signed = any(depth & 0x80 for depth in depths)
    if len(parts) < 3 * count or not count or right <= left or bottom <= top:
        raise ImageError("damaged picture (a JPEG 2000 codestream without a size)")
    subsampled = any(step != 1 for step in (*parts[1::3], *parts[2::3]))
    return Jp2Header(start, end, right - left, bottom - top, bits, signed, subsampled)


def _describe(source: Source, described: Box, found: Jp2Header) -> None:
    mapped: list[tuple[int, int | None]] = []
    for box in boxes(source, described.start, described.end):
        data = source.read(box.start, min(box.end - box.start, 1 << 20))
        if box.name == b"colr" and found.space is None and len(data) >= 3:
            found.space = struct.unpack_from(">L", data, 3)[0] if data[0] == 1 and len(data) >= 7 else _of_profile(data)
        elif box.name == b"pclr" and len(data) >= 3:
            _read_palette(data, found)
        elif box.name == b"cmap":
            entries = (struct.unpack_from(">HBB", data, place) for place in range(0, len(data) - 3, 4))
            mapped = [(component, column if kind else None) for component, kind, column in entries]
        elif box.name == b"cdef":
            entries = (struct.unpack_from(">HHH", data, place) for place in range(2, len(data) - 5, 6))
            found.colours = {colour - 1: channel for channel, kind, colour in entries if kind == 0 and 0 < colour < 5}
    found.columns = tuple(mapped)


def _of_profile(data: bytes) -> int:
    """The space of the ICC profile in a colour box; 0 when it has no header."""
    name = data[19:23]
    return PROFILES.get(name, -1) if data[0] in (2, 3) and len(name) == 4 else 0


def _read_palette(data: bytes, found: Jp2Header) -> None:
    entries, columns = struct.unpack_from(">HB", data)
    bits = tuple((depth & 0x7F) + 1 for depth in data[3 : 3 + columns])
    form = ">" + "".join("B" if depth <= 8 else "H" for depth in bits)
    place = 3 + columns
    if any(depth > 16 for depth in bits) or len(data) < place + entries * struct.calcsize(form) or not entries:
        raise ImageError("damaged picture (the palette of a JPEG 2000 file)")
    rows = [struct.unpack_from(form, data, place + each * struct.calcsize(form)) for each in range(entries)]
    found.palette, found.palette_bits = np.array(rows, dtype=np.int64), bits


def read_jpeg2000(source: Source, header: Jp2Header) -> RGB:
    """The pixels, uint8 [H,W,3]. Raises `ImageError` for unsupported variants, and what the library raises."""
    import imagecodecs

    space = header.space
    if header.signed or (space is not None and space not in (0, GREY, SRGB, SYCC)):
        other = "a profile of another colour space" if space == -1 else f"colour space {space}"
        named = "signed components" if header.signed else SPACES.get(space or 0, other)
        raise ImageError(f"intact but not supported: JPEG 2000 with {named}")
    if header.subsampled:
        raise ImageError("intact but not supported: JPEG 2000 with subsampled components")
    if header.palette is not None and not header.columns:
        raise ImageError("damaged picture (the palette of a JPEG 2000 file is not mapped)")
    samples = np.asarray(imagecodecs.jpeg2k_decode(source.read(header.start, header.end - header.start)))
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.shape != (header.height, header.width, len(header.bits)):
        raise ImageError("intact but not supported: JPEG 2000 with components of several sizes")
    channels, bits = _channels(samples, header)
    wanted = 1 if space == GREY or (space in (None, 0) and len(channels) < 3) else 3
    if len(channels) < wanted:
        raise ImageError("damaged picture (a JPEG 2000 file has too few components for its colour space)")
    order = [header.colours.get(colour, colour) for colour in range(wanted)]
    if any(channel >= len(channels) for channel in order):
        raise ImageError("damaged picture (channels of a JPEG 2000 file are missing)")
    levels = [_to_eight(channels[channel], bits[channel], wanted == 1) for channel in order]
    rgb = np.dstack(levels * (3 if wanted == 1 else 1))
    return _from_sycc(rgb) if space == SYCC else rgb


def _channels(samples: NDArray[Any], header: Jp2Header) -> tuple[list[NDArray[Any]], list[int]]:
    """The channels of the picture after the palette is applied, and their bits."""
    if header.palette is None:
        return [samples[..., each] for each in range(samples.shape[2])], [*header.bits]
    channels, bits = [], []
    for component, column in header.columns:
        if component >= samples.shape[2] or (column is not None and column >= header.palette.shape[1]):
            raise ImageError("damaged picture (the palette of a JPEG 2000 file is mapped to a missing component)")
        plane = samples[..., component]
        if column is None:
            channels.append(plane)
            bits.append(header.bits[component])
        else:
            channels.append(header.palette[np.minimum(plane, len(header.palette) - 1), column])
            bits.append(header.palette_bits[column])
    return channels, bits


def _to_eight(plane: NDArray[Any], bits: int, grey: bool) -> RGB:
    """Samples as 8-bit levels: grey is rounded, colour of more bits keeps its highest 8."""
    if bits == 8:
        return plane.astype(np.uint8)
    if bits > 8 and not grey:
        return np.asarray(np.right_shift(plane, bits - 8), dtype=np.uint8)
    return np.asarray(np.clip(np.rint(plane.astype(np.float64) * (255.0 / (2**bits - 1))), 0, 255), dtype=np.uint8)


def _from_sycc(ycc: RGB) -> RGB:
    """RGB from luma and two colour differences, as JFIF defines them."""
    values = ycc.astype(np.float32)
    luma, blue, red = values[..., 0], values[..., 1] - 128, values[..., 2] - 128
    rgb = np.dstack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    return np.asarray(np.clip(np.rint(rgb), 0, 255), dtype=np.uint8)
