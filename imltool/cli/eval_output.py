"""What `imltool eval` prints: the table for the terminal, and the command that makes the results again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from imltool.cli import common
from imltool.texts import command_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from imltool.evaluation.report import Report

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
"""Figure → heading, beside the headline."""
DROPPED_FIRST = (
    *("image_f1", "pixel_iou", "image_tpr_at_5fpr", "image_tpr", "image_fpr", "image_balanced_accuracy"),
    *("pixel_f1_calibrated", "pixel_f1_oracle", "pixel_auc", "image_auc", "fp_area"),
)
"""What a narrow terminal goes without, in this order."""


def command_line(options: Mapping[str, bool | int | str | Sequence[str] | None]) -> str:
    """The command that makes the results again, from the options as they were understood.

    Args:
        options: `--name` → value; True is a flag, a list a repeated option; None, False and [] are left out.
    """
    words = ["imltool", "eval"]
    for flag, value in options.items():
        if value is True:
            words.append(flag)
        elif isinstance(value, (str, int)) and value is not False:
            words += [flag, str(value)]
        elif value:
            for one in value:
                words += [flag, one]
    return command_text(words)


def show(report: Report, json_output: bool) -> None:
    """The table to stdout, or results.json to stdout and the table to stderr."""
    from imltool.evaluation.report import results_text

    if json_output:
        typer.echo(results_text(report.results))
    _print_table(common.stderr if json_output else common.stdout, report.results)


def _print_table(console: Console, results: dict[str, Any]) -> None:
    """The whole table for a file or a pipe, whose width nobody knows; on a terminal as many columns as fit."""
    from rich.console import Console
    from rich.measure import Measurement

    table = _table(results, list(COLUMNS))
    # a terminal of any width: `print(width=…)` cannot exceed the console's own
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


def _table(results: dict[str, Any], columns: list[str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from imltool.evaluation.tables import figure_text, mean_rows, table_rows

    table = Table(box=box.SIMPLE_HEAD)
    for head in ("set", "role", "method"):
        table.add_column(head, overflow="fold")
    for head in ("images", "F1 [95 %]", *(COLUMNS[key] for key in columns)):
        table.add_column(head, justify="right")
    for name, label, figures in table_rows(results):
        count = f"{figures['n_tampered']}+{figures['n_authentic']}"
        cells = [figure_text(figures, "pixel_f1", interval=True), *(figure_text(figures, key) for key in columns)]
        table.add_row(escape(name), figures["role"].upper(), escape(label), count, *cells)
    for position, (role, label, mean) in enumerate(mean_rows(results)):
        if position == 0:
            table.add_section()
        count = f"{len(mean['sets'])} set{'s' * (len(mean['sets']) != 1)}"
        cells = [figure_text(mean, key) for key in ("pixel_f1", *columns)]
        table.add_row("mean", role.upper(), escape(label), count, *cells)
    return table
