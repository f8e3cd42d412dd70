"""PNG files without their metadata, so that no damaged block can stop the decoder."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

from imltool.pictures.source import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNKS = 200_000
"""Chunks read at most (our choice)."""
PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""Ancillary chunks that affect the pixels or frames, which are kept."""


def png_chunks(source: Source, most: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, offset, length of the data) of the chunks of a PNG file, at most `most`; any of them may be cut off."""
    place = len(SIGNATURE)
    for _ in range(most):
        head = source.read(place, 8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">L4s", head)
        yield name, place, length
        place += 12 + length


def bare_png(source: Source) -> BinaryIO:
    """A stream of the same coded picture for a decoder, without the ancillary chunks that it does not need."""
    kept = [SIGNATURE]
    start = end = len(SIGNATURE)
    for name, place, length in png_chunks(source, CHUNKS):
        end = place + 12 + length
        if name[0] & 0x20 and name not in PIXELS:
            kept.append(source.read(start, place - start))
            start = end
        if name == b"IEND" or end >= source.size_bytes:
            break
    if len(kept) == 1:
        return source.fresh()
    kept.append(source.read(start, min(end, source.size_bytes) - start))
    return io.BytesIO(b"".join(kept))
