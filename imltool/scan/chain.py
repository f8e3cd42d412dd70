"""A journal whose rows are chained by hashes, so that none can be changed, added, removed or moved undetected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imltool.errors import DataError, ResumeError
from imltool.journal import Journal, dump_json

PREVIOUS = "previous_sha256"
"""The key of a row that holds the SHA-256 of the line before it, or the chain's origin in the first row.

The line feed belongs to the line, so that `sed -n 7p results.jsonl | sha256sum` prints the hash that row 8 must hold.
"""


REMEDY = "imltool verify says more; --restart discards the earlier results"


@dataclass(frozen=True)
class Link:
    """One line of a chained journal.

    Attributes:
        row: its JSON object; None when the line is cut or holds none.
        sha256: of its bytes, line feed included.
        follows: whether its `previous_sha256` is the hash of the line before.
    """

    row: dict[str, object] | None
    sha256: str
    follows: bool


def read_chain(data: bytes, origin: str) -> Iterator[Link]:
    """The lines of a chained journal. Every line is checked against the line before it, whether that is valid or not.

    Args:
        data: the journal's bytes.
        origin: SHA-256 that the first row must hold as its `previous_sha256`.
    """
    before = origin
    for line in data.splitlines(keepends=True):
        row = _parse(line)
        digest = hashlib.sha256(line).hexdigest()
        yield Link(row, digest, row is not None and row.get(PREVIOUS) == before)
        before = digest


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and line.endswith(b"\n") else None


class ChainedJournal(Journal):
    """A `Journal` that adds the hash of the previous line to every row.

    Attributes:
        head: SHA-256 of the last line, or the origin while there is none.

    Opening it raises `ResumeError` when an existing row is damaged or the chain is broken.
    """

    def __init__(self, path: Path, origin: str) -> None:
        try:
            super().__init__(path)
        except DataError as error:
            raise ResumeError(error.message, REMEDY) from None
        self.head = origin
        for number, link in enumerate(read_chain(path.read_bytes(), origin), start=1):
            if not link.follows:
                self.close()
                before = f"row {number - 1}" if number > 1 else "the parameters of the scan"
                raise ResumeError(
                    f"{path} was changed: row {number} does not follow {before}",
                    REMEDY,
                )
            self.head = link.sha256

    def append(self, row: dict[str, object]) -> None:
        """Chain one row to the last, write it and flush it. Raises `OutputError` when it cannot be written."""
        chained = row | {PREVIOUS: self.head}
        super().append(chained)
        self.head = hashlib.sha256((dump_json(chained) + "\n").encode()).hexdigest()
