"""One file read for a scan: hashed, decoded, with its context and its traces."""

from __future__ import annotations

import logging
import stat
from dataclasses import dataclass
from pathlib import Path

from imltool.errors import ImageError
from imltool.evidence.model import Context
from imltool.evidence.reading import read_evidence
from imltool.inference.localizer import Localizer
from imltool.inference.tiles import take_traces
from imltool.pictures.images import RGB, read_size
from imltool.traces.stack import Traces

log = logging.getLogger("imltool")


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
    """Read one file, and take its context and traces; a fault is the `reason`, without the path."""
    read = read_evidence(path)
    made = Decoded(read.sha256, read.size_bytes, read.rgb, read.reason, (), read.context)
    try:
        made.traces = () if made.rgb is None else take_traces(localizer, made.rgb, tiles)
    except Exception as error:  # whatever a library makes of a picture, it must not end the scan
        made.rgb, made.reason = None, failure(error)
    return made


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
    """The reason of a failed row for an error that a library raised: fixed, as texts of libraries hold addresses."""
    log.info("%s: %s", type(error).__name__, error)
    return (
        "not enough memory to analyse"
        if isinstance(error, MemoryError)
        else f"analysis failed ({type(error).__name__})"
    )
