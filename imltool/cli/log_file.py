"""`--log-file`: all messages and log lines of a command, with UTC times, independent of `-v` and `-q`."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common
from imltool.errors import UsageError
from imltool.files import writing
from imltool.versions import __version__

LogFileOption = Annotated[
    Path | None, common.option("--log-file FILE", "Append all messages to FILE, with UTC times.", common.GENERAL)
]
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")


class _Lines(logging.Formatter):
    """One line per message: line breaks are escaped."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        with writing(Path(self.baseFilename)):
            raise  # noqa: PLE0704 logging calls this in an except block, and would print a traceback itself


@contextmanager
def log_to(path: Path | None, keep_out: Path) -> Iterator[None]:
    """Log into a file while the block runs, including the error that ends the command; no log when `path` is None.

    Args:
        keep_out: the output folder, which holds results only.

    Raises `UsageError` when `path` is in that folder, is no regular file, or is a file that this function did not
    create: evidence must never be written to. Raises `OutputError` when the file cannot be written.
    """
    if path is None:
        yield
        return
    real = Path(os.path.realpath(path))  # Path.resolve raises for a link that leads to itself
    if Path(os.path.realpath(keep_out)) in (real, *real.parents):
        raise UsageError(f"{path} is in the output folder", "give --log-file another place")
    with writing(path):
        if path.exists() and not (path.is_file() and _is_log(path)):
            raise UsageError(f"{path} is no log file", "give --log-file a new file, or the log of an earlier run")
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s", _TIME))
    common.log.addHandler(handler)
    level = common.log.level
    common.log.setLevel(logging.DEBUG)
    try:
        common.note(f"imltool {__version__}: {common.command_line()}")
        yield
    except BaseException as error:
        if not isinstance(error, typer.Exit):
            common.note(f"ended by {type(error).__name__}: {error}")
        raise
    finally:
        common.log.setLevel(level)
        common.log.removeHandler(handler)
        with suppress(OSError):  # the disk is full, which was reported
            handler.close()


def _is_log(path: Path) -> bool:
    with path.open("rb") as handle:
        start = handle.read(64)
    return not start or _STAMP.match(start) is not None
