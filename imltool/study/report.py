"""What a study leaves to read: results.json, table.md, table.csv, per_image.csv and plot.png."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imltool.files import write_text
from imltool.study.results import IMAGE_FIGURES, ROLES, SET_FIGURES, Results
from imltool.study.settings import StudySettings
from imltool.versions import installed_versions

RESULTS_NAME = "results.json"
TABLE_NAME = "table.md"
CSV_NAME = "table.csv"
IMAGES_NAME = "per_image.csv"
PLOT_NAME = "plot.png"

HEADINGS = {
    "pixel_f1": "F1",
    "pixel_f1_calibrated": "F1 calibrated",
    "pixel_f1_oracle": "F1 oracle",
    "pixel_auc": "AUC",
    "image_auc": "image AUC",
    "fp_area": "FP area",
}
COMPARED = ("pixel_f1", "pixel_f1_calibrated")
"""Figures whose paired difference stands in table.md; table.csv has those of all `IMAGE_FIGURES`."""
CSV_COLUMNS = (
    *("set", "role", "row", "seeds", "figure", "mean", "low", "high"),
    *("against", "difference", "difference_low", "difference_high", "n_tampered", "n_authentic"),
)


def study_results(
    settings: StudySettings,
    measurements: Sequence[Mapping[str, Any]],
    qualities: Mapping[str, dict[str, Any] | None],
    command: str,
) -> dict[str, Any]:
    """The content of results.json: what was asked for, the figures (see `Results.as_json`), command and versions.

    `complete` is true when every row and seed is measured on every set.
    """
    results = Results(settings, [dict(line) for line in measurements])
    wanted = {(row.name, seed) for row in settings.rows for seed in settings.seeds}
    done = {
        name: {(line["row"], line["seed"]) for line in measurements if line["set"] == name} for name in results.sets
    }
    return {
        "study": settings.study,
        "complete": bool(done) and all(wanted <= found for found in done.values()),
        "checkpoint": settings.checkpoint,
        "seeds": list(settings.seeds),
        "rows": {
            row.name: {
                "overrides": list(row.overrides),
                "labels": row.labels.model_dump(mode="json") if row.labels else None,
                "label_quality": qualities.get(row.name),
            }
            for row in settings.rows
        },
        **results.as_json(),
        "command": command,
        "versions": installed_versions(),
    }


def write_report(out: Path, results: Mapping[str, Any], measurements: Sequence[Mapping[str, Any]]) -> None:
    """Write all but the plot, each file atomically; results.json comes last. Raises `OutputError`."""
    write_text(out / TABLE_NAME, markdown_table(results))
    _write_csv(out / CSV_NAME, CSV_COLUMNS, _csv_rows(results))
    _write_csv(
        out / IMAGES_NAME, ("row", "seed", "set", "image", "tampered", *IMAGE_FIGURES), _image_rows(measurements)
    )
    write_text(out / RESULTS_NAME, results_text(results) + "\n")


def results_text(results: Mapping[str, Any]) -> str:
    """The content of results.json; NaN never gets in (ValueError)."""
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)


def blocks(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(heading, row → figures) of every set, then of the means over sets of one role."""
    yield from results["sets"].items()
    for role in ROLES:
        if role in results["roles"]:
            block = results["roles"][role]
            yield f"mean of {len(block['sets'])} {role.upper()} sets", block["rows"]


def number(value: float | None, limits: Sequence[float] | None = None, sign: bool = False) -> str:
    """A figure with three decimals, its interval in brackets; `–` where it does not exist."""
    if value is None:
        return "–"
    form = "{:+.3f}" if sign else "{:.3f}"
    text = form.format(value)
    return f"{text} [{', '.join(form.format(limit) for limit in limits)}]" if limits else text


