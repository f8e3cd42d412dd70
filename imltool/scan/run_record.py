"""The output folder of a scan: whose it is, what ran, and the results as tables."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imltool.errors import ResumeError
from imltool.evidence.remarks import look_up
from imltool.files import sha256_file, sha256_text, write_text, writing
from imltool.journal import PARAMETERS, dump_json, holds_run, output_folder
from imltool.scan.chain import ChainedJournal
from imltool.scan.inputs import Plan
from imltool.scan.verdicts import INCONCLUSIVE, INDICATION
from imltool.texts import readable
from imltool.versions import __version__, installed_versions

if TYPE_CHECKING:  # whoever only reads a record waits for no network
    from imltool.inference.localizer import Localizer
    from imltool.scan.pipeline import Row
    from imltool.scan.settings import ScanSettings

COMMAND = "scan"
RESULTS = "results.jsonl"
TABLE = "results.csv"
ERRORS = "errors.csv"
RECORD = "run.json"
REPORT = "report.html"
PDF = "report.pdf"
COCO = "masks.coco.json"
FOLDERS = ("maps", "masks", "overlays", "companions")
WRITTEN = (*FOLDERS, RESULTS, TABLE, ERRORS, RECORD, REPORT, PDF, COCO)
"""What a scan writes beside its parameters."""
CASE = ("id", "examiner", "notes")
COLUMNS = (
    "path", "sha256", "size_bytes", "status", "reason", "width", "height", "score", "verdict", "verdict_reason",
    "tampered_area", "regions", "map", "mask", "overlay",
)  # fmt: skip
ERROR_COLUMNS = ("path", "sha256", "size_bytes", "reason")
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
ROW_FORMAT = 3
"""Rows of another format are not mixed with these: 2 added `context` and `remarks`, 3 the hashes that chain rows."""


def parameters(plan: Plan, localizer: Localizer, settings: ScanSettings) -> dict[str, Any]:
    """What a run must share with an earlier one to go on with its results."""
    return {
        "command": COMMAND,
        "engine": localizer.network.engine,
        "compute": localizer.network.compute,
        "companions": sorted(settings.companions),
        "inputs": [root.address for root in plan.roots],
        "model_sha256": localizer.sha256,
        "row_format": ROW_FORMAT,
        "sensitivity": settings.verdicts.sensitivity,
        "stability": settings.stability,
        "threshold": settings.threshold,
        "tiles": settings.tiles,
        "tool_version": __version__,
    }


def holds_scan(out: Path) -> bool:
    """Whether `out` holds an earlier scan; False when it is new or empty. Raises `UsageError` as `holds_run` does."""
    return holds_run(out, PARAMETERS, COMMAND, COMMAND)


@contextmanager
def claimed(out: Path, parameters: dict[str, Any], restart: bool = False) -> Iterator[None]:
    """Make `out` the folder of a scan with `parameters`, and keep other scans out of it meanwhile.

    With `restart` what an earlier scan wrote there is removed, and nothing else.

    Raises `UsageError` when `out` holds files but no scan, so that results never mix with evidence, or when another
    scan is writing into it, and `ResumeError` when it holds a scan with other parameters.
    """
    with output_folder(out, parameters, PARAMETERS, COMMAND, written=WRITTEN, restart=restart):
        yield


def utc_now() -> str:
    """The time in UTC to the second: `2026-01-31T12:00:00Z`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def count_rows(rows: Sequence[Row]) -> dict[str, int]:
    """`files`, `analysed`, `failed`, and of the analysed those with an `indication` and the `inconclusive`."""
    analysed = sum(row["status"] == "ok" for row in rows)
    return {
        "files": len(rows),
        "analysed": analysed,
        "indication": sum(row["verdict"] == INDICATION for row in rows),
        "inconclusive": sum(row["verdict"] == INCONCLUSIVE for row in rows),
        "failed": len(rows) - analysed,
    }


