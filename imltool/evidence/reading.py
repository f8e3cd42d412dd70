"""Reading of one evidence file: its hash, its pixels or the reason why there are none, and its context."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from imltool.errors import ImageError
from imltool.evidence.context import picture_context
from imltool.evidence.credentials import MARK
from imltool.evidence.model import Context
from imltool.pictures.arrays import Pixels
from imltool.pictures.decode import decode
from imltool.pictures.header import Header, read_header
from imltool.pictures.images import RGB
from imltool.pictures.source import NotAFileError, open_source

log = logging.getLogger("imltool")


@dataclass
class FileRead:
    """A file that was read.

    Attributes:
        sha256, size_bytes: of the bytes that were read; None when the file could not be read.
        rgb: uint8 [H,W,3], upright; only the complete rows of a truncated JPEG. None when it was not decoded.
        reason: why there are no pixels, a fixed phrase without the file's name.
        context: the file's context, also when its pixels cannot be decoded; None when the file cannot be read.
    """

    sha256: str | None = None
    size_bytes: int | None = None
    rgb: RGB | None = None
    reason: str | None = None
    context: Context | None = None


def read_evidence(path: Path) -> FileRead:
    """Open a file once and read everything that a scan needs. Any fault of the file becomes its `reason`."""
    try:
        with open_source(path, (MARK,)) as source:
            found = FileRead(source.sha256, source.size_bytes)
            header: Header | None = None
            pixels: Pixels | None = None
            try:
                header = read_header(source)
                pixels = decode(source, header, partial=True)
                found.rgb = pixels.rgb
            except ImageError as error:
                found.reason = error.message.removeprefix(f"{path}: ")
            found.context = picture_context(source, header, pixels)
            if header is None and found.reason:
                problems = (found.reason, *found.context.problems)
                found.context = found.context.model_copy(update={"problems": problems})
            return found
    except NotAFileError:
        return FileRead(reason="not a regular file")
    except FileNotFoundError:
        return FileRead(reason="broken link" if path.is_symlink() else "no such file")
    except PermissionError:
        return FileRead(reason="no permission to read")
    except MemoryError:
        return FileRead(reason="not enough memory to read")
    except OSError as error:
        log.info("%s: %s", path, error)
        return FileRead(reason=f"cannot be read ({error.strerror or type(error).__name__})")
