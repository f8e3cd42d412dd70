"""The output folder of a scan: whose it is, what ran, and the results as a table."""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from imltool import __version__
from imltool.errors import ResumeError, UsageError
from imltool.files import write_text, writing
from imltool.journal import claim_folder
from imltool.scan.inputs import Plan, printable, readable
from imltool.scan.pipeline import INDICATION, Row
from imltool.scan.remarks import look_up
from imltool.student.localizer import Localizer
from imltool.versions import installed_versions

COMMAND = "scan"
PARAMETERS = "parameters.json"
RESULTS = "results.jsonl"
TABLE = "results.csv"
RECORD = "run.json"
REPORT = "report.html"
FOLDERS = ("maps", "masks", "overlays")
COLUMNS = (
    "path", "sha256", "size_bytes", "status", "reason", "width", "height", "score", "verdict", "tampered_area",
    "regions", "map", "mask", "overlay",
)  # fmt: skip
CONTEXT_COLUMNS = {
    "format": "format",
    "frames": "frames",
    "camera_make": "camera.make",
    "camera_model": "camera.model",
    "taken": "times.taken",
    "changed": "times.changed",
    "gps_latitude": "gps.latitude",
    "gps_longitude": "gps.longitude",
    "jpeg_quality": "jpeg.quality",
    "jpeg_quality_exact": "jpeg.quality_exact",
    "jpeg_tables_sha256": "jpeg.tables_sha256",
    "jpeg_subsampling": "jpeg.subsampling",
    "jpeg_progressive": "jpeg.progressive",
    "earlier_save": "earlier_save.seen",
    "thumbnail_differs": "thumbnail.differs",
    "credentials": "credentials.state",
}
"""Column of the table → where its value is in a row's context."""
ROW_FORMAT = 2
"""Rows of another format are not mixed with these: 2 added `context` and `remarks`."""


def parameters(plan: Plan, localizer: Localizer, threshold: float) -> dict[str, Any]:
    """What a run must share with an earlier one to go on with its results."""
    return {
        "command": COMMAND,
        "inputs": [readable(str(root.path)) for root in plan.roots],
        "model_sha256": localizer.sha256,
        "row_format": ROW_FORMAT,
        "threshold": threshold,
        "tool_version": __version__,
    }


def open_folder(out: Path, parameters: dict[str, Any], restart: bool = False) -> bool:
    """Make `out` the folder of a scan with `parameters`; True when it goes on with an earlier one.

    With `restart` what an earlier scan wrote there is removed, and nothing else.

    Raises `UsageError` when `out` holds files but no scan, so that results never mix with evidence, and `ResumeError`
    when it holds a scan with other parameters.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{printable(str(out))} is a file", "give --out a folder")
    with writing(out):
        occupied = out.is_dir() and any(out.iterdir())
        if occupied and not _holds_scan(out):
            raise UsageError(
                f"{printable(str(out))} is not empty and holds no scan", "give --out a new or an empty folder"
            )
        if occupied and restart:
            for folder in FOLDERS:
                if (out / folder).is_dir():
                    shutil.rmtree(out / folder)
            for name in (RESULTS, TABLE, RECORD, REPORT, PARAMETERS):  # the mark of a scan last
                (out / name).unlink(missing_ok=True)
    try:
        resumed = claim_folder(out, parameters, PARAMETERS, refuse_foreign=False)
    except ResumeError as error:
        raise ResumeError(error.message, f"{error.remedy}; --restart discards the earlier results") from None
    if resumed:
        _sweep(out)
    return resumed


def _sweep(out: Path) -> None:
    """Remove what a killed run had begun to write."""
    with writing(out):
        for folder in (out, *(out / name for name in FOLDERS)):
            for torn in folder.glob(".*.part") if folder == out else folder.rglob(".*.part"):
                torn.unlink(missing_ok=True)


def _holds_scan(out: Path) -> bool:
    try:
        return bool(json.loads((out / PARAMETERS).read_text(encoding="utf-8")).get("command") == COMMAND)
    except (OSError, ValueError, AttributeError):
        return False


def utc_now() -> str:
    """The time in UTC to the second: `2026-01-31T12:00:00Z`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def count_rows(rows: Sequence[Row]) -> dict[str, int]:
    """`files`, `analysed`, `failed`, and of the analysed those with an `indication`."""
    analysed = sum(row["status"] == "ok" for row in rows)
    indicated = sum(row["verdict"] == INDICATION for row in rows)
    return {"files": len(rows), "analysed": analysed, "indication": indicated, "failed": len(rows) - analysed}


def past_sessions(out: Path) -> list[dict[str, Any]]:
    """The sessions `run.json` tells of; none when there is no such file yet."""
    try:
        return list(json.loads((out / RECORD).read_text(encoding="utf-8"))["sessions"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_record(
    out: Path, plan: Plan, localizer: Localizer, threshold: float, rows: Sequence[Row], sessions: list[dict[str, Any]]
) -> None:
    """Write `run.json`.

    Args:
        sessions: a dict for each time the command ran, cut runs included (their `finished` stays None).
    """
    header = localizer.header
    record = {
        "tool": "imltool",
        "tool_version": __version__,
        "libraries": installed_versions(),
        "platform": platform.platform(),
        "model": {
            "name": header.name,
            "sha256": localizer.sha256,
            "file": readable(localizer.path.name) if localizer.path else None,
            "input_size": header.input_size,
            "pixel_threshold": header.pixel_threshold,
            "score_threshold": header.score_threshold,
            "score_fpr": header.score_fpr,
            "score_authentic": header.score_authentic,
            "tool_version": header.tool_version,
        },
        "parameters": parameters(plan, localizer, threshold),
        "inputs": [{"given": root.given, "path": readable(str(root.path)), "label": root.label} for root in plan.roots],
        "skipped": [readable(str(folder)) for folder in plan.skipped],
        "counts": count_rows(rows),
        "sessions": sessions,
    }
    write_text(out / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_record(out: Path) -> dict[str, Any]:
    """What `write_record` wrote last. Raises OSError or ValueError when it is missing or damaged."""
    return dict(json.loads((out / RECORD).read_text(encoding="utf-8")))


def write_table(out: Path, rows: Sequence[Row]) -> None:
    """Write `results.csv`: a row's own values, then those of `CONTEXT_COLUMNS`, `software` and `remarks`.

    Regions are counted, lists joined, what a file does not have is empty. A text that a spreadsheet would take for a
    formula gets `'` in front; a path gets `./`, which names the same file.
    """
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(buffer, (*COLUMNS, *CONTEXT_COLUMNS, "software", "remarks"), lineterminator="\n")
    table.writeheader()
    for row in rows:
        context = row["context"] or {}
        cells = {
            **{name: row[name] for name in COLUMNS},
            "regions": len(row["regions"]),
            **{name: look_up(context, where) for name, where in CONTEXT_COLUMNS.items()},
            "software": " | ".join(dict.fromkeys(trace["text"] for trace in context.get("software", []))),
            "remarks": " | ".join(remark["text"] for remark in row["remarks"]),
        }
        table.writerow({name: _cell(value, "./" if name == "path" else "'") for name, value in cells.items()})
    write_text(out / TABLE, buffer.getvalue())


def _cell(value: Any, guard: str) -> Any:
    """A value that no spreadsheet runs."""
    return guard + value if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
