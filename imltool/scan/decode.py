"""Reading of one file for a scan: hash, picture, context and traces."""

from __future__ import annotations

import logging
import stat
from dataclasses import dataclass
from pathlib import Path

from imltool.errors import ImageError
from imltool.evidence.reading import FileRead, read_evidence
from imltool.inference.localizer import Localizer
from imltool.inference.tiles import take_traces
from imltool.pictures.images import read_size
from imltool.traces.stack import Traces

log = logging.getLogger("imltool")


@dataclass
class Decoded(FileRead):
    """A file that was read, and its `take_traces`: they take longer than decoding, so the same thread makes them."""

    traces: tuple[Traces, ...] = ()


def decode(path: Path, localizer: Localizer, tiles: bool = False) -> Decoded:
    """Read one file with its context and traces. An error becomes the `reason`, without the path."""
    made = Decoded(**vars(read_evidence(path)))
    try:
        made.traces = () if made.rgb is None else take_traces(localizer, made.rgb, tiles)
    except Exception as error:  # whatever a library raises for a picture must not end the scan
        made.rgb, made.reason = None, failure(error)
    return made


def count_pixels(path: Path) -> int:
    """Number of pixels of a file, from its header; 0 when it is unknown or the file is missing (reading will fail)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return 0
        width, height = read_size(path)
        return width * height
    except (ImageError, OSError):
        return 0


def failure(error: Exception) -> str:
    """The reason of a failed row for an error of a library: a fixed text, because theirs may hold memory addresses."""
    log.info("%s: %s", type(error).__name__, error)
    if isinstance(error, MemoryError):
        return "not enough memory to analyse"
    return f"analysis failed ({type(error).__name__})"