def write_record(
    out: Path,
    plan: Plan,
    localizer: Localizer,
    settings: ScanSettings,
    journal: ChainedJournal,
    case: Mapping[str, str | None],
    sessions: list[dict[str, Any]],
) -> None:
    """Write `run.json`.

    Args:
        case: values of `CASE` that were told, None for the others.
        sessions: a dict for each time the command ran, cut runs included (their `finished` stays None).
    """
    header = localizer.header
    verdicts = settings.verdicts.describe()
    if settings.tiles:
        verdicts["notes"].append("Rates were measured without tiles; pictures over 800 pixels were seen in tiles too.")
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
            "engine": localizer.engine,
            "compute": localizer.network.compute,
            "pixel_threshold": header.pixel_threshold,
            "score_threshold": header.score_threshold,
            "score_fpr": header.score_fpr,
            "score_authentic": header.score_authentic,
            "tool_version": header.tool_version,
        },
        "verdicts": verdicts,
        "parameters": parameters(plan, localizer, settings),
        "inputs": [{"given": root.given, "path": readable(str(root.path)), "label": root.label} for root in plan.roots],
        "skipped": [readable(str(folder)) for folder in plan.skipped],
        "counts": count_rows(journal.rows),
        "case": {name: case.get(name) for name in CASE},
        "chain": {"rows": len(journal.rows), "head": journal.head},
        "reports_sha256": {},
        "sessions": sessions,
    }
    _write_sealed(out, record)


def seal_reports(out: Path, *names: str) -> dict[str, Any]:
    """Note the hashes of reports that were made from `run.json` in it, and give what it holds. Raises `OutputError`."""
    record = read_record(out)
    with writing(out / RECORD):
        record["reports_sha256"] = {name: sha256_file(out / name) for name in names}
    _write_sealed(out, record)
    return record


def _write_sealed(out: Path, record: dict[str, Any]) -> None:
    record["seal"] = _seal(record)
    write_text(out / RECORD, record_text(record))


def record_text(record: Mapping[str, Any]) -> str:
    """The text of `run.json`; the same values always give the same text."""
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _seal(record: Mapping[str, Any]) -> str:
    return sha256_text(dump_json({name: value for name, value in record.items() if name != "seal"}))


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether `seal` is the SHA-256 of all else that `run.json` holds, as one line of JSON with sorted keys."""
    try:
        return record.get("seal") == _seal(record)
    except (ValueError, RecursionError):  # what was never written: no numbers, lists without end
        return False


def read_record(out: Path) -> dict[str, Any]:
    """What `run.json` holds; empty when there is none. Raises `ResumeError` when it is not what was sealed."""
    path = out / RECORD
    if not path.exists():
        return {}
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        record = {}
    if not is_sealed(record):
        raise ResumeError(
            f"{path} was changed since it was written",
            "imltool verify tells more; --restart discards the earlier results",
        )
    return record


def table_text(rows: Iterable[Row]) -> str:
    """The text of `results.csv`: a row's own values, then those of `CONTEXT_COLUMNS`, `software` and `remarks`.

    Regions are counted, lists joined, what a file does not have is empty. A text that a spreadsheet would take for a
    formula gets `'` in front; a path gets `./`, which names the same file.
    """
    return _csv((*COLUMNS, *CONTEXT_COLUMNS, "software", "remarks"), map(_table_cells, rows))


def _table_cells(row: Row) -> dict[str, Any]:
    context = row["context"] or {}
    return {
        **{name: row[name] for name in COLUMNS},
        "regions": len(row["regions"]),
        **{name: look_up(context, where) for name, where in CONTEXT_COLUMNS.items()},
        "software": " | ".join(dict.fromkeys(trace["text"] for trace in context.get("software", []))),
        "remarks": " | ".join(remark["text"] for remark in row["remarks"]),
    }


def errors_text(rows: Iterable[Row]) -> str:
    """The text of `errors.csv`: the files that could not be analysed and why, with the cells of `results.csv`."""
    failed = (row for row in rows if row["status"] != "ok")
    return _csv(ERROR_COLUMNS, ({name: row[name] for name in ERROR_COLUMNS} for row in failed))


TABLES: dict[str, Callable[[Iterable[Row]], str]] = {TABLE: table_text, ERRORS: errors_text}
"""What is made of the rows when a scan has ended: name of the file → its text."""


def _csv(columns: Sequence[str], lines: Iterable[dict[str, Any]]) -> str:
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(buffer, columns, lineterminator="\n")
    table.writeheader()
    for cells in lines:
        table.writerow({name: _cell(value, "./" if name == "path" else "'") for name, value in cells.items()})
    return buffer.getvalue()


def _cell(value: Any, guard: str) -> Any:
    """A value that no spreadsheet runs."""
    return guard + value if isinstance(value, str) and value[:1] in tuple("=+-@\t\r\n") else value
