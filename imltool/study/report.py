"""The files of a study: results.json, table.md, table.csv, per_image.csv, report.html (and plot.png)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from imltool.evaluation.results import METRICS
from imltool.files import write_text
from imltool.study.results import (
    IMAGE_METRICS,
    ROLES,
    SET_METRICS,
    LabelQuality,
    Measurement,
    RowInfo,
    RowMetric,
    RowResult,
    StudyResults,
    Summary,
)
from imltool.study.settings import StudySettings
from imltool.tables import Table, csv_text, number
from imltool.templates import environment
from imltool.versions import installed_versions, versions_text

RESULTS_NAME = "results.json"
TABLE_NAME = "table.md"
CSV_NAME = "table.csv"
IMAGES_NAME = "per_image.csv"
PLOT_NAME = "plot.png"
PAGE_NAME = "report.html"

SHOWN = ("pixel_f1", "pixel_f1_calibrated", "pixel_f1_oracle", "pixel_auc", "image_auc", "fp_area")
HEADINGS = {key: METRICS[key].heading for key in SHOWN}
COMPARED = ("pixel_f1", "pixel_f1_calibrated")
"""Metrics with a paired difference in table.md; table.csv has those of all `IMAGE_METRICS`."""
CSV_COLUMNS = (
    *("set", "role", "row", "seeds", "metric", "mean", "low", "high"),
    *("reference", "difference", "difference_low", "difference_high", "n_tampered", "n_authentic"),
)


def study_results(
    settings: StudySettings,
    measurements: Sequence[Measurement],
    qualities: Mapping[str, LabelQuality | None],
    command: str,
    sets: Sequence[str],
) -> StudyResults:
    """The study's settings, and the metrics of everything measured so far.

    Args:
        sets: names of the test sets that belong to a complete study.
    """
    summary = Summary(settings, measurements)
    wanted = {(row.name, seed) for row in settings.rows for seed in settings.seeds}
    asked = dict.fromkeys([*sets, *summary.sets])
    done = [{(line.row, line.seed) for line in measurements if line.set == name} for name in asked]
    measured = summary.by_set()
    return StudyResults(
        study=settings.study,
        complete=bool(done) and all(wanted <= found for found in done),
        checkpoint=settings.checkpoint,
        seeds=list(settings.seeds),
        rows={
            row.name: RowInfo(
                overrides=list(row.overrides),
                labels=row.labels.model_dump(mode="json") if row.labels else None,
                label_quality=qualities.get(row.name),
            )
            for row in settings.rows
        },
        sets=measured,
        roles=summary.by_role(measured),
        command=command,
        versions=installed_versions(),
    )


def write_report(out: Path, results: StudyResults, measurements: Sequence[Measurement]) -> None:
    """Write the tables, each file atomically; results.json comes last. Raises `OutputError`."""
    table = main_table(results)
    lines = [f"# {table.title}", "", *table.markdown(), "", *notes(results), "", f"Command: `{results.command}`", ""]
    write_text(out / TABLE_NAME, "\n".join(lines))
    write_text(out / CSV_NAME, csv_text(CSV_COLUMNS, _csv_rows(results)))
    columns = ("row", "seed", "set", "image", "tampered", *IMAGE_METRICS)
    write_text(out / IMAGES_NAME, csv_text(columns, _image_rows(measurements)))
    write_text(out / RESULTS_NAME, results.text() + "\n")


def write_page(out: Path, results: StudyResults, plots: Sequence[tuple[str, str]]) -> None:
    """Write report.html, one file that opens offline. Atomic; raises `OutputError`.

    Args:
        plots: (title, data URI).
    """
    changes = [[name, ", ".join(row.overrides) or "none", _label_text(row)] for name, row in results.rows.items()]
    page = (
        environment("imltool.study", "imltool.evaluation")
        .get_template("study.html.j2")
        .render(
            table=main_table(results),
            changes=Table("Rows", ["row", "changes", "labels"], changes, 3),
            notes=notes(results),
            plots=plots,
            reproduction=[
                ("Command", results.command),
                ("Versions", versions_text(results.versions)),
            ],
        )
    )
    write_text(out / PAGE_NAME, page)


def _label_text(row: RowInfo) -> str:
    if row.labels is None:
        return "as configured"
    jitter = row.labels["jitter"]
    boxes = "its boxes" if jitter is None else f"boxes {jitter:.0%} too far out on every side"
    return f"{row.labels['teacher']} from {boxes}"


def blocks(results: StudyResults) -> Iterator[tuple[str, Mapping[str, RowResult]]]:
    """(heading, row → result) of every set, then of the means over sets of each role."""
    yield from results.sets.items()
    for role in ROLES:
        if role in results.roles:
            block = results.roles[role]
            yield f"mean of {len(block.sets)} {role.upper()} sets", block.rows


def seed_range(metric: RowMetric) -> str:
    """Lowest and highest of the seeds' means; `–` with fewer than two seeds."""
    known = [value for value in metric.seeds.values() if value is not None]
    return f"{min(known):.3f}–{max(known):.3f}" if len(known) > 1 else "–"


