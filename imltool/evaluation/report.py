"""Evaluation results as files: `results.json`, `per_image.csv`, `table.md`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imltool.evaluation import metrics
from imltool.evaluation.runner import ImageRow
from imltool.files import write_text

STUDENT = "student"
"""Name of the checkpoint's rows next to the baselines'."""

COLUMNS = (
    ("F1", "pixel_f1"),
    ("F1 cal.", "pixel_f1_calibrated"),
    ("F1 pooled", "pixel_f1_pooled"),
    ("IoU", "pixel_iou"),
    ("MCC", "pixel_mcc"),
    ("AUC", "pixel_auc"),
    ("AP", "pixel_ap"),
    ("image AUC", "image_auc"),
    ("FPR", "image_fpr"),
    ("TPR", "image_tpr"),
    ("FP area", "fp_area"),
)
"""Heading and key of each figure in the tables."""

HEADINGS = ("method", "set", "role", "tampered", "authentic", "failed", *(heading for heading, _ in COLUMNS))

COUNTS = ("tp", "fp", "fn", "tn")
CSV_COLUMNS = (
    *("method", "set", "name", "tampered", "status", "reason", "sha256", "seen", "width", "height"),
    *COUNTS,
    *(f"{name}_calibrated" for name in COUNTS),
    *("f1", "f1_calibrated", "iou", "mcc", "precision", "recall", "auc", "ap", "fp_area", "score"),
)


def table_rows(results: dict[str, Any]) -> list[list[str]]:
    """The table as text, one row a method and set, columns as `HEADINGS`; "–" where a figure does not exist."""
    methods = {STUDENT: results, **results["baselines"]}
    rows: list[list[str]] = []
    for method, part in methods.items():
        for name, figures in part["sets"].items():
            numbers = [str(figures[key]) for key in ("n_tampered", "n_authentic", "n_failed")]
            rows.append([method, name, figures["role"], *numbers, *(_cell(figures[key]) for _, key in COLUMNS)])
    return rows


def mean_rows(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(method, role, mean pixel F1) for every mean that exists."""
    methods = {STUDENT: results, **results["baselines"]}
    return [
        (method, role, _cell(values["pixel_f1"]))
        for method, part in methods.items()
        for role, values in part["mean"].items()
        if values["pixel_f1"] is not None
    ]


def markdown(results: dict[str, Any]) -> str:
    """The table in Markdown, with the 95 % interval of F1 and what the figures mean below."""
    lines = [_line(HEADINGS), _line(["---"] * 3 + ["---:"] * (len(HEADINGS) - 3))]
    lines += [_line(row) for row in table_rows(results)]
    lines += ["", *(f"- mean F1 of {method} over {role} sets: {value}" for method, role, value in mean_rows(results))]
    for method, part in {STUDENT: results, **results["baselines"]}.items():
        for name, figures in part["sets"].items():
            if figures["pixel_f1_ci"]:
                low, high = figures["pixel_f1_ci"]
                lines.append(f"- F1 of {method} on {name}: 95 % interval {low:.3f} to {high:.3f}")
    lines += ["", *(f"- {key}: {meaning}" for key, meaning in results["protocol"].items())]
    lines += ["", f"`{results['command']}`", ""]
    return "\n".join(lines)


def csv_row(method: str, set_name: str, row: ImageRow, sha256: str, seen: bool) -> dict[str, Any]:
    """One line of `per_image.csv`: the counts and the metrics that follow from them; empty where there is none."""
    values: dict[str, Any] = dict.fromkeys(CSV_COLUMNS, "")
    values |= {"method": method, "set": set_name, "name": row.name, "tampered": int(row.tampered), "sha256": sha256}
    values |= {"status": "ok" if row.ok else "failed", "reason": row.reason, "seen": int(seen)}
    if not row.ok:
        return values
    tp, fp, fn, tn = row.counts
    values |= {"width": row.width, "height": row.height, "score": _digits(row.score)}
    values |= dict(zip(COUNTS, row.counts, strict=True))
    values |= {f"{name}_calibrated": count for name, count in zip(COUNTS, row.calibrated, strict=True)}
    if not row.tampered:
        return values | {"fp_area": _digits(float(metrics.fp_area(fp, tn)))}
    return values | {
        "f1": _digits(float(metrics.f1(tp, fp, fn))),
        "f1_calibrated": _digits(float(metrics.f1(*row.calibrated[:3]))),
        "iou": _digits(float(metrics.iou(tp, fp, fn))),
        "mcc": _digits(float(metrics.mcc(tp, fp, fn, tn))),
        "precision": _digits(float(metrics.precision(tp, fp, fn))),
        "recall": _digits(float(metrics.recall(tp, fp, fn))),
        "auc": _digits(row.auc),
        "ap": _digits(row.ap),
    }


def write_results(out: Path, results: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Write the three files, each in one step. Raises `OutputError`."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "per_image.csv", buffer.getvalue())
    write_text(out / "table.md", markdown(results))
    write_text(out / "results.json", to_json(results))


def to_json(results: dict[str, Any]) -> str:
    """`results.json`'s text; keys in the order they were made. A NaN is a programming error (ValueError)."""
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
