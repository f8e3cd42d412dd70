"""Keeps the files made from decisions up to date, in a separate thread."""

from __future__ import annotations

import threading
from typing import Literal

from imltool.errors import ImlError
from imltool.review.exports import write_reports, write_tables
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal
from imltool.scan.decisions import DECISIONS
from imltool.scan.run_record import REPORT

SETTLING = 0.3
"""Seconds from a decision to writing the tables, so that several decisions are written together."""

State = Literal["", "wanted", "writing", "written"]


class ExportWriter:
    """Writes the tables after decisions, and the reports on request.

    Attributes:
        fault: why the last attempt failed, "" when it succeeded; the next decision tries again.
        state: of the reports; "" when none were requested, or decisions were made since.
        report_is_old: whether decisions were made since the reports were written.
    """

    def __init__(self, folder: ScanFolder, journal: DecisionJournal) -> None:
        self._folder, self._journal = folder, journal
        self._event = threading.Event()
        self._closed = False
        self._changed = False
        decisions, report = folder.out / DECISIONS, folder.out / REPORT
        # a report older than the decisions: a session was killed
        self.report_is_old = decisions.exists() and (
            not report.exists() or report.stat().st_mtime < decisions.stat().st_mtime
        )
        self.fault = ""
        self.state: State = ""
        self._thread = threading.Thread(target=self._work, name="imltool-review-writer", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """Note that a decision was made, so that the tables are written."""
        self._changed = self.report_is_old = True
        self.state = "" if self.state == "written" else self.state
        self._event.set()

    def write_reports(self) -> None:
        """Request that the reports are written."""
        self.state = "wanted"
        self._event.set()

    def _work(self) -> None:
        while not self._closed:
            self._event.wait()
            if not self._closed:
                threading.Event().wait(SETTLING)
            self._event.clear()
            self._write()

    def _write(self) -> None:
        try:
            if self._changed:
                self._changed = False
                write_tables(self._folder, self._journal)
            if self.state == "wanted":
                self.state = "writing"
                self.report_is_old = False
                for _ in write_reports(self._folder):
                    pass
                self.state = "written"
            self.fault = ""
        except ImlError as error:  # the journal has everything, and the next decision tries again
            self.fault, self.report_is_old, self._changed = str(error), True, True
            self.state = ""

    def close(self) -> None:
        """End the thread and write the tables a last time. Raises `OutputError`."""
        self._closed = True
        self._event.set()
        self._thread.join()
        self._journal.refresh()
        if self._journal.rows:
            write_tables(self._folder, self._journal)

    def __enter__(self) -> ExportWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