def main_table(results: StudyResults) -> Table:
    """Every row on every set, and the means over sets."""
    qualities = {name: row.label_quality for name, row in results.rows.items()}
    with_labels = any(qualities.values())
    heads = ["set", "role", "row", "seeds", *(["label IoU"] if with_labels else [])]
    for key, heading in HEADINGS.items():
        heads.append(f"{heading} [95 %]" if key in COMPARED else heading)
        if key in COMPARED:
            heads.append(f"Δ {heading} [95 %]")
    lines = []
    for name, rows in blocks(results):
        for row, found in rows.items():
            cells = [name, found.role.upper(), row, str(len(found.seeds))]
            if with_labels:
                quality = qualities[row]
                cells.append(number(quality.iou_mean if quality else None))
            for key in HEADINGS:
                metric = found.metric(key)
                cells.append(number(metric.mean, metric.interval if key in COMPARED else None))
                if key in COMPARED:
                    cells.append(number(metric.difference, metric.difference_interval, sign=True))
            lines.append([*cells, seed_range(found.pixel_f1)])
    return Table(f"Study: {results.study}", [*heads, "F1 of the seeds"], lines, 3)


def terminal_table(results: StudyResults) -> Table:
    """The columns of `main_table` that fit into a terminal."""
    heads = ["set", "role", "row", "seeds", "F1 [95 %]", "ΔF1 [95 %]", "F1 cal.", "AUC", "img AUC", "FP area"]
    others = ("pixel_f1_calibrated", "pixel_auc", "image_auc", "fp_area")
    lines = [
        [
            *(name, found.role.upper(), row, str(len(found.seeds))),
            number(found.pixel_f1.mean, found.pixel_f1.interval),
            number(found.pixel_f1.difference, found.pixel_f1.difference_interval, sign=True),
            *(number(found.metric(key).mean) for key in others),
        ]
        for name, rows in blocks(results)
        for row, found in rows.items()
    ]
    return Table(f"Study: {results.study}", heads, lines, 3)


def notes(results: StudyResults) -> list[str]:
    """Explanations of the table's numbers, one or more sentences per line."""
    found = [] if results.complete else ["**Not complete: rows, seeds or sets are missing.**"]
    references = {one.pixel_f1.reference for _, rows in blocks(results) for one in rows.values()} - {None}
    found.append(
        f"Measured on the {results.checkpoint} checkpoint of every run, with true masks. F1: tampered pictures, "
        "map strictly above 0.5 (calibrated: above the checkpoint's threshold), original resolution, averaged over "
        "pictures and seeds. In brackets: 95 % bootstrap interval over pictures and seeds, both drawn; one seed does "
        "not show the variation between seeds, and a few underestimate it. F1 oracle: at the single threshold best "
        "for the set, an upper bound that needs the truth."
    )
    if references:
        names = ", ".join(sorted(name for name in references if name))
        found.append(f"Δ: difference to {names} on the same pictures and seeds, paired bootstrap.")
    if any(row.label_quality for row in results.rows.values()):
        found.append("Label IoU: the pseudo-masks used in training against the true masks, mean over pictures.")
    return found


def _csv_rows(results: StudyResults) -> Iterator[dict[str, object]]:
    for name, rows in blocks(results):
        for row, found in rows.items():
            for key in (*IMAGE_METRICS, *SET_METRICS):
                metric = found.metric(key)
                low, high = metric.interval or (None, None)
                difference_low, difference_high = metric.difference_interval or (None, None)
                yield {
                    "set": name,
                    "role": found.role,
                    "row": row,
                    "seeds": len(found.seeds),
                    "metric": key,
                    "mean": metric.mean,
                    "low": low,
                    "high": high,
                    "reference": metric.reference,
                    "difference": metric.difference,
                    "difference_low": difference_low,
                    "difference_high": difference_high,
                    "n_tampered": found.n_tampered,
                    "n_authentic": found.n_authentic,
                }


def _image_rows(measurements: Iterable[Measurement]) -> Iterator[dict[str, object]]:
    for line in measurements:
        columns = line.images
        for index, name in enumerate(columns.name):
            yield {
                "row": line.row,
                "seed": line.seed,
                "set": line.set,
                "image": name,
                "tampered": int(columns.tampered[index]),
                **{key: getattr(columns, key)[index] for key in IMAGE_METRICS},
            }
