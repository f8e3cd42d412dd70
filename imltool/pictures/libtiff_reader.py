"""Decodes the TIFF file on stdin with Pillow's libtiff and writes a line of JSON and then the pixels to stdout.

`imltool.pictures.tiff` runs it as a script in a separate process: libtiff reports faults directly on stderr, past every
handler, and in a separate process these lines belong to one file. It imports nothing of imltool.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from pathlib import Path

if sys.path and Path(sys.path[0]) == Path(__file__).parent:  # Python puts it there for a script
    del sys.path[0]
try:
    from PIL import Image, TiffImagePlugin  # noqa: F401
except ImportError:
    sys.exit(2)

MEMORY = 4_000_000_000
"""Limit of the address space in bytes (our choice)."""
PIXELS = 300_000_000


def main() -> int:
    """Decode the file; return the exit code: 1 if it cannot be decoded, and 2 without Pillow."""
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
    except Exception:  # any error means that the file cannot be decoded
        return 1
    sys.stdout.buffer.write(json.dumps({"size": size, "samples": len(pixels.getbands())}).encode() + b"\n")
    sys.stdout.buffer.write(pixels.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