def seed_range(figure: Mapping[str, Any]) -> str:
    """Lowest and highest mean of a seed; `–` with fewer than two seeds."""
    known = [value for value in figure["seeds"].values() if value is not None]
    return f"{min(known):.3f}–{max(known):.3f}" if len(known) > 1 else "–"


def markdown_table(results: Mapping[str, Any]) -> str:
    """The table for people, with the definitions below it."""
    qualities = {name: row["label_quality"] for name, row in results["rows"].items()}
    with_labels = any(qualities.values())
    heads = ["set", "role", "row", "seeds", *(["label IoU"] if with_labels else [])]
    left = 3
    for key, heading in HEADINGS.items():
        heads.append(f"{heading} [95 %]" if key in COMPARED else heading)
        if key in COMPARED:
            heads.append(f"Δ {heading} [95 %]")
    heads.append("F1 of the seeds")
    lines = [f"# Study: {results['study']}", ""]
    lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * left + "---:|" * (len(heads) - left)]
    for name, rows in blocks(results):
        for row, figures in rows.items():
            cells = [name.replace("|", r"\|"), figures["role"].upper(), row, str(len(figures["seeds"]))]
            if with_labels:
                quality = qualities[row]
                cells.append(number(quality["iou_mean"] if quality else None))
            for key in HEADINGS:
                figure = figures[key]
                cells.append(number(figure["mean"], figure["interval"] if key in COMPARED else None))
                if key in COMPARED:
                    cells.append(number(figure["difference"], figure["difference_interval"], sign=True))
            lines.append("| " + " | ".join([*cells, seed_range(figures["pixel_f1"])]) + " |")
    return "\n".join([*lines, "", *_notes(results), "", f"Command: `{results['command']}`", ""])


def _notes(results: Mapping[str, Any]) -> list[str]:
    notes = [] if results["complete"] else ["**Not complete: rows, seeds or sets are missing.**"]
    against = {figures["pixel_f1"]["against"] for _, rows in blocks(results) for figures in rows.values()} - {None}
    notes.append(
        f"Measured on the {results['checkpoint']} checkpoint of every run, with true masks. F1: tampered pictures, "
        "map strictly above 0.5 (calibrated: above the checkpoint's threshold), original resolution, averaged over "
        "pictures and seeds. In brackets: 95 % bootstrap interval over pictures and seeds, both drawn; one seed tells "
        "nothing of how far another would differ, a few tell less than there is. F1 oracle: at the one threshold best "
        "for the set, an upper bound that needs the truth."
    )
    if against:
        notes.append(f"Δ: minus {', '.join(sorted(against))}, the same pictures and seeds, paired bootstrap.")
    if any(row["label_quality"] for row in results["rows"].values()):
        notes.append("Label IoU: the pseudo-masks trained on against the true masks, mean over pictures.")
    return notes


def _csv_rows(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, rows in blocks(results):
        for row, figures in rows.items():
            for key in (*IMAGE_FIGURES, *SET_FIGURES):
                figure = figures[key]
                low, high = figure.get("interval") or (None, None)
                difference_low, difference_high = figure.get("difference_interval") or (None, None)
                yield {
                    "set": name,
                    "role": figures["role"],
                    "row": row,
                    "seeds": len(figures["seeds"]),
                    "figure": key,
                    "mean": figure["mean"],
                    "low": low,
                    "high": high,
                    "against": figure.get("against"),
                    "difference": figure.get("difference"),
                    "difference_low": difference_low,
                    "difference_high": difference_high,
                    "n_tampered": figures["n_tampered"],
                    "n_authentic": figures["n_authentic"],
                }


def _image_rows(measurements: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for line in measurements:
        images = line["images"]
        for index, name in enumerate(images["name"]):
            yield {
                **{key: line[key] for key in ("row", "seed", "set")},
                "image": name,
                "tampered": int(images["tampered"][index]),
                **{key: images[key][index] for key in IMAGE_FIGURES},
            }


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None becomes an empty cell
    write_text(path, text.getvalue())
