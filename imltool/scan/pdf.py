"""`report.pdf`: the printed report, one case per page, laid out by WeasyPrint from the template of `report.html`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imltool.errors import UsageError
from imltool.files import atomic
from imltool.scan.report import render
from imltool.scan.results import ScanResult
from imltool.scan.run_record import PDF, RunRecord
from imltool.scan.selection import Selection

MOST = 500
"""Most cases in a PDF, from the highest score, and most failed files (our choice: it is laid out as a whole, which
takes a third of a second per case)."""


def require_pdf() -> None:
    """Raise `UsageError` when no PDF can be made here; called before a long scan begins."""
    _load()


def _load() -> Any:
    try:
        import weasyprint
    except ImportError:
        raise UsageError("a PDF needs WeasyPrint, which is not installed", "pip install 'imltool[pdf]'") from None
    except OSError as error:  # a system library is missing
        raise UsageError(
            f"WeasyPrint cannot load a library it needs ({' '.join(str(error).split())[:120]})",
            "install Pango, on Debian: apt install libpango-1.0-0 libpangoft2-1.0-0",
        ) from None
    return weasyprint


def write_pdf(
    out: Path, run: RunRecord, results: Sequence[ScanResult], selection: Selection | None = None
) -> Iterator[ScanResult]:
    """Write `report.pdf` (see `write_report`), at most `MOST` cases; yield each result once it is laid out.

    Raises `UsageError` without WeasyPrint, and `OutputError`; an earlier PDF is then kept.
    """
    page = io.StringIO()
    shown = list(render(page, out, run, results, selection or Selection(), paper=True, most=MOST))
    lay_out(page.getvalue(), out / PDF)  # takes nearly all of the time, so no result is yielded before
    yield from shown


def lay_out(html: str, path: Path) -> None:
    """Write a page as a PDF. Only its embedded data is read: addresses of files and hosts are not followed.

    Raises `UsageError` without WeasyPrint, and `OutputError`.
    """
    weasyprint = _load()
    fetcher = weasyprint.URLFetcher(allowed_protocols=["data"])
    document = weasyprint.HTML(string=html, url_fetcher=fetcher)
    with atomic(path) as temporary:
        document.write_pdf(temporary, pdf_tags=True)
