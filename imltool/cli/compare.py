"""`imltool compare`: evaluations of the same pictures, paired picture by picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imltool.cli import common
from imltool.errors import ImlError, UsageError
from imltool.texts import command_text

if TYPE_CHECKING:
    from imltool.data.folder import Sample
    from imltool.evaluation.compare import Entrant


def compare(
    targets: Annotated[
        list[str],
        typer.Argument(help="Output folders of imltool eval; DIR:METHOD for one of its methods.", metavar="A B ..."),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="f1, f1_calibrated, iou, mcc, auc, ap, fp_area or image_auc. Repeatable; the first chooses the "
            "pictures shown.",
            metavar="NAME",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the comparison: new, empty or an earlier one's.", metavar="DIR"),
    ] = Path("imltool-compare"),
    pictures: Annotated[int, typer.Option("--pictures", help="Pictures on the sheet.", min=0, max=200)] = 12,
    json_output: common.JsonOption = False,
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Compare methods on the same pictures, each with the first.

    Pairs the pictures of two or more results of `imltool eval` and tells the difference with its 95 % paired bootstrap
    interval, wins, losses and ties. Writes compare.json, compare.csv, compare.md, pairs.csv and differences.png, the
    pictures on which they differ most. The table goes to stdout; with --json it goes to stderr and compare.json to
    stdout.
    """
    common.setup_logging(verbose, quiet)
    from imltool.evaluation.compare import (
        DEFAULT,
        FIGURES,
        check_same_pictures,
        most_different,
        paired,
        read_entrants,
    )
    from imltool.evaluation.compare import compare as compare_all
    from imltool.evaluation.compare_output import SHEET_NAME, open_output, write_sheet, write_tables

    names = list(dict.fromkeys(metric or DEFAULT))
    for name in names:
        if name not in FIGURES:
            raise UsageError(f"unknown metric {name!r}", f"choose from {', '.join(FIGURES)}")
    open_output(out)
    entrants = read_entrants(targets)
    notes = check_same_pictures(entrants)
    for note in notes:
        common.say(f"warning: {note}")
    rows = compare_all(entrants, names, seed)
    if not rows:
        raise UsageError(f"no picture has the figure {names[0]} in all evaluations", "choose another --metric")
    pairs = paired(entrants, names[0])
    results = {
        "methods": [{"label": one.label, "method": one.method, "folder": str(one.folder)} for one in entrants],
        "rows": rows,
        "notes": notes,
        "command": _command(targets, metric, out, seed),
    }
    write_tables(out, results, entrants, pairs)
    shown = most_different(pairs, pictures)
    if shown:
        write_sheet(out / SHEET_NAME, shown, entrants, _samples(entrants), FIGURES[names[0]].heading)
    else:
        (out / SHEET_NAME).unlink(missing_ok=True)
    if json_output:
        from imltool.journal import dump_json

        typer.echo(dump_json(results))
    _print(results, json_output)
    common.say(
        f"written: {out / 'compare.json'}, compare.csv, compare.md, pairs.csv{', ' + SHEET_NAME if shown else ''}"
    )


def _samples(entrants: list[Entrant]) -> dict[tuple[str, str], Sample]:
    """The pictures of the first evaluation, where they still lie; a set that is gone has none."""
    from imltool.data.sets import read_target

    found: dict[tuple[str, str], Sample] = {}
    for name, one in entrants[0].data.items():
        try:
            for sample in read_target(name, one.get("target", one["root"])).samples:
                found[name, sample.name] = sample
        except ImlError as error:
            common.log.info("%s: %s", name, error.message)
    return found


def _command(targets: list[str], metric: list[str] | None, out: Path, seed: int) -> str:
    words = ["imltool", "compare", *targets]
    for name in metric or []:
        words += ["--metric", name]
    return command_text([*words, "--seed", str(seed), "--out", str(out)])


def _print(results: dict[str, Any], json_output: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from imltool.evaluation.compare_output import TABLE_HEADS, TEXT_COLUMNS, table_cells

    console = common.stderr if json_output else common.stdout
    table = Table(box=box.SIMPLE_HEAD)
    for index, head in enumerate(TABLE_HEADS):
        table.add_column(head, justify="left" if index < TEXT_COLUMNS else "right", overflow="fold")
    for row in results["rows"]:
        table.add_row(*(escape(cell) for cell in table_cells(row)))
    if console.is_terminal:
        console.print(table, soft_wrap=False)
    else:  # a file or a pipe, whose width nobody knows
        Console(file=console.file, width=10_000, quiet=console.quiet).print(table)
