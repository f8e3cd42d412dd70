"""The parts of one run of `imltool review`, opened together and closed in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imltool.pages.server import PageServer, person_name
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal
from imltool.review.server import build_app
from imltool.review.writer import ExportWriter


@dataclass(frozen=True)
class OpenReview:
    """An open review; it has no server and no writer when only files are to be written."""

    folder: ScanFolder
    journal: DecisionJournal
    server: PageServer | None = None
    writer: ExportWriter | None = None


@contextmanager
def open_review(out: Path, examiner: str | None, port: int | None) -> Iterator[OpenReview]:
    """Read a scan and its decisions and bind the port; at the end, everything is written.

    Args:
        examiner: name of the examiner; None takes the user's name.
        port: 0 takes a free one, None starts no server.

    Raises `UsageError` (no scan, examiner's name, port), and what `ScanFolder` and `DecisionJournal` raise.
    """
    name = person_name(examiner, "--examiner")
    folder = ScanFolder(out)
    journal = DecisionJournal(out, name)
    if port is None:
        yield OpenReview(folder, journal)
        return
    with ExportWriter(folder, journal) as writer:
        yield OpenReview(folder, journal, PageServer(lambda: build_app(folder, journal, writer), port), writer)
