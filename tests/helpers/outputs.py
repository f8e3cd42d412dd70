"""Readers of the output files of commands."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imltool.files import sha256_text
from imltool.journal import dump_json
from imltool.scan.run_record import record_text

Row = dict[str, Any]


def parsed(lines: str | Iterable[str]) -> list[Row]:
    """Rows of JSON lines: a text, or its lines."""
    return [json.loads(line) for line in (lines.splitlines() if isinstance(lines, str) else lines)]


def lines_in(path: Path) -> list[Row]:
    """The rows of a file of JSON lines."""
    return parsed(path.read_text(encoding="utf-8"))


def rows_of(out: Path) -> list[Row]:
    """The rows of a scan, in its order."""
    return lines_in(out / "results.jsonl")


def rows_by_path(out: Path) -> dict[str, Row]:
    """Path → row of a scan; no path twice."""
    rows = rows_of(out)
    found = {row["path"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def record_of(out: Path) -> Row:
    """The record of a scan, run.json."""
    return dict(json.loads((out / "run.json").read_text(encoding="utf-8")))


def write_record(out: Path, record: Row) -> None:
    """Write run.json with its checksum."""
    values = {name: value for name, value in record.items() if name != "self_sha256"}
    text = record_text(values | {"self_sha256": sha256_text(dump_json(values))})
    (out / "run.json").write_text(text, encoding="utf-8")


def interrupt(out: Path, kept: int) -> None:
    """Make a finished scan one that was killed after `kept` rows; run.json is then that of its beginning."""
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:kept]))
    record = record_of(out)
    session = record["sessions"][0] | {"finished": None, "made": 0}
    start = {"rows": 0, "head": json.loads(lines[0])["previous_sha256"]}
    write_record(out, record | {"chain": start, "sessions": [session]})


def contents(out: Path) -> dict[str, bytes]:
    """All files of a scan except those with times."""
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in ("run.json", "report.html")}


def pseudo_rows(out: Path) -> list[Row]:
    """The rows of `imltool pseudo`, in its order."""
    return lines_in(out / "pseudo.jsonl")


def log_of(run: Path, event: str | None = None) -> list[Row]:
    """The rows of a training run's log, or those of one kind."""
    return [row for row in lines_in(run / "log.jsonl") if event in (None, row["event"])]


def results_in(out: Path) -> Row:
    """The content of results.json."""
    return dict(json.loads((out / "results.json").read_text(encoding="utf-8")))


def method_in(out: Path, label: str) -> Row:
    """One method of results.json."""
    (found,) = [one for one in results_in(out)["methods"] if one["label"] == label]
    return dict(found)


def sets_in(out: Path, label: str) -> Row:
    """Set → metrics of one method."""
    return dict(method_in(out, label)["sets"])


def csv_in(out: Path, name: str = "per_image.csv") -> list[dict[str, str]]:
    """The rows of a table, per_image.csv if no other is named."""
    with (out / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
