"""The parts of one run of `imltool review`, opened together and closed in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imltool.pages.server import PageServer
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal
from imltool.review.server import build_app
from imltool.review.writer import ExportWriter


@dataclass(frozen=True)
class OpenReview:
    """An open review."""

    folder: ScanFolder
    journal: DecisionJournal
    server: PageServer
    writer: ExportWriter


@contextmanager
def open_review(out: Path, examiner: str, port: int) -> Iterator[OpenReview]:
    """Read a scan and its decisions and bind the port; at the end, everything is written.

    Args:
        examiner: name of the examiner.
        port: 0 takes a free one.

    Raises `UsageError` (no scan, port), and what `ScanFolder` and `DecisionJournal` raise.
    """
    folder, journal = ScanFolder(out), DecisionJournal(out, examiner)
    with ExportWriter(folder, journal) as writer:
        yield OpenReview(folder, journal, PageServer(lambda: build_app(folder, journal, writer), port), writer)
