"""PNG files without their metadata: no damaged block of it can stop the decoder."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from imltool.pictures.source import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNKS = 200_000
"""Chunks copied; a file of more is given as it is (our choice)."""
PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""Chunks that a decoder may pass over, and that say something of the pixels or frames."""


def bare_png(source: Source) -> BinaryIO:
    """A PNG file for a decoder: the same coded picture, without the chunks that it may pass over."""
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
