"""PNG files without their metadata, so that no damaged block can stop the decoder."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from imltool.pictures.source import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNKS = 200_000
"""Chunks read at most (our choice)."""
PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""Ancillary chunks that affect the pixels or frames, which are kept."""


def bare_png(source: Source) -> BinaryIO:
    """A stream of the same coded picture for a decoder, without the ancillary chunks that it does not need."""
    kept = [SIGNATURE]
    place = start = len(SIGNATURE)
    dropped = False
    for _ in range(CHUNKS):
        head = source.read(place, 8)
        if len(head) < 8:
            break
        length, name = struct.unpack(">L4s", head)
        following = place + 12 + length
        if name[0] & 0x20 and name not in PIXELS:
            kept.append(source.read(start, place - start))
            start, dropped = following, True
        place = following
        if name == b"IEND" or place >= source.size_bytes:
            break
    if not dropped:
        return source.fresh()
    kept.append(source.read(start, min(place, source.size_bytes) - start))
    return io.BytesIO(b"".join(kept))
