"""A picture file that is opened once: its hash, and its bytes for decoding and for reading its metadata."""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

IN_MEMORY = 64_000_000
"""Files of up to this many bytes are held in memory; larger ones are read from disk as needed (our choice)."""
CHUNK = 1 << 20


class NotAFileError(OSError):
    """A path is no regular file; opening a pipe or a device could block for ever."""


@dataclass
class Source:
    """An open picture file.

    Attributes:
        path: its name, for messages; it is never opened again.
        stream: its bytes, readable and seekable; every reader must seek first.
        size_bytes, sha256: of the bytes that were read.
        found: the requested marks that occur in the file.
    """

    path: Path
    stream: BinaryIO
    size_bytes: int
    sha256: str = ""
    found: frozenset[bytes] = field(default_factory=frozenset)

    def read(self, start: int, count: int) -> bytes:
        """Up to `count` bytes from `start`: fewer at the end of the file, none outside it."""
        if not 0 <= start <= self.size_bytes or count <= 0:
            return b""
        self.stream.seek(start)
        return self.stream.read(min(count, self.size_bytes - start))

    def fresh(self) -> BinaryIO:
        """A stream at the file's start, for a library; of a large file it is `stream` itself."""
        if isinstance(self.stream, io.BytesIO):
            return io.BytesIO(self.stream.getvalue())  # shares the bytes
        self.stream.seek(0)
        return self.stream

    def whole(self) -> bytes:
        """All bytes. Raises MemoryError when they do not fit into memory."""
        return self.stream.getvalue() if isinstance(self.stream, io.BytesIO) else self.read(0, self.size_bytes)


@contextmanager
def open_source(path: Path, marks: Sequence[bytes] = (), hashed: bool = True) -> Iterator[Source]:
    """Open a file, read it once, hash it, and look for `marks` in it in the same pass.

    Args:
        marks: short byte strings; those that occur are reported in `Source.found`.
        hashed: whether to read the whole file; if not, `sha256` and `found` are empty.

    Raises OSError, and `NotAFileError` if the path is no regular file.
    """
    with path.open("rb") if stat.S_ISREG(path.stat().st_mode) else _refused(path) as handle:
        size = path.stat().st_size if not hashed else handle.seek(0, 2)
        handle.seek(0)
        if size <= IN_MEMORY:
            data = handle.read(IN_MEMORY + CHUNK)
            digest = hashlib.sha256(data).hexdigest() if hashed else ""
            found = frozenset(mark for mark in marks if hashed and mark in data)
            yield Source(path, io.BytesIO(data), len(data), digest, found)
            return
        source = Source(path, handle, size)
        if hashed:
            _read_through(source, marks)
        yield source


def _refused(path: Path) -> BinaryIO:
    raise NotAFileError(f"{path} is no regular file")


def _read_through(source: Source, marks: Sequence[bytes]) -> None:
    digest, found, rest, size = hashlib.sha256(), set[bytes](), b"", 0
    longest = max((len(mark) for mark in marks), default=1)
    while block := source.stream.read(CHUNK):
        digest.update(block)
        size += len(block)
        joined = rest + block
        found.update(mark for mark in marks if mark in joined)
        rest = joined[len(joined) - longest + 1 :]
    source.size_bytes, source.sha256, source.found = size, digest.hexdigest(), frozenset(found)
