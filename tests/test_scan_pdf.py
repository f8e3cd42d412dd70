"""`report.pdf`: the printable report with WeasyPrint, and a one-line error without it."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, rows_of
from helpers.pictures import photo, write_rgb

CPU = ("--device", "cpu", "-q")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(("first.png", "deep/second.jpg", "третий.png")):
        write_rgb(tmp_path / "in" / name, photo(seed, 120, 90))
    # WeasyPrint makes Pillow read truncated files as if they were complete
    (tmp_path / "in/<b>cut.png").write_bytes((tmp_path / "in/first.png").read_bytes()[:900])
    return tmp_path / "in"


def layout() -> None:
    """Skip the test if WeasyPrint or pypdf is unavailable."""
    pytest.importorskip("pypdf")
    try:
        pytest.importorskip("weasyprint")
    except OSError as error:
        pytest.skip(f"WeasyPrint cannot load its libraries: {error}")


def test_pdf_has_one_case_per_page(tiny_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool) -> None:
    layout()
    from pypdf import PdfReader

    out = tmp_path / "out"
    scan = ("scan", folder, "--out", out, "--weights", tiny_weights, *CPU)
    assert imltool(*scan, "--pdf", "--case-id", "<i>2026/4</i>", "--notes", "disk 3")[0] == 3
    pages = [" ".join(page.extract_text().split()) for page in PdfReader(out / "report.pdf").pages]
    rows = rows_of(out)
    record = record_of(out)
    whole = " ".join(pages)
    for text in ("<i>2026/4</i>", "disk 3", "an indication, not a proof", "its false positives are not measured"):
        assert text in whole
    assert all(f"Page {number} of {len(pages)}" in page for number, page in enumerate(pages, 1))
    assert all(f"Chain head {record['chain']['head'][:32]}" in page for page in pages)
    analysed = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: -row["score"])
    for row, page in zip(analysed, pages[-3:], strict=True):
        assert page.startswith(row["path"]) and row["verdict"] in page and f"score {row['score']:.4f}" in page
        assert row["sha256"] in page.replace(" ", ""), "a long hash is wrapped"
        assert f"{row['path'].rsplit('/', 1)[-1]}, page" in whole, "the table gives the page of the case"
    drawn = [page.get_contents().get_data().count(b" Do") for page in PdfReader(out / "report.pdf").pages]
    assert drawn[-3:] == [3, 3, 3], "the overlay, the picture, and its map"
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert "<b>cut.png" in whole and failed["reason"] in whole
    assert PdfReader(out / "report.pdf").metadata["/Title"].startswith("Scan report <i>2026/4</i>")  # type: ignore[attr-defined]
    files = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("report.html", "report.pdf")}
    assert record["reports_sha256"] == files
    assert imltool("verify", out)[0] == 0

    assert imltool(*scan, "--pdf", "--top", "1")[0] == 3
    pages = [page.extract_text() for page in PdfReader(out / "report.pdf").pages]
    assert pages[-1].startswith(analysed[0]["path"]) and "1 of the 3 analysed pictures" in " ".join(pages)
    assert not any(analysed[1]["path"] in page for page in pages)


def test_pdf_layout_reads_no_files_and_makes_no_requests(tmp_path: Path) -> None:
    """The page contains evidence text: only the embedded pictures may be loaded."""
    layout()
    from imltool.scan.pdf import lay_out

    write_rgb(tmp_path / "secret.png", photo(0))
    address = (tmp_path / "secret.png").as_uri()
    lay_out(f"<p>page</p><img src='{address}'><img src='http://127.0.0.1:9/x.png'>", tmp_path / "x.pdf")
    from pypdf import PdfReader

    (page,) = PdfReader(tmp_path / "x.pdf").pages
    assert page.extract_text().strip() == "page" and not page.images


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, ("WeasyPrint, which is not installed", "pip install 'imltool[pdf]'")),
        ("raise OSError('cannot load library libpango')", ("cannot load library libpango", "install Pango")),
    ],
)
def test_missing_library_is_an_error_before_the_scan(
    module: str | None,
    message: tuple[str, str],
    tiny_weights: Path,
    folder: Path,
    tmp_path: Path,
    imltool: Imltool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if module is None:
        monkeypatch.setitem(sys.modules, "weasyprint", None)  # as if it were not installed
    else:  # the error on a machine without Pango
        monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib/weasyprint.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path / "lib")
        assert importlib.util.find_spec("weasyprint") is not None
    out = tmp_path / "out"
    code, _, stderr = imltool("scan", folder, "--out", out, "--weights", tiny_weights, "--pdf", *CPU)
    assert code == 2 and not out.exists()
    assert all(words in " ".join(stderr.split()) for words in message)
    assert imltool("scan", folder, "--out", out, "--weights", tiny_weights, *CPU)[0] == 3, "only the PDF needs it"
