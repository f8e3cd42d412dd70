"""What is made of decisions: tables, boxes for `pseudo` and `train`, and the reports with the decisions in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from imltool.data.box_formats import BoxedImage
from imltool.data.box_writers import write_coco
from imltool.errors import DataError
from imltool.files import folder_lock, write_text
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal
from imltool.scan.decisions import EXPORTS, Decision, latest
from imltool.scan.run_record import PDF, REPORT, note_reports
from imltool.scan.selection import Selection

BOXES = "boxes.json"
AUTHENTIC = "boxes.authentic.txt"


def write_tables(folder: ScanFolder, journal: DecisionJournal) -> None:
    """Write `decisions.csv`, `decisions.json`, `boxes.json` and `boxes.authentic.txt` into the scan's folder.

    Raises `OutputError`.
    """
    decisions = latest(journal.rows)
    for name, text in EXPORTS.items():
        write_text(folder.out / name, text(decisions))
    alone = next((Path(root["path"]).name for root in folder.run["inputs"] if not root["label"]), "")
    write_boxes(folder.out, decisions, alone)


def write_boxes(out: Path, decisions: Mapping[str, Decision], root: str = "") -> None:
    """Write the boxes that examiners have drawn or corrected, as COCO JSON, and the pictures they consider unedited.

    A picture concluded not to be edited has no box in the file and is in the list; one without a conclusion, or with an
    inconclusive one, is in neither unless it has boxes.

    Args:
        root: name of the folder that the decisions' paths are relative to, which the list puts first, as a `list` of
            `imltool train` has it; "" when the paths begin with it.

    Raises `OutputError`.
    """
    entries = [
        BoxedImage(path, () if row.conclusion == "not edited" else row.boxes or (), (row.width, row.height))
        for path, row in decisions.items()
        if row.conclusion == "not edited" or row.boxes
    ]
    write_coco(out / BOXES, entries, "boxes drawn or corrected with imltool review")
    names = [path for path, row in decisions.items() if row.conclusion == "not edited"]
    head = "# pictures that an examiner concluded not to be edited, with imltool review\n"
    write_text(out / AUTHENTIC, head + "".join(f"{root}/{name}\n" if root else f"{name}\n" for name in names))


def write_reports(folder: ScanFolder, pdf: bool | None = None, new: bool = True) -> Iterator[str]:
    """Write `report.html` again, and `report.pdf`, with the decisions in them; yield the name of each once it is there.

    They show the pictures that the scan's own report shows.

    Args:
        pdf: None writes it where there is one already.
        new: write `report.html` where the scan has written none, too.

    Raises `DataError` while the scan is not finished (it writes the reports itself, with the decisions), `UsageError`
    when another command writes into the folder or a PDF cannot be made, `OutputError`.
    """
    from imltool.scan.report import write_report

    out = folder.out
    if not folder.is_finished:
        raise DataError("the scan is not finished, and writes the reports itself", "wait for it, or run it again")
    writers = {REPORT: write_report} if new or (out / REPORT).exists() else {}
    if (out / PDF).exists() if pdf is None else pdf:
        from imltool.scan.pdf import require_pdf, write_pdf

        require_pdf()
        writers[PDF] = write_pdf
    with folder_lock(out):
        selection = Selection.of_record(folder.run)
        for name, write in writers.items():
            for _ in write(out, folder.run, folder.results, selection):
                pass
            yield name
        note_reports(out, [*writers], selection)
