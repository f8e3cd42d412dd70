"""The output folder of a scan: which scan it belongs to, and `run.json`, the record of that scan."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imltool.errors import ResumeError
from imltool.files import sha256_file, sha256_text, write_text, writing
from imltool.journal import PARAMETERS, dump_json, holds_run, output_folder
from imltool.scan.inputs import Plan
from imltool.scan.results import RESULTS, ScanResult
from imltool.scan.selection import Selection
from imltool.scan.tables import ERRORS, TABLE
from imltool.scan.verdicts import INCONCLUSIVE, INDICATION
from imltool.texts import readable
from imltool.versions import __version__, installed_versions

if TYPE_CHECKING:  # so that reading a record alone loads no network
    from imltool.inference.localizer import Localizer
    from imltool.scan.settings import ScanSettings

COMMAND = "scan"
RECORD = "run.json"
REPORT = "report.html"
PDF = "report.pdf"
COCO = "masks.coco.json"
FOLDERS = ("maps", "masks", "overlays", "previews", "companions")
WRITTEN = (*FOLDERS, RESULTS, TABLE, ERRORS, RECORD, REPORT, PDF, COCO)
"""Files and folders that a scan writes besides its parameters."""
SECTIONS = ("model", "verdicts", "parameters", "inputs", "counts", "case", "chain", "sessions")
"""Keys that `run.json` must have."""
CASE = ("id", "examiner", "notes")
ROW_FORMAT = 1
"""Format of the rows; those of another format are never mixed with these."""


def parameters(plan: Plan, localizer: Localizer, settings: ScanSettings) -> dict[str, Any]:
    """The parameters that must match to resume an earlier run."""
    return {
        "command": COMMAND,
        "engine": localizer.network.engine,
        "precision": localizer.network.compute,
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


def count_kept(out: Path) -> int:
    """The number of rows in `out`, which a resumed scan yields first."""
    path = out / RESULTS
    with writing(path):
        return path.read_bytes().count(b"\n") if path.is_file() else 0


@contextmanager
def claimed(out: Path, parameters: dict[str, Any], restart: bool = False) -> Iterator[None]:
    """Make `out` the folder of a scan with `parameters`, and lock it against other scans while the block runs.

    With `restart`, the files that an earlier scan wrote there are removed, and nothing else.

    Raises `UsageError` when `out` holds files but no scan, so that results never mix with evidence, or when another
    scan is writing into it, and `ResumeError` when it holds a scan with other parameters.
    """
    with output_folder(out, parameters, PARAMETERS, COMMAND, written=WRITTEN, restart=restart):
        yield


def count_results(results: Sequence[ScanResult]) -> dict[str, int]:
    """Counts of `files`, `analysed` and `failed`, and of analysed files with an `indication` or `inconclusive`."""
    analysed = sum(result.status == "ok" for result in results)
    return {
        "files": len(results),
        "analysed": analysed,
        "indication": sum(result.verdict == INDICATION for result in results),
        "inconclusive": sum(result.verdict == INCONCLUSIVE for result in results),
        "failed": len(results) - analysed,
    }


def write_record(
    out: Path,
    plan: Plan,
    localizer: Localizer,
    settings: ScanSettings,
    results: Sequence[ScanResult],
    head: str,
    case: Mapping[str, str | None],
    sessions: list[dict[str, Any]],
) -> None:
    """Write `run.json`.

    Args:
        results: the results on disk.
        head: hash of the last row.
        case: values of `CASE` that were given, None for the others.
        sessions: a dict for each run of the command, unfinished ones included (their `finished` stays None).
    """
    header = localizer.header
    verdicts = settings.verdicts.describe()
    if settings.tiles:
        verdicts["notes"].append(
            "Rates were measured without tiles; pictures over 800 pixels were also scanned in tiles."
        )
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
            "input": header.architecture.describe_input(),
            "engine": localizer.engine,
            "precision": localizer.network.compute,
            "pixel_threshold": header.pixel_threshold,
            "score_threshold": header.score_threshold,
            "score_fpr": header.score_fpr,
            "score_authentic": header.score_authentic,
            "authentic_scores": header.authentic_scores,
            "reliability": [part.model_dump() for part in header.reliability],
            "traces": list(header.architecture.traces),
            "tool_version": header.tool_version,
        },
        "verdicts": verdicts,
        "parameters": parameters(plan, localizer, settings),
        "inputs": [{"given": root.given, "path": readable(str(root.path)), "label": root.label} for root in plan.roots],
        "skipped": [readable(str(folder)) for folder in plan.skipped],
        "passed_over": {each.kind: each.count for each in plan.passed_over},
        "counts": count_results(results),
        "case": {name: case.get(name) for name in CASE},
        "chain": {"rows": len(results), "head": head},
        "reports_sha256": {},
        "reports_show": Selection().describe(),
        "sessions": sessions,
    }
    _write(out, record)


def note_reports(out: Path, names: Sequence[str], selection: Selection) -> dict[str, Any]:
    """Add the hashes of reports made from `run.json` to it, and what they show; return its content.

    Raises `OutputError`.
    """
    record = read_record(out)
    with writing(out / RECORD):
        record["reports_sha256"] = {name: sha256_file(out / name) for name in names}
    record["reports_show"] = selection.describe()
    _write(out, record)
    return record


def _write(out: Path, record: dict[str, Any]) -> None:
    record["self_sha256"] = _self_sha256(record)
    write_text(out / RECORD, record_text(record))


def record_text(record: Mapping[str, Any]) -> str:
    """The text of `run.json`; equal values give equal texts."""
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _self_sha256(record: Mapping[str, Any]) -> str:
    return sha256_text(dump_json({name: value for name, value in record.items() if name != "self_sha256"}))


def checksum_ok(record: Mapping[str, Any]) -> bool:
    """Whether `self_sha256` is the SHA-256 of all other values of `run.json`, as one line of JSON with sorted keys.

    Anyone can compute it again: it reveals damage and edits by hand, but no forgery.
    """
    try:
        return record.get("self_sha256") == _self_sha256(record)
    except (ValueError, RecursionError):  # values that are never written: NaN, lists nested without end
        return False


def read_record(out: Path) -> dict[str, Any]:
    """The content of `run.json`; empty when there is none.

    Raises `ResumeError` when its checksum is wrong, or when another version wrote it in another form.
    """
    path = out / RECORD
    if not path.exists():
        return {}
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        record = {}
    if not checksum_ok(record):
        raise ResumeError(
            f"{path} was changed since it was written",
            "imltool verify says more; --restart discards the earlier results",
        )
    if missing := [name for name in SECTIONS if name not in record]:
        raise ResumeError(
            f"{path} has no {', '.join(missing)}: another version of imltool wrote it",
            "use the version that it names under tool_version, or scan again",
        )
    return record
