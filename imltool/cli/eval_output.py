"""What `imltool eval` prints: the table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from imltool.cli import common
from imltool.texts import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from imltool.evaluation.results import Results

UNBOUNDED = 10_000  # characters: wider than any table
COLUMNS = {
    "pixel_f1_calibrated": "F1 cal.",
    "pixel_f1_oracle": "F1 oracle",
    "pixel_iou": "IoU",
    "pixel_auc": "AUC",
    "image_auc": "img AUC",
    "image_balanced_accuracy": "img bal. acc.",
    "image_f1": "img F1",
    "image_tpr_at_5fpr": "img TPR@5",
    "image_fpr": "img FPR",
    "image_tpr": "img TPR",
    "fp_area": "FP area",
}
"""Metric → heading of its column; the headline metric has its own column."""
DROPPED_FIRST = (
    *("image_f1", "pixel_iou", "image_tpr_at_5fpr", "image_tpr", "image_fpr", "image_balanced_accuracy"),
    *("pixel_f1_calibrated", "pixel_f1_oracle", "pixel_auc", "image_auc", "fp_area"),
)
"""Columns that are left out on a narrow terminal, in this order."""


def show(results: Results, json_output: bool) -> None:
    """Print the table on stdout; with `json_output`, results.json on stdout and the table on stderr."""
    if json_output:
        typer.echo(results.text())
    _print_table(common.stderr if json_output else common.stdout, results)


def _print_table(console: Console, results: Results) -> None:
    """Print the whole table into a file or a pipe, which have no width; on a terminal as many columns as fit."""
    from rich.console import Console
    from rich.measure import Measurement

    table = _table(results, list(COLUMNS))
    # a console without a limit: `print(width=…)` cannot exceed the console's own width
    wide = Console(file=console.file, width=UNBOUNDED, quiet=console.quiet)
    if not console.is_terminal:
        wide.print(table)
        return
    columns = list(COLUMNS)
    for column in DROPPED_FIRST:
        if Measurement.get(wide, wide.options, table).maximum <= console.width:
            break
        columns.remove(column)
        table = _table(results, columns)
    console.print(table, soft_wrap=False)
    if len(columns) < len(COLUMNS):
        common.say("the terminal is too narrow for all columns, table.md has them")


def _table(results: Results, columns: list[str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from imltool.evaluation.tables import mean_rows, metric_text

    table = Table(box=box.SIMPLE_HEAD)
    for head in ("set", "role", "method"):
        table.add_column(head, overflow="fold")
    for head in ("images", "F1 [95 %]", *(COLUMNS[key] for key in columns)):
        table.add_column(head, justify="right")
    for name, method, found in results.rows():
        cells = [metric_text(found, "pixel_f1", interval=True), *(metric_text(found, key) for key in columns)]
        count = f"{found.n_tampered}+{found.n_authentic}"
        table.add_row(escape(name), found.role.upper(), escape(method.label), count, *cells)
    for position, (role, label, mean) in enumerate(mean_rows(results)):
        if position == 0:
            table.add_section()
        count = counted(len(mean.sets), "set")
        cells = [metric_text(mean, key) for key in ("pixel_f1", *columns)]
        table.add_row("mean", role.upper(), escape(label), count, *cells)
    return table
