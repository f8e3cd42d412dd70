"""Results of the container readers: metadata blocks, and the end of the picture in a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from imltool.pictures import tags
from imltool.pictures.jpeg_structure import JpegStructure

BLOCK_BYTES = 4_000_000
"""Longer metadata blocks are not read (our choice)."""
CHUNKS = 20_000
"""Chunks of a PNG, WebP or GIF file that are read at most, those of PNG's pixels apart (our choice)."""
XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
"""The identifier before XMP in a JPEG segment."""


@dataclass(frozen=True)
class Block:
    """A metadata block.

    Attributes:
        kind: "EXIF", "XMP", "IPTC", "Photoshop", "ICC", "comment", "text", "editor", "other".
        where: its place in the container, for display: "PNG text parameters".
        data: its bytes, without what the container adds; empty when it could not be read.
        fault: a fixed phrase why it could not be read, or "".
        size_bytes: of the block as stored.
    """

    kind: str
    where: str
    data: bytes
    fault: str = ""
    size_bytes: int = 0


@dataclass
class Blocks:
    """The content of a container besides the pixels.

    Attributes:
        blocks: its metadata, in the file's order.
        end: the offset after the picture; None if the format does not define it, or if the end is missing.
        end_sure: False if a value that is not understood may be a place after `end`.
        further_missing: whether another picture that the file lists is cut off or missing, or a file of boxes is.
        ended: whether the picture's end marker is present; None if the format has none.
        table: the first table of a TIFF file.
        jpeg: the structure of a JPEG file.
        frames: number of pages of a TIFF file or pictures of a GIF; None if another reader counts them.
        problems: fixed phrases about what could not be read.
    """

    blocks: list[Block] = field(default_factory=list)
    end: int | None = None
    end_sure: bool = True
    further_missing: bool = False
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


def tiff_block(data: bytes) -> bytes:
    """An EXIF block without the identifier before it, which some programs write twice."""
    while data.startswith(b"Exif\0"):
        data = data[6:]
    return data


def label_of(name: bytes) -> str:
    """The name of a chunk or box for display: as text if it is alphanumeric, else in hexadecimal."""
    return name.decode("latin-1").strip() if name.strip().isalnum() else name.hex()
