"""Decodes the TIFF file on stdin with Pillow's libtiff and writes its pixels to stdout, a line of JSON before them.

Run as a script in a process of its own by `imltool.pictures.tiff`: libtiff writes what it finds wrong to stderr past
every handler, and in a process of its own those lines belong to one file. It imports nothing of imltool.
"""

from __future__ import annotations

import io
import json
import sys
import warnings

from PIL import Image, TiffImagePlugin  # noqa: F401

MEMORY = 4_000_000_000
"""Bytes of address space (our choice)."""
PIXELS = 300_000_000


def main() -> int:
    """Decode; 1 where it is not possible."""
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ImportError:  # not on Windows
        pass
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = PIXELS // 2  # Pillow raises at twice this
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("TIFF",)) as picture:
            size = picture.size
            picture.load()
            pixels = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    except Exception:  # whatever it is, the file cannot be decoded
        return 1
    sys.stdout.buffer.write(json.dumps({"size": size, "samples": len(pixels.getbands())}).encode() + b"\n")
    sys.stdout.buffer.write(pixels.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
