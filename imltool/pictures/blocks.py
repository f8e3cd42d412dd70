"""The metadata blocks of a picture file in any container, and the end of the picture in it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from imltool.pictures import tags
from imltool.pictures.block import BLOCK_BYTES, CHUNKS, XMP_NAME, Blocks, label_of, tiff_block
from imltool.pictures.boxes import boxes
from imltool.pictures.ends import bmp_end, codestream_end, container_end, netpbm_comments, netpbm_end, tiff_end
from imltool.pictures.jpeg_structure import JpegStructure, multi_pictures, read_structure
from imltool.pictures.png_blocks import read_png_blocks
from imltool.pictures.source import Source

KNOWN = (
    ("APP0", b"JFIF\0"),
    ("APP14", b"Adobe"),
    ("APP2", b"MPF\0"),
    ("APP11", b"JP"),
    ("APP2", b"ICC_PROFILE\0"),
)
"""Segments that define how the picture is coded, or that other readers read: JUMBF holds credentials."""
EXTENDED_NAME = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP_NAMES = (b"Photoshop 3.0\0", b"Adobe_Photoshop2.5:\0\0")
GIF_KNOWN = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"C2PA_GIF\x01\0\0")
JP2_KNOWN = frozenset(b"jP  |ftyp|jp2h|jp2c|rreq|jumb|free|skip|\0\0\0\0".split(b"|"))
HEIF_KNOWN = frozenset(b"ftyp|meta|mdat|moov|moof|mfra|sidx|free|skip|wide|pdin|styp|prft|uuid|jumb".split(b"|"))
WEBP_KNOWN = frozenset(b"VP8 |VP8L|VP8X|ALPH|ANIM|ANMF|C2PA".split(b"|"))
UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "XMP",
    b"JpgTiffExif->JP2": "EXIF",
    bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"): "EXIF",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "IPTC",
    bytes.fromhex("2c4c010085044040a03ea0a7a7ae5d4c"): "Photoshop",
}
"""UUIDs of the boxes in which JPEG 2000 files hold metadata."""


def read_blocks(source: Source, image_format: str | None, info: Mapping[str, Any]) -> Blocks:
    """The metadata blocks of a file.

    Args:
        image_format: Pillow's name of its format.
        info: the `info` of Pillow or pillow-heif; used for HEIF and AVIF, whose items they collect.
    """
    found = Blocks()
    reader = {
        "JPEG": _jpeg, "MPO": _jpeg, "PNG": read_png_blocks, "WEBP": _webp, "GIF": _gif, "TIFF": _tiff,
        "JPEG2000": _jpeg2000, "HEIF": _heif, "AVIF": _heif,
    }.get(image_format or "")  # fmt: skip
    if reader:
        reader(source, found)
    elif image_format in ("BMP", "DIB"):
        found.end = bmp_end(source)
    elif image_format == "PPM":
        found.end = netpbm_end(source)
        for comment in netpbm_comments(source):
            found.add("comment", "PPM comment", comment)
    if reader is _heif:
        for key, kind in (("exif", "EXIF"), ("xmp", "XMP"), ("icc_profile", "ICC")):
            if isinstance(data := info.get(key), bytes) and data:
                found.add(kind, f"{image_format} item", tiff_block(data) if kind == "EXIF" else data)
    return found


def _jpeg(source: Source, found: Blocks) -> None:
    found.jpeg = read_structure(source.whole())
    found.ended, found.end = found.jpeg.end is not None, found.jpeg.end
    _further_pictures(source, found, found.jpeg)
    extended: dict[bytes, dict[int, bytes]] = {}
    totals: dict[bytes, int] = {}
    profile: dict[int, bytes] = {}
    photoshop = b""
    unread: dict[str, int] = {}
    for segment in found.jpeg.segments:
        name, data = segment.name, segment.data
        if name == "APP1" and data.startswith(b"Exif\0"):
            found.add("EXIF", "JPEG APP1", tiff_block(data[6:]))
        elif name == "APP1" and data.startswith(XMP_NAME):
            found.add("XMP", "JPEG APP1", data[len(XMP_NAME) :])
        elif name == "APP1" and data.startswith(EXTENDED_NAME) and len(data) > len(EXTENDED_NAME) + 40:
            rest = data[len(EXTENDED_NAME) :]
            identity, (total, start) = rest[:32], struct.unpack_from(">LL", rest, 32)
            extended.setdefault(identity, {})[start] = rest[40:]
            totals[identity] = total
        elif name == "APP2" and data.startswith(b"ICC_PROFILE\0") and len(data) > 14:
            profile[data[12]] = data[14:]
        elif name == "APP12" and data.startswith(b"Ducky"):
            found.add("editor", "JPEG APP12", b"Adobe Save for Web", len(data))
        elif name == "APP13" and (mark := next((each for each in PHOTOSHOP_NAMES if data.startswith(each)), b"")):
            photoshop += data[len(mark) :]
        elif name == "COM":
            found.add("comment", "JPEG comment", data)
        elif name.startswith("APP") and not any(name == app and data.startswith(mark) for app, mark in KNOWN):
            label = data[:12].split(b"\0", 1)[0]
            where = f"JPEG {name} {label.decode('latin-1') if label.isalnum() else ''}".strip()
            unread[where] = unread.get(where, 0) + len(data)
    for where, size in unread.items():
        found.add("other", where, b"", size)
    for identity, parts in extended.items():
        ordered = sorted(parts.items())
        whole = b"".join(part for _, part in ordered)
        ends = accumulate((len(part) for _, part in ordered), initial=0)
        gap = any(start != end for (start, _), end in zip(ordered, ends, strict=False))
        fault = "is incomplete" if gap or len(whole) != totals[identity] else ""
        found.add("XMP", "extended XMP", b"" if fault else whole, len(whole), fault)
    if photoshop:
        found.add("Photoshop", "JPEG APP13", photoshop)
    if profile:
        found.add("ICC", "JPEG APP2", b"".join(profile[number] for number in sorted(profile)))


def _further_pictures(source: Source, found: Blocks, first: JpegStructure) -> None:
    """Move the end after the pictures that a multi-picture file lists, and note those that are incomplete."""
    listed = [each for segment in first.segments for each in multi_pictures(segment)]
    for number, (start, size) in enumerate(listed, 1):
        stop: int | None = start + size
        if start and source.read(start, 2) != b"\xff\xd8":
            found.problems.append(f"picture {number} of {len(listed)} that the file lists is missing")
            found.further_missing, stop = True, None
        elif start + size > source.size_bytes:  # some writers state too large a size
            inner = read_structure(source.read(start, size)).end
            stop = source.size_bytes if inner is None else start + inner
            if inner is None and start:
                found.problems.append(f"picture {number} of {len(listed)} in the file is cut off")
                found.further_missing = True
        if found.end is not None and stop is not None:
            found.end = max(found.end, stop)


def _webp(source: Source, found: Blocks) -> None:
    head = source.read(0, 12)
    if len(head) < 12:
        return
    (size,) = struct.unpack_from("<L", head, 4)
    end = 8 + size + (size & 1)
    found.ended = end <= source.size_bytes + (size & 1)
    found.end = min(end, source.size_bytes)
    place = 12
    for _ in range(CHUNKS):
        head = source.read(place, 8)
        if len(head) < 8 or place >= found.end:
            return
        name, length = struct.unpack("<4sL", head)
        kind = {b"EXIF": "EXIF", b"XMP ": "XMP", b"ICCP": "ICC"}.get(name)
        if kind:
            data = source.read(place + 8, min(length, BLOCK_BYTES + 1))
            fault = "" if len(data) == min(length, BLOCK_BYTES + 1) else "is cut off"
            data = tiff_block(data) if kind == "EXIF" else data
            found.add(kind, f"WebP {name.decode().strip()}", b"" if fault else data, length, fault)
        elif name not in WEBP_KNOWN:
            found.add("other", f"WebP {label_of(name)}", b"", length)
        place += 8 + length + (length & 1)
    found.problems.append(f"WebP: only its first {CHUNKS} chunks were read")


def _gif(source: Source, found: Blocks) -> None:
    head = source.read(0, 13)
    if len(head) < 13:
        return
    place = 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)
    found.ended, found.frames = False, 0
    for _ in range(CHUNKS):
        mark = source.read(place, 2)
        if mark[:1] == b"\x3b":
            found.ended, found.end = True, place + 1
            return
        if mark[:1] == b"\x2c":
            flags = source.read(place + 9, 1)
            if not flags:
                return
            found.frames += 1
            place += 11 + (3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0)
            _, place = _gif_data(source, place, keep=False)
            if place > source.size_bytes or source.read(place - 1, 1) != b"\0":
                found.further_missing = True
                found.problems.append(f"GIF: frame {found.frames} is cut off")
        elif mark == b"\x21\xfe":
            data, place = _gif_data(source, place + 2)
            found.add("comment", "GIF comment", data)
        elif mark == b"\x21\xff":
            place = _gif_application(source, place + 2, found)
        elif mark == b"\x21\x01":
            data, place = _gif_data(source, place + 2)
            found.add("comment", "GIF plain text", data[12:])
        elif mark[:1] == b"\x21":
            _, place = _gif_data(source, place + 2, keep=False)
        else:
            return
    found.ended = None
    found.problems.append(f"GIF: only its first {CHUNKS} blocks were read")


def _gif_application(source: Source, place: int, found: Blocks) -> int:
    name = source.read(place + 1, 11)
    data, end = _gif_data(source, place + 12)
    if name == b"XMP DataXMP":  # written without lengths of sub-blocks; a trailer of 258 bytes leads readers to the end
        raw = source.read(place + 12, min(end - place - 12, BLOCK_BYTES + 258))
        found.add("XMP", "GIF application block", raw[: max(0, len(raw) - 258)])
    elif name == b"ICCRGBG1012":
        found.add("ICC", "GIF application block", data)
    elif name in (b"MGK8BIM0000", b"MGKIPTC0000"):  # ImageMagick's two forms
        found.add("Photoshop" if data.startswith(b"8BIM") else "IPTC", "GIF application block", data)
    elif name not in GIF_KNOWN:
        label = name.decode("latin-1") if name.isascii() else name.hex()
        found.add("other", f"GIF application block {label}", b"", len(data))
    return end


def _gif_data(source: Source, place: int, keep: bool = True) -> tuple[bytes, int]:
    """The data of a chain of sub-blocks, and the offset after it."""
    parts = []
    total = 0
    while length := source.read(place, 1):
        size = length[0]
        if keep and size and total <= BLOCK_BYTES:
            parts.append(source.read(place + 1, size))
            total += size
        place += 1 + size
        if not size:
            break
    return b"".join(parts), place


PAGES = 1000
"""Pages are counted up to here."""


def _tiff(source: Source, found: Blocks) -> None:
    reader = tags.TagReader.open(source.read)
    if reader is None:
        return
    found.end, found.end_sure, cut = tiff_end(source)
    if cut:
        found.further_missing = True
        found.problems.append("TIFF: a page is cut off: its strips, tiles or tags reach beyond the end of the file")
    pages = reader.chain(PAGES)
    found.frames = max(1, len(pages))
    try:
        found.table = reader.table(reader.first)
    except ValueError as error:
        found.problems.append(f"the first table of tags {error}")
        return
    found.add("EXIF", "TIFF tags", b"", 0)
    for tag, kind in ((tags.XMP, "XMP"), (tags.IPTC, "IPTC"), (tags.PHOTOSHOP, "Photoshop"), (tags.ICC, "ICC")):
        if tag in found.table.damaged:
            found.add(kind, f"TIFF tag {tag}", b"", 0, "is cut off or too long")
        elif data := _tag_bytes(found.table, tag, reader.order):
            found.add(kind, f"TIFF tag {tag}", data)


def _tag_bytes(table: tags.Table, tag: int, order: str) -> bytes:
    """A tag's bytes; IPTC is often written as 32-bit numbers."""
    value = table.values.get(tag, b"")
    if isinstance(value, tuple) and tag == tags.IPTC:
        numbers = [int(each) for each in value if 0 <= each < 2**32]
        return struct.pack(f"{order}{len(numbers)}L", *numbers)
    return table.raw(tag)


