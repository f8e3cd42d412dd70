"""What a library reports by Python's logging while it reads one file, kept from stderr, where no file is named."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCAL = threading.local()


class _Catch(logging.Filter):
    """Keeps the records of the thread that asked for them; those of others pass."""

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
    """The warnings that the logger `name` gets from this thread, which go nowhere else; not to be nested."""
    logging.getLogger(name).addFilter(_CATCH)  # adds it once
    _LOCAL.lines = lines = list[str]()
    try:
        yield lines
    finally:
        _LOCAL.lines = None
