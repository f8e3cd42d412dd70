"""The metadata blocks of a picture file, whatever its container, and where the picture in it ends."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imltool.pictures import tags
from imltool.pictures.boxes import boxes, boxes_end
from imltool.pictures.jpeg_structure import JpegStructure, read_structure
from imltool.pictures.source import Source

BLOCK_BYTES = 4_000_000
"""Longer metadata blocks are not read (our choice)."""
CHUNKS = 20_000
"""Chunks of a PNG, WebP or GIF file that are looked at (our choice)."""
XMP_NAME, EXTENDED_NAME = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
KNOWN = (b"JFIF\0", b"Adobe", b"MPF\0", b"JP", b"ICC_PROFILE\0")
"""What segments begin with that say how the picture is coded, or that other readers take: JUMBF has credentials."""
UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "XMP",
    b"JpgTiffExif->JP2": "EXIF",
    bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"): "EXIF",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "IPTC",
    bytes.fromhex("2c4c010085044040a03ea0a7a7ae5d4c"): "Photoshop",
}
"""Identities of the boxes that JPEG 2000 files hold metadata in."""


@dataclass(frozen=True)
class Block:
    """A metadata block.

    Attributes:
        kind: "EXIF", "XMP", "IPTC", "Photoshop", "ICC", "comment", "text", "editor", "other".
        where: its place in the container, for people: "PNG text parameters".
        data: its bytes, without what the container adds; empty where `fault` says why it could not be read.
        fault: a fixed phrase, or "".
        size_bytes: of the block as it is stored.
    """

    kind: str
    where: str
    data: bytes
    fault: str = ""
    size_bytes: int = 0


@dataclass
class Blocks:
    """What a container holds beside the pixels.

    Attributes:
        blocks: its metadata, in the file's order.
        end: the offset behind the picture; None where the format does not tell, or where it is missing.
        ended: whether the picture's end marker is there; None where the format has none.
        table: the first table of a TIFF file, and `jpeg` the structure of a JPEG file.
        frames: pages of a TIFF file or pictures of a GIF; None where another reader counts them.
        problems: fixed phrases on what could not be read.
    """

    blocks: list[Block] = field(default_factory=list)
    end: int | None = None
    ended: bool | None = None
    table: tags.Table | None = None
    jpeg: JpegStructure | None = None
    frames: int | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, kind: str, where: str, data: bytes, size: int | None = None, fault: str = "") -> None:
        """Note a block; one that is too long is noted as not read."""
        stored = len(data) if size is None else size
        if not fault and len(data) > BLOCK_BYTES:
            fault, data = f"is longer than {BLOCK_BYTES} bytes", b""
        self.blocks.append(Block(kind, where, data, fault, stored))


def read_blocks(source: Source, image_format: str | None, info: Mapping[str, Any]) -> Blocks:
    """The metadata blocks of a file.

    Args:
        image_format: Pillow's name of its format.
        info: what Pillow or pillow-heif found; used for HEIF and AVIF, whose items they gather.
    """
    found = Blocks()
    reader = {
        "JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif, "TIFF": _tiff, "JPEG2000": _jpeg2000,
        "HEIF": _heif, "AVIF": _heif, "BMP": _bitmap, "DIB": _bitmap,
    }.get(image_format or "")  # fmt: skip
    if reader:
        reader(source, found)
    if reader is _heif:
        for key, kind in (("exif", "EXIF"), ("xmp", "XMP"), ("icc_profile", "ICC")):
            if isinstance(data := info.get(key), bytes) and data:
                found.add(kind, f"{image_format} item", _tiff_block(data) if kind == "EXIF" else data)
    return found


def _jpeg(source: Source, found: Blocks) -> None:
    found.jpeg = read_structure(source.whole())
    found.ended, found.end = found.jpeg.end is not None, found.jpeg.images_end()
    extended: dict[bytes, dict[int, bytes]] = {}
    totals: dict[bytes, int] = {}
    profile: dict[int, bytes] = {}
    photoshop = b""
    unread: dict[str, int] = {}
    for segment in found.jpeg.segments:
        name, data = segment.name, segment.data
        if name == "APP1" and data.startswith(b"Exif\0"):
            found.add("EXIF", "JPEG APP1", _tiff_block(data[6:]))
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
            found.add("editor", "JPEG block APP12", b"Adobe Save for Web", len(data))
        elif name == "APP13" and data.startswith(b"Photoshop 3.0\0"):
            photoshop += data[14:]
        elif name == "COM":
            found.add("comment", "JPEG comment", data)
        elif name.startswith("APP") and not data.startswith(KNOWN):
            label = data[:12].split(b"\0", 1)[0]
            word = label.decode("latin-1") if label.isalnum() else ""
            unread[f"JPEG {name} {word}".strip()] = unread.get(f"JPEG {name} {word}".strip(), 0) + len(data)
    for where, size in unread.items():
        found.add("other", where, b"", size)
    for identity, parts in extended.items():
        whole = b"".join(parts[start] for start in sorted(parts))
        gaps = [start for start, _ in zip(sorted(parts), _starts(parts), strict=True) if start != _]
        fault = "is incomplete" if gaps or len(whole) != totals[identity] else ""
        found.add("XMP", "extended XMP", b"" if fault else whole, len(whole), fault)
    if photoshop:
        found.add("Photoshop", "JPEG APP13", photoshop)
    if profile:
        found.add("ICC", "JPEG APP2", b"".join(profile[number] for number in sorted(profile)))


def _tiff_block(data: bytes) -> bytes:
    """An EXIF block without the name in front, which some programs write twice."""
    while data.startswith(b"Exif\0"):
        data = data[6:]
    return data


def _starts(parts: Mapping[int, bytes]) -> Iterator[int]:
    """Where each part should begin if none is missing."""
    place = 0
    for start in sorted(parts):
        yield place
        place += len(parts[start])


def _png(source: Source, found: Blocks) -> None:
    place = 8
    found.ended = False
    for _ in range(CHUNKS):
        head = source.read(place, 8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">L4s", head)
        data = source.read(place + 8, min(length, BLOCK_BYTES + 1)) if name not in (b"IDAT", b"fdAT") else b""
        place += 12 + length
        if name == b"IEND":
            found.ended, found.end = True, min(place, source.size_bytes)
            return
        if name == b"eXIf":
            found.add("EXIF", "PNG eXIf", _tiff_block(data))
        elif name == b"iCCP":
            _, _, rest = data.partition(b"\0")
            profile = _inflate(rest[1:])
            found.add("ICC", "PNG iCCP", profile or b"", length, "" if profile else "is damaged or too long")
        elif name == b"tIME" and len(data) == 7:
            stamp = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*struct.unpack(">H5B", data))
            found.add("time", "PNG tIME", stamp.encode())
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            _png_text(name, data, length, found)


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
    """A profile that ImageMagick writes as text: its name, its length, and its bytes as hexadecimal digits."""
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
        found.add("EXIF", where, _tiff_block(data))
    elif kind in ("iptc", "8bim"):
        found.add("Photoshop" if data.startswith(b"8BIM") else "IPTC", where, data)
    elif kind in ("icc", "icm"):
        found.add("ICC", where, data)
    else:
        found.add("other", where, data)


def _inflate(data: bytes) -> bytes | None:
    """Text unpacked; None when it is damaged or becomes longer than `BLOCK_BYTES`."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, BLOCK_BYTES)
        return text if unpacker.eof else None
    except zlib.error:
        return None


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
            data = _tiff_block(data) if kind == "EXIF" else data
            found.add(kind, f"WebP {name.decode().strip()}", b"" if fault else data, length, fault)
        place += 8 + length + (length & 1)


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
        elif mark == b"\x21\xfe":
            data, place = _gif_data(source, place + 2)
            found.add("comment", "GIF comment", data)
        elif mark == b"\x21\xff":
            place = _gif_application(source, place + 2, found)
        elif mark[:1] == b"\x21":
            _, place = _gif_data(source, place + 2, keep=False)
        else:
            return


