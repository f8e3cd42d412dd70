"""What an evaluation leaves behind: `results.json`, `per_image.csv` and `table.md`.

The three are written again after every set, so that a kill or a later fault costs the set in work and no other.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imltool.evaluation import metrics
from imltool.evaluation.methods import Method
from imltool.evaluation.roles import Overlap
from imltool.evaluation.runner import CALIBRATED, HALF, ImageRow
from imltool.evaluation.sets import NamedSet
from imltool.evaluation.summary import mean_by_role, summarize_set
from imltool.evaluation.tables import markdown_table, table_rows
from imltool.files import write_text
from imltool.versions import installed_versions

if TYPE_CHECKING:
    from imltool.student.localizer import Localizer

RESULTS_NAME = "results.json"
CSV_NAME = "per_image.csv"
TABLE_NAME = "table.md"

CSV_COLUMNS = (
    *("method", "set", "role", "image", "tampered", "status", "reason", "width", "height", "score"),
    *("tp", "fp", "fn", "tn", "f1", "f1_calibrated", "iou", "mcc", "precision", "recall", "auc", "ap", "flagged_area"),
)


def describe_checkpoint(localizer: Localizer) -> dict[str, Any]:
    """The `checkpoint` block of `results.json`."""
    header = localizer.header
    return {
        "name": header.name,
        "path": str(localizer.path),
        "sha256": localizer.sha256,
        "threshold": header.pixel_threshold,
        "score_threshold": header.score_threshold,
        "input_size": header.input_size,
        "architecture": f"boxpromptiml-tinyvit-{header.architecture.backbone}",
        "architecture_settings": header.architecture.model_dump(mode="json"),
        "training_sets": [one.name for one in header.training_sets],
        "validation_sets": [one.name for one in header.validation_sets],
        "tool_version": header.tool_version,
    }


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else round(float(value), 6)


def csv_row(method: str, set_name: str, role: str, row: ImageRow) -> dict[str, Any]:
    """One line of `per_image.csv`; cells of figures that do not exist for the picture stay empty."""
    cells: dict[str, Any] = {
        "method": method,
        "set": set_name,
        "role": role,
        "image": row.name,
        "tampered": int(row.tampered),
        "status": "ok" if row.ok else "failed",
        "reason": row.reason,
    }
    if not row.ok:
        return cells
    half = row.counts[HALF]
    cells |= {"width": row.width, "height": row.height, "score": _number(row.score)}
    cells |= {"tp": int(half.tp), "fp": int(half.fp), "fn": int(half.fn), "tn": int(half.tn)}
    cells["flagged_area"] = _number(float(metrics.flagged_area(half)))
    if row.tampered:
        cells |= {"auc": _number(row.pixel_auc), "ap": _number(row.pixel_ap)}
        for name in ("f1", "iou", "mcc", "precision", "recall"):
            cells[name] = _number(float(getattr(metrics, name)(half)))
        if CALIBRATED in row.counts:
            cells["f1_calibrated"] = _number(float(metrics.f1(row.counts[CALIBRATED])))
    return cells


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `csv_row` rows, UTF-8. Atomic."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def results_text(results: Mapping[str, Any]) -> str:
    """The content of `results.json`; NaN never gets in (ValueError)."""
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)


class Report:
    """The results of an evaluation while it grows, and the three files in `out`.

    Attributes:
        results: the content of `results.json`.
        lines: the rows of `per_image.csv`.
    """

    def __init__(self, out: Path, localizer: Localizer | None, methods: Sequence[Method], command: str) -> None:
        nothing = mean_by_role({})
        self.out = out
        self.results: dict[str, Any] = {
            "checkpoint": describe_checkpoint(localizer) if localizer else None,
            "complete": False,
            "sets": {},
            "mean": nothing,
            "baselines": {
                one.baseline: {"sets": {}, "mean": nothing, "score_threshold": one.score_threshold}
                for one in methods
                if one.baseline
            },
            "command": command,
            "versions": installed_versions(),
        }
        self.lines: list[dict[str, Any]] = []

    def add(self, one: NamedSet, overlap: Overlap, method: Method, rows: Sequence[ImageRow], seed: int) -> None:
        """File the rows of one method on one set. Raises `DataError` when none of them was scored."""
        block = self.results["baselines"][method.baseline] if method.baseline else self.results
        summary = summarize_set(one.name, rows, overlap, score_threshold=method.score_threshold, seed=seed)
        block["sets"][one.name] = summary | {"list": one.list_file}
        block["mean"] = mean_by_role(block["sets"])
        self.lines += [csv_row(method.label, one.name, overlap.role, row) for row in rows]

    def has(self, one: NamedSet, method: Method) -> bool:
        """Whether this method is already measured on this set."""
        block = self.results["baselines"][method.baseline] if method.baseline else self.results
        return one.name in block["sets"]

    def resume(self) -> bool:
        """Take over the finished sets of an earlier run in `out` that was stopped; True when there are any.

        The caller makes sure that it had the same parameters. Results that cannot be read, or were made with other
        versions, are made again.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = json.loads((self.out / RESULTS_NAME).read_text(encoding="utf-8"))
            with (self.out / CSV_NAME).open(encoding="utf-8", newline="") as handle:
                lines = list(csv.DictReader(handle))
            if found["complete"] or found["versions"] != self.results["versions"]:
                return False
            if found["baselines"].keys() != self.results["baselines"].keys():
                return False
            results = self.results | {key: found[key] for key in ("sets", "mean", "baselines")}
            # the CSV is written first, so it may hold a set that results.json does not
            known = {(name, label) for name, label, _ in table_rows(results)}
            self.results = results
            self.lines = [line for line in lines if (line["set"], line["method"]) in known]
            return bool(known)
        return False

    def write(self, complete: bool = False) -> None:
        """Write the three files, each atomically."""
        self.results["complete"] = complete
        write_csv(self.out / CSV_NAME, self.lines)
        write_text(self.out / TABLE_NAME, markdown_table(self.results))
        write_text(self.out / RESULTS_NAME, results_text(self.results) + "\n")

    def failures(self) -> list[dict[str, Any]]:
        """The first line of every picture that some method could not score."""
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for line in self.lines:
            if line["status"] == "failed":
                first.setdefault((line["set"], line["image"]), line)
        return list(first.values())
