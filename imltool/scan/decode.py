"""One file read for a scan: hashed, decoded, with its context and its traces."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from imltool.errors import ImageError
from imltool.evidence.context import picture_context
from imltool.evidence.model import Context
from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.inference.tiles import take_traces
from imltool.pictures.images import RGB, read_picture, read_size
from imltool.texts import clean
from imltool.traces.stack import Traces


@dataclass
class Decoded:
    """A file read: its hash and size, and its picture (uint8 RGB [H,W,3]) or the reason there is none.

    `traces` are its `take_traces`: they take longer than decoding, so they are made in the same thread.
    `context` is also there when the picture cannot be decoded; None when the file cannot be read.
    """

    sha256: str | None = None
    size_bytes: int | None = None
    rgb: RGB | None = None
    reason: str | None = None
    traces: tuple[Traces, ...] = ()
    context: Context | None = None


def decode(path: Path, localizer: Localizer, tiles: bool = False) -> Decoded:
    """Hash and decode one file, and take its context and traces; a fault is the `reason`, without the path."""
    sha256 = size = picture = reason = None
    traces: tuple[Traces, ...] = ()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could wait for ever
            return Decoded(reason="not a regular file")
        size = status.st_size
        sha256 = sha256_file(path)
        picture = read_picture(path)
        traces = take_traces(localizer, picture.rgb, tiles)
    except ImageError as error:
        reason, picture = error.message.removeprefix(f"{path}: "), None
    except FileNotFoundError:
        reason = "broken link" if path.is_symlink() else "no such file"
    except PermissionError:
        reason = "no permission to read"
    except OSError as error:
        reason = f"cannot be read ({error.strerror or type(error).__name__})"
    except MemoryError:
        reason, picture = "not enough memory to decode", None
    except Exception as error:  # whatever a library makes of a file, it must not end the scan
        reason, picture = failure(error), None
    context = picture_context(path, picture) if sha256 else None
    return Decoded(sha256, size, picture.rgb if picture else None, reason, traces, context)


def count_pixels(path: Path) -> int:
    """Pixels a file will decode to, from its header; 0 when that is unknown or the file is missing (it will fail)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return 0
        width, height = read_size(path)
        return width * height
    except (ImageError, OSError):
        return 0


def failure(error: Exception) -> str:
    """The reason of a failed row for an error that a library raised."""
    return f"analysis failed ({clean(error) or type(error).__name__})"