def _gif_application(source: Source, place: int, found: Blocks) -> int:
    name = source.read(place + 1, 11)
    data, end = _gif_data(source, place + 12)
    if name == b"XMP DataXMP":  # written without the lengths of blocks, with a trailer that leads a reader to its end
        raw = source.read(place + 12, min(end - place - 12, BLOCK_BYTES + 258))
        found.add("XMP", "GIF application block", raw[: max(0, len(raw) - 258)])
    elif name == b"ICCRGBG1012":
        found.add("ICC", "GIF application block", data)
    return end


def _gif_data(source: Source, place: int, keep: bool = True) -> tuple[bytes, int]:
    """The data of a chain of sub-blocks, and the place behind it."""
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


def _jpeg2000(source: Source, found: Blocks) -> None:
    if source.read(4, 4) != b"jP  ":
        found.ended = source.read(max(0, source.size_bytes - 2), 2) == b"\xff\xd9"
        return
    found.end = boxes_end(source)
    for box in boxes(source, 0, source.size_bytes):
        size = box.end - box.start
        if box.name == b"uuid":
            identity = source.read(box.start, 16)
            data = source.read(box.start + 16, min(size - 16, BLOCK_BYTES + 1))
            kind = UUIDS.get(identity, "other")
            data = _tiff_block(data) if kind == "EXIF" else data
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
            found.ended = source.read(box.end - 2, 2) == b"\xff\xd9"


def _codestream_comments(source: Source, place: int, found: Blocks) -> None:
    """The comments in the main header of a JPEG 2000 codestream, which ends with the first tile."""
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
    found.end = boxes_end(source)
    for box in boxes(source, 0, source.size_bytes):
        if box.name == b"mpvd":
            found.add("other", "motion photo video box (mpvd)", b"", box.end - box.start)


def _bitmap(source: Source, found: Blocks) -> None:
    head = source.read(0, 6)
    if head[:2] == b"BM" and len(head) == 6:
        (size,) = struct.unpack_from("<L", head, 2)
        found.end = size if 0 < size <= source.size_bytes else None
