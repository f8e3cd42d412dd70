"""Capture of the log messages of a library while it reads one file; on stderr they would not name the file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCAL = threading.local()


class _Catch(logging.Filter):
    """Captures the records of a thread that requested it; records of other threads pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        lines: list[str] | None = getattr(_LOCAL, "lines", None)
        if lines is None:
            return True
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())
        return False


_CATCH = _Catch()


@contextmanager
def caught_lines(name: str) -> Iterator[list[str]]:
    """Collect the warnings of this thread to the logger `name`, which are then not logged. Must not be nested."""
    logging.getLogger(name).addFilter(_CATCH)  # has no effect when it was added before
    _LOCAL.lines = lines = list[str]()
    try:
        yield lines
    finally:
        _LOCAL.lines = None