def _find_end(source: Source, found: Blocks) -> None:
    """Set the end of a file of boxes, and note a last box that is cut off."""
    found.end, found.further_missing = container_end(source)
    if found.further_missing:
        found.problems.append("the file is cut off: its last box reaches beyond the end of the file")


def _jpeg2000(source: Source, found: Blocks) -> None:
    if source.read(4, 4) != b"jP  ":
        found.end = codestream_end(source, 0, source.size_bytes)
        found.ended = found.end is not None or source.read(max(0, source.size_bytes - 2), 2) == b"\xff\xd9"
        return
    _find_end(source, found)
    for box in boxes(source, 0, source.size_bytes):
        size = box.end - box.start
        if box.name == b"uuid":
            identity = source.read(box.start, 16)
            data = source.read(box.start + 16, min(size - 16, BLOCK_BYTES + 1))
            kind = UUIDS.get(identity, "other")
            data = tiff_block(data) if kind == "EXIF" else data
            found.add(kind, f"JP2 UUID box {identity.hex()}" if kind == "other" else "JP2 UUID box", data, size)
        elif box.name == b"xml ":
            found.add("text", "JP2 XML box", source.read(box.start, min(size, BLOCK_BYTES + 1)), size)
        elif box.name == b"jp2h":
            for inner in boxes(source, box.start, box.end):
                method = source.read(inner.start, 1)
                if inner.name == b"colr" and method in (b"\x02", b"\x03"):
                    found.add("ICC", "JP2 colour box", source.read(inner.start + 3, inner.end - inner.start - 3))
        elif box.name == b"jp2c":
            _codestream_comments(source, box.start, found)
            whole = codestream_end(source, box.start, box.end) is not None
            found.ended = whole or source.read(box.end - 2, 2) == b"\xff\xd9"
        elif box.name not in JP2_KNOWN:
            found.add("other", f"JP2 box {label_of(box.name)}", b"", size)


def _codestream_comments(source: Source, place: int, found: Blocks) -> None:
    """Add the comments in the main header of a JPEG 2000 codestream, which ends at the first tile."""
    place += 2
    for _ in range(CHUNKS):
        head = source.read(place, 4)
        if len(head) < 4 or head[:1] != b"\xff" or head[:2] == b"\xff\x90":
            return
        (length,) = struct.unpack_from(">H", head, 2)
        if head[:2] == b"\xff\x64" and length > 4:
            found.add("comment", "JPEG2000 comment", source.read(place + 6, length - 4))
        place += 2 + length


def _heif(source: Source, found: Blocks) -> None:
    _find_end(source, found)
    for box in boxes(source, 0, found.end or 0):
        if box.name == b"mpvd":
            found.add("other", "motion photo video box (mpvd)", b"", box.end - box.start)
        elif box.name not in HEIF_KNOWN:
            found.add("other", f"HEIF box {label_of(box.name)}", b"", box.end - box.start)
