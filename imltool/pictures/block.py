"""What the readers of containers find: metadata blocks, and where the picture in a file ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from imltool.pictures import tags
from imltool.pictures.jpeg_structure import JpegStructure

BLOCK_BYTES = 4_000_000
"""Longer metadata blocks are not read (our choice)."""
CHUNKS = 20_000
"""Chunks of a PNG, WebP or GIF file that are looked at (our choice)."""
XMP_NAME = b"http://ns.adobe.com/xap/1.0/\0"
"""What stands before XMP in a JPEG segment."""


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
        end: the offset behind the picture; None where the format does not say, or where it is missing.
        end_sure: whether nothing that is not understood may lead behind `end`.
        further_missing: whether a further picture that the file lists is cut off or not there.
        ended: whether the picture's end marker is there; None where the format has none.
        table: the first table of a TIFF file, and `jpeg` the structure of a JPEG file.
        frames: pages of a TIFF file or pictures of a GIF; None where another reader counts them.
        problems: fixed phrases on what could not be read.
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
    """An EXIF block without the name in front, which some programs write twice."""
    while data.startswith(b"Exif\0"):
        data = data[6:]
    return data


def label_of(name: bytes) -> str:
    """The name of a chunk or box for people, whatever bytes it has."""
    return name.decode("latin-1").strip() if name.strip().isalnum() else name.hex()
