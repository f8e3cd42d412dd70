"""A journal whose rows are chained by hashes, so that none can be changed, added, removed or moved undetected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imltool.errors import ResumeError
from imltool.journal import Journal, dump_json

PREVIOUS = "previous_sha256"
"""The key that chains: in a row the SHA-256 of the line before it, in the first one the chain's origin.

The line feed belongs to the line, so that `sed -n 7p results.jsonl | sha256sum` gives what row 8 must hold.
"""


@dataclass(frozen=True)
class Link:
    """One line of a chained journal.

    Attributes:
        row: what it holds; None when it is cut or no JSON object.
        sha256: of its bytes, line feed included.
        follows: its `previous_sha256` is what it must be.
    """

    row: dict[str, Any] | None
    sha256: str
    follows: bool


def read_chain(data: bytes, origin: str) -> Iterator[Link]:
    """The lines of a chained journal. Every line is compared with the one that is before it now, whatever that holds.

    Args:
        data: the journal's bytes.
        origin: SHA-256 that the first row must hold.
    """
    before = origin
    for line in data.splitlines(keepends=True):
        row = _parse(line)
        digest = hashlib.sha256(line).hexdigest()
        yield Link(row, digest, row is not None and row.get(PREVIOUS) == before)
        before = digest


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and line.endswith(b"\n") else None


class ChainedJournal(Journal):
    """A `Journal` that puts the hash of the line before into every row.

    Attributes:
        head: SHA-256 of the last line, or the origin while there is none.

    Opening it raises `ResumeError` when the rows there do not follow each other.
    """

    def __init__(self, path: Path, origin: str) -> None:
        super().__init__(path)
        self.head = origin
        for number, link in enumerate(read_chain(path.read_bytes(), origin), start=1):
            if not link.follows:
                self.close()
                before = f"row {number - 1}" if number > 1 else "the parameters of the scan"
                raise ResumeError(
                    f"{path} was changed: row {number} does not follow {before}",
                    "imltool verify says more; --restart discards the earlier results",
                )
            self.head = link.sha256

    def append(self, row: dict[str, Any]) -> None:
        """Chain one row to the last, write it and flush it. Raises `OutputError` when the disk refuses."""
        chained = row | {PREVIOUS: self.head}
        super().append(chained)
        self.head = hashlib.sha256((dump_json(chained) + "\n").encode()).hexdigest()
