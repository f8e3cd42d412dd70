"""Writing of decisions: each is on disk, chained to the one before, when the request is answered.

The page sends the revision of the decision from which its change started. When another tab, window or examiner has
decided in between, the change is refused with the newer decision, so that no unseen change is overwritten.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from imltool.errors import DataError, OutputError
from imltool.files import writing
from imltool.journal import appended_lines, dump_json, utc_now
from imltool.scan.chain import read_chain
from imltool.scan.decisions import (
    DECISIONS,
    EXPORTS,
    ORIGIN,
    Decision,
    Opinion,
    latest,
    parse_decisions,
    read_decisions,
)
from imltool.scan.results import RESULTS, ScanResult
from imltool.scan.verify import CHANGED, MISSING, UNCHECKED, Finding, holds
from imltool.versions import __version__

LOCK = ".decisions.lock"
"""Name of the lock file that is held while a row is written: a running scan holds the folder's own lock."""


class Stale(Exception):
    """The picture has a newer decision than the one from which a change started."""


class DecisionJournal:
    """The decisions of a scan, by this process and others. Safe to use from several threads and processes.

    Args:
        out: the scan's output folder.
        examiner: name of the examiner whose decisions this process writes.

    Attributes:
        rows: all rows read so far, in their order.

    Raises `DataError` when the journal is damaged, `OutputError` when it cannot be written.
    """

    def __init__(self, out: Path, examiner: str) -> None:
        self.path, self.examiner = out / DECISIONS, examiner
        self.rows: list[Decision] = []
        self._read = 0
        self._head = ORIGIN
        self._latest: dict[str, Decision] = {}
        self._lock = threading.RLock()
        self.refresh()

    def refresh(self) -> bool:
        """Read rows that any process appended since the last call; True when there were any.

        Raises `DataError` when a row is damaged or does not follow the one before, or when rows read before are gone.
        """
        with self._lock:
            data = appended_lines(self.path, self._read)
            if not data and self._read and (not self.path.exists() or self.path.stat().st_size < self._read):
                raise DataError(
                    f"{self.path} was removed or cut since this review read it",
                    "put a copy back: no decision is written until then",
                )
            for number, link in enumerate(read_chain(data, self._head), len(self.rows) + 1):
                if not link.follows:
                    raise DataError(
                        f"{self.path} was changed: row {number} does not follow the one before",
                        "imltool verify says more; keep the file and ask for a copy",
                    )
            new = parse_decisions(self.path, data, len(self.rows) + 1)
            if new:
                self._head = hashlib.sha256(data.splitlines(keepends=True)[-1]).hexdigest()
            self._read += len(data)
            self.rows += new
            self._latest.update({row.path: row for row in new})
            return bool(new)

    def latest(self, path: str) -> Decision | None:
        """The latest decision on a picture; None without one."""
        with self._lock:
            return self._latest.get(path)

    def history(self, path: str) -> list[Decision]:
        """All decisions on a picture, the oldest first."""
        with self._lock:
            return [row for row in self.rows if row.path == path]

    def decide(self, result: ScanResult, base: int, opinion: Opinion) -> Decision:
        """Append a decision; it is flushed to the disk (fsync) when this returns.

        Args:
            result: the picture, as the examiner saw it.
            base: revision of the decision from which the change started, 0 for none.

        Raises `Stale` when `base` is not the present revision, `OutputError` when it cannot be written, `DataError`.
        """
        assert result.sha256 and result.width and result.height and result.score is not None and result.verdict
        with self._lock:
            if not self.path.parent.is_dir():  # the lock would create a new folder without the scan
                raise OutputError(f"{self.path.parent} is gone", "put it back, or review it where it is now")
            with writing(self.path), FileLock(self.path.with_name(LOCK), thread_local=False):
                self.refresh()
                if not self._read:
                    self.path.touch()
                present = self._latest.get(result.path)
                if base != (present.revision if present else 0):
                    raise Stale
                decision = Decision(
                    **opinion.model_dump(),
                    path=result.path,
                    sha256=result.sha256,
                    width=result.width,
                    height=result.height,
                    score=result.score,
                    verdict=result.verdict,
                    revision=base + 1,
                    examiner=self.examiner,
                    time=utc_now(),
                    tool_version=__version__,
                    previous_sha256=self._head,
                )
                self._append((dump_json(decision.model_dump(mode="json")) + "\n").encode())
                self.refresh()
            return decision

    def _append(self, line: bytes) -> None:
        """Write a line after the last complete one; a partial line, left by a kill or a full disk, is overwritten."""
        with writing(self.path), self.path.open("r+b", buffering=0) as handle:
            handle.truncate(self._read)
            handle.seek(self._read)
            try:
                if handle.write(line) != len(line):
                    raise OutputError(f"no space left to write {self.path}", "free some space and decide again")
                os.fsync(handle.fileno())
            except BaseException:
                handle.truncate(self._read)
                raise


def verify_decisions(out: Path) -> Iterator[Finding]:
    """Check the pictures of a scan's decisions and the tables made from the decisions; yield the findings.

    `imltool.scan.verify` checks their chain. Yields nothing when there are no decisions.
    """
    if not (out / DECISIONS).exists():
        for name in EXPORTS:
            if (out / name).exists():
                yield Finding(MISSING, DECISIONS, f"is missing, and {name} was made from it")
        return
    try:
        rows = read_decisions(out)
    except DataError as error:
        yield Finding(CHANGED, DECISIONS, error.message)
        return
    yield from _check_pictures(out, rows)
    for name, text in EXPORTS.items():
        if not (out / name).exists():
            yield Finding(UNCHECKED, name, "is missing: imltool review OUT --export writes it")
        elif not holds(out / name, text(latest(rows))):
            yield Finding(UNCHECKED, name, f"does not match {DECISIONS}: imltool review OUT --export writes it again")


def _check_pictures(out: Path, rows: list[Decision]) -> Iterator[Finding]:
    known = {}
    for link in read_chain((out / RESULTS).read_bytes() if (out / RESULTS).is_file() else b"", ""):
        if link.row is not None and isinstance(path := link.row.get("path"), str):
            known[path] = link.row
    revisions: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        where = f"{DECISIONS} row {number} ({row.path})"
        revisions[row.path] = revisions.get(row.path, 0) + 1
        found = known.get(row.path)
        if row.revision != revisions[row.path]:
            yield Finding(CHANGED, where, f"is change {row.revision} of the picture, not {revisions[row.path]}")
        if found is None:
            yield Finding(CHANGED, where, "the scan has no such picture")
        elif (found.get("sha256"), found.get("score"), found.get("verdict")) != (row.sha256, row.score, row.verdict):
            yield Finding(CHANGED, where, "refers to another file or another result than the scan has now")
