"""Files made from decisions: tables, boxes for `pseudo` and `train`, and the reports with the decisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imltool.data.box_formats import BoxedImage
from imltool.data.box_writers import write_coco
from imltool.errors import DataError
from imltool.files import folder_lock, write_text
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal
from imltool.scan.decisions import EXPORTS, latest
from imltool.scan.run_record import PDF, REPORT, note_reports

BOXES = "boxes.json"
AUTHENTIC = "boxes.authentic.txt"


def write_tables(folder: ScanFolder, journal: DecisionJournal) -> None:
    """Write `decisions.csv`, `decisions.json`, `boxes.json` and `boxes.authentic.txt` into the scan's folder.

    Pictures with the conclusion "not edited" are in the list `boxes.authentic.txt` and have no boxes in `boxes.json`,
    which otherwise names pictures with boxes only. The names of the list begin with the name of the scanned folder, the
    form of a `list` of `imltool train`.

    Without any decision nothing is written. Raises `OutputError`.
    """
    if not journal.rows:
        return
    decisions = latest(journal.rows)
    for name, text in EXPORTS.items():
        write_text(folder.out / name, text(decisions))
    unedited = [path for path, row in decisions.items() if row.conclusion == "not edited"]
    entries = [
        BoxedImage(path, () if path in unedited else row.boxes or (), (row.width, row.height))
        for path, row in decisions.items()
        if path in unedited or row.boxes
    ]
    write_coco(folder.out / BOXES, entries, "boxes drawn or corrected with imltool review")
    # with several folders scanned, the paths already begin with their names
    alone = next((f"{Path(root.path).name}/" for root in folder.run.inputs if not root.label), "")
    lines = ["# pictures that an examiner concluded not to be edited, with imltool review"]
    lines += [f"{alone}{path}" for path in unedited]
    write_text(folder.out / AUTHENTIC, "\n".join(lines) + "\n")


def write_reports(folder: ScanFolder, pdf: bool | None = None, new: bool = True) -> Iterator[str]:
    """Write `report.html` and `report.pdf` again, with the decisions; yield the name of each once it is written.

    They show the same pictures as the scan's own report.

    Args:
        pdf: None writes the PDF only if there is one already.
        new: also write `report.html` if the scan has written none.

    Raises `DataError` while the scan is not finished (it will write the reports itself, with the decisions),
    `UsageError` when another command writes into the folder or a PDF cannot be made, and `OutputError`.
    """
    from imltool.scan.report import write_report

    out = folder.out
    if not folder.is_finished:
        raise DataError("the scan is not finished and will write the reports", "wait for it, or run it again")
    writers = {REPORT: write_report} if new or (out / REPORT).exists() else {}
    if (out / PDF).exists() if pdf is None else pdf:
        from imltool.scan.pdf import require_pdf, write_pdf

        require_pdf()
        writers[PDF] = write_pdf
    with folder_lock(out):
        selection = folder.run.reports_show
        for name, write in writers.items():
            for _ in write(out, folder.run, folder.results, selection):
                pass
            yield name
        note_reports(out, [*writers], selection)
