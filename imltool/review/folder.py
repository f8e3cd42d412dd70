"""The scan under review: its rows, also while it is running, and the places of its pictures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imltool.errors import DataError, ImageError, ImlError, UsageError
from imltool.files import what_happened
from imltool.journal import appended_lines
from imltool.scan.fetch import local_copy
from imltool.scan.inputs import Plan
from imltool.scan.results import RESULTS, ScanResult
from imltool.scan.run_record import RECORD, RunRecord, holds_scan, read_record
from imltool.scan.stores import Stored
from imltool.scan.verify import expand_again


class ScanFolder:
    """A scan's output folder, whose new rows are read as it grows. Safe to use from several threads.

    Attributes:
        results: the rows so far, in the scan's order, including failed files.

    Raises `UsageError` when `out` holds no scan, `DataError` when its rows are not in this version's form, and
    `ResumeError` when `run.json` was changed.
    """

    def __init__(self, out: Path) -> None:
        if not out.is_dir() or not holds_scan(out):
            raise UsageError(f"{out} holds no scan", "give the output folder of imltool scan")
        self.out = out
        self.results: list[ScanResult] = []
        self._read = 0
        self._last = b""  # the last line that was read
        self._lock = threading.Lock()
        self._plan: Plan | None = None
        self._places: dict[str, Path | Stored] = {}
        self._fault = ""
        self._stamp: tuple[int, int] | None = None
        self._run: RunRecord | None = None
        self.refresh()
        _ = self.run

    @property
    def run(self) -> RunRecord:
        """The present content of `run.json`. Raises `DataError` when it is missing, `ResumeError` if it was changed."""
        path = self.out / RECORD
        with self._lock:
            try:
                status = path.stat()
            except FileNotFoundError:
                if self._run is not None:
                    raise DataError(f"{path} is gone", "put the folder back, or review it where it is now") from None
                raise DataError(
                    f"{self.out} has no {RECORD} yet", "wait until the scan has started, and try again"
                ) from None
            stamp = status.st_mtime_ns, status.st_size
            if self._run is None or stamp != self._stamp:
                self._run, self._stamp = read_record(self.out), stamp
            return self._run

    @property
    def is_finished(self) -> bool:
        """Whether the scan has finished."""
        sessions = self.run.sessions
        return bool(sessions) and sessions[-1].finished is not None

    def refresh(self) -> bool:
        """Read rows appended since the last call; True when there were any.

        Raises `DataError` when they cannot be read, or when another scan has replaced this one.
        """
        path = self.out / RESULTS
        with self._lock:
            data = appended_lines(path, self._read - len(self._last))
            if not data and not path.exists():
                return False
            if not data.startswith(self._last):
                raise DataError(
                    f"{self.out} was scanned again", "end imltool review and start it again; decisions are kept"
                )
            data = data[len(self._last) :]
            self.results += [ScanResult.of_line(line, self.out) for line in data.splitlines()]
            self._read += len(data)
            self._last = (data or self._last).splitlines(keepends=True)[-1] if self._read else b""
            return bool(data)

    def plan(self) -> Plan:
        """The scan's input files, found again by walking its inputs; empty when they cannot be found."""
        with self._lock:
            if self._plan is None:
                assert self._run is not None
                try:
                    self._plan = expand_again(self._run.inputs, self.out)
                except (ImlError, OSError, ValueError) as error:
                    self._plan, self._fault = Plan((), (), ()), str(error)
                self._places = {item.name: item.path for item in self._plan.inputs}
            return self._plan

    def _place(self, result: ScanResult) -> Path | Stored | None:
        self.plan()
        return self._places.get(result.path)

    def place(self, result: ScanResult) -> str:
        """The picture's absolute path or address; "" when it is no longer there."""
        found = self._place(result)
        return "" if found is None else str(found.absolute()) if isinstance(found, Path) else found.url

    @contextmanager
    def evidence(self, result: ScanResult) -> Iterator[Path]:
        """The picture's file, available while the block runs; an object of a store is fetched.

        Raises `ImageError` when it is missing or no longer the file that was scanned: a map must not be shown over
        another picture.
        """
        source = self._place(result)
        if source is None or result.sha256 is None:
            why = f" ({self._fault})" if self._fault else ""
            raise ImageError(f"{result.path} is not where it was scanned{why}")
        try:
            with local_copy(source) as path:
                if happened := what_happened(path, result.sha256):
                    raise ImageError(f"{result.path} {happened} since it was scanned")
                yield path
        except ImageError:
            raise
        except ImlError as error:
            raise ImageError(f"{result.path}: {error.message}") from error

    def output(self, name: str) -> Path:
        """A file that the scan wrote, by its path relative to the output folder.

        Raises `ImageError` when it is missing or outside that folder.
        """
        path = self.out / name
        if not path.resolve().is_relative_to(self.out.resolve()) or not path.is_file():
            raise ImageError(f"{name} is not in the scan's folder")
        return path
