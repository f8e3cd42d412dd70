"""The metadata blocks of PNG files."""

from __future__ import annotations

import struct
import zlib

from imltool.pictures.block import BLOCK_BYTES, CHUNKS, XMP_NAME, Blocks, label_of, tiff_block
from imltool.pictures.png import CHUNKS as PIXEL_CHUNKS
from imltool.pictures.png import png_chunks
from imltool.pictures.source import Source

PNG_KNOWN = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA sBIT sRGB cICP mDCV cLLI mDCv cLLi bKGD hIST pHYs sPLT acTL fcTL fdAT "
    b"caBX".split()
)
"""Chunks that define how pixels are coded or shown, and the chunk of Content Credentials."""


def read_png_blocks(source: Source, found: Blocks) -> None:
    """Add the blocks of a PNG file to `found`."""
    found.ended, others, stated, begun, end = False, 0, 0, 0, 0
    for number, (name, place, length) in enumerate(png_chunks(source, PIXEL_CHUNKS), 1):
        others += name not in (b"IDAT", b"fdAT")
        if others > CHUNKS or number == PIXEL_CHUNKS:
            found.ended = None
            found.problems.append(f"PNG: only its first {number - 1} chunks were read")
            return
        data = source.read(place + 8, min(length, BLOCK_BYTES + 1)) if name not in (b"IDAT", b"fdAT") else b""
        whole = name not in PNG_KNOWN and len(data) == length
        if whole and source.read(place + 8 + length, 4) != struct.pack(">L", zlib.crc32(name + data)):
            found.problems.append(f"PNG {label_of(name)}: its checksum does not fit")
        end = place + 12 + length
        if name == b"IEND":
            found.ended, found.end = True, min(end, source.size_bytes)
            break
        if name == b"eXIf":
            found.add("EXIF", "PNG eXIf", tiff_block(data))
        elif name == b"iCCP":
            _, _, rest = data.partition(b"\0")
            profile = _inflate(rest[1:])
            found.add("ICC", "PNG iCCP", profile or b"", length, "" if profile else "is damaged or too long")
        elif name == b"tIME" and len(data) == 7:
            stamp = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*struct.unpack(">H5B", data))
            found.add("time", "PNG tIME", stamp.encode())
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            _png_text(name, data, length, found)
        elif name == b"acTL" and len(data) == 8:
            (stated,) = struct.unpack_from(">L", data)
        elif name == b"fcTL":
            begun += 1
        elif name not in PNG_KNOWN:
            found.add("other", f"PNG {label_of(name)}", b"", length)
    if stated and (begun < stated or (not found.ended and end > source.size_bytes)):
        found.further_missing = True
        found.problems.append("PNG: a further frame is cut off or missing")


def _png_text(chunk: bytes, data: bytes, length: int, found: Blocks) -> None:
    key, _, rest = data.partition(b"\0")
    name = key.decode("latin-1")
    text: bytes | None = rest
    if chunk == b"zTXt":
        text = _inflate(rest[1:])
    elif chunk == b"iTXt" and len(rest) >= 2:
        packed = rest[0] == 1
        _, _, rest = rest[2:].partition(b"\0")
        _, _, rest = rest.partition(b"\0")
        text = _inflate(rest) if packed else rest
    where = f"PNG text {name}"
    if text is None or length > BLOCK_BYTES:
        found.add("XMP" if name == "XML:com.adobe.xmp" else "text", where, b"", length, "is damaged or too long")
    elif name in ("XML:com.adobe.xmp", "xmp"):
        found.add("XMP", where, text, length)
    elif name.startswith("Raw profile type "):
        _png_profile(name.removeprefix("Raw profile type ").strip().lower(), where, text, found)
    else:
        # iTXt holds UTF-8, the two others Latin-1
        found.add("text", where, text if chunk == b"iTXt" else text.decode("latin-1").encode(), length)


def _png_profile(kind: str, where: str, text: bytes, found: Blocks) -> None:
    """Add a profile that ImageMagick wrote as text: its name, its length, and its bytes as hexadecimal digits."""
    lines = text.strip().split(b"\n")
    try:
        data = bytes.fromhex(b"".join(lines[2:]).decode("ascii"))
    except ValueError:
        found.add("text", where, b"", len(text), "is not hexadecimal")
        return
    if kind == "app1" and data.startswith(XMP_NAME):
        found.add("XMP", where, data[len(XMP_NAME) :])
    elif kind == "xmp":
        found.add("XMP", where, data)
    elif kind in ("exif", "app1"):
        found.add("EXIF", where, tiff_block(data))
    elif kind in ("iptc", "8bim"):
        found.add("Photoshop" if data.startswith(b"8BIM") else "IPTC", where, data)
    elif kind in ("icc", "icm"):
        found.add("ICC", where, data)
    else:
        found.add("other", where, data)


def _inflate(data: bytes) -> bytes | None:
    """The decompressed text; None when it is damaged or longer than `BLOCK_BYTES`."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, BLOCK_BYTES)
        return text if unpacker.eof else None
    except zlib.error:
        return None
