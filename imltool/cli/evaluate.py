"""`imltool eval`: measure a checkpoint, and what it has to beat, on labelled pictures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imltool.cli import common
from imltool.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from imltool.evaluation.methods import Method
    from imltool.evaluation.report import Report
    from imltool.evaluation.roles import Overlap
    from imltool.evaluation.runner import ImageRow
    from imltool.evaluation.sets import NamedSet
    from imltool.student.localizer import Localizer

NO_WEIGHTS = "none"
UNBOUNDED = 10_000  # characters: wider than any table
COLUMNS = {
    "pixel_f1_calibrated": "F1 cal.",
    "pixel_f1_oracle": "F1 oracle",
    "pixel_iou": "IoU",
    "pixel_auc": "AUC",
    "image_auc": "img AUC",
    "image_fpr": "img FPR",
    "image_tpr": "img TPR",
    "fp_area": "FP area",
}
"""Figure → heading, beside the headline."""
DROPPED_FIRST = (
    *("pixel_iou", "image_tpr", "image_fpr", "pixel_f1_calibrated"),
    *("pixel_f1_oracle", "pixel_auc", "image_auc", "fp_area"),
)
"""What a narrow terminal goes without, in this order."""


def evaluate(
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="Checkpoint; the bundled student when left out, `none` for baselines alone.",
            metavar="FILE",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Data set: tampered/, masks/, authentic/ in DIR. Repeatable.", metavar="NAME=DIR"),
    ] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="Only the pictures of a set that FILE names. Repeatable.", metavar="NAME=FILE"),
    ] = None,
    samples: Annotated[
        Path, typer.Option("--samples", help="Without --data: the folder whose data sets are used.", metavar="DIR")
    ] = Path("sample_images"),
    ood: Annotated[
        bool, typer.Option("--ood", help="Refuse a set with pictures the checkpoint has seen under another name.")
    ] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Also measure ela, constant or untrained. Repeatable.", metavar="NAME"),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for the results: new, empty or an earlier evaluation's.", metavar="DIR"
        ),
    ] = Path("imltool-eval"),
    batch: Annotated[int, typer.Option("--batch", help="Pictures predicted at once.", min=1)] = 8,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the earlier results in DIR instead of going on with them.")
    ] = False,
    json_output: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Measure a checkpoint on labelled pictures.

    Writes results.json, per_image.csv and table.md after every set; when it is stopped, the same command goes on with
    the sets that are missing. A set is IND when the checkpoint was trained or validated on a set of that name or on
    any of its pictures, else OOD. The table goes to stdout; with --json it goes to stderr and results.json to stdout.
    """
    common.setup_logging(verbose, quiet)
    baselines = list(dict.fromkeys(baseline or []))
    if weights == NO_WEIGHTS and not baselines:
        raise UsageError("nothing to measure: --weights none and no --baseline", "add --baseline ela, or leave it out")

    from imltool.device import choose_device
    from imltool.evaluation.baselines import BASELINES
    from imltool.evaluation.folder import open_folder, refuse_foreign
    from imltool.evaluation.methods import choose_methods
    from imltool.evaluation.report import Report
    from imltool.evaluation.sets import apply_lists, named_sets, sample_sets
    from imltool.student.localizer import Localizer

    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise UsageError(f"unknown baseline {unknown[0]!r}", f"choose from {', '.join(BASELINES)}")
    refuse_foreign(out)  # before the pictures are hashed
    sets = named_sets(data) if data else sample_sets(samples)
    apply_lists(sets, lists or [])
    chosen = choose_device(device)
    localizer = None if weights == NO_WEIGHTS else Localizer.load(Path(weights) if weights else None, chosen)
    overlaps = _overlaps(sets, localizer, ood)
    parameters = {
        "weights": localizer.sha256 if localizer else None,
        # a key a set, so that a refusal names the one that differs
        **{f"files of {one.name}": one.digest for one in sets},
        "baselines": baselines,
        "ood": ood,
        "seed": seed,
    }
    resumable = open_folder(out, parameters, restart)

    methods = choose_methods(localizer, baselines, chosen, seed)
    report = Report(out, localizer, methods, _command(out, weights, data, lists, samples, ood, baselines, seed))
    if resumable and report.resume():
        common.say(f"going on with the results in {out}")
    for one in sets:
        for method in methods:
            if not report.has(one, method):
                report.add(one, overlaps[one.name], method, _measure(one, method, batch), seed)
                report.write()
    report.write(complete=True)
    _show(report, json_output)
    failures = report.failures()
    if failures:
        count = "1 picture" if len(failures) == 1 else f"{len(failures)} pictures"
        common.say(f"{count} could not be scored, the first: {failures[0]['set']}/{failures[0]['image']}")
        common.say(f"  {failures[0]['reason']}")
    common.finish(len(failures))


def _measure(one: NamedSet, method: Method, batch: int) -> list[ImageRow]:
    from imltool.evaluation.runner import evaluate_set

    rows = []
    with common.progress_bar() as progress:
        task = progress.add_task(f"{method.label} on {one.name}", total=len(one.samples))
        for row in evaluate_set(one.samples, method.predict, method.thresholds, batch=batch):
            rows.append(row)
            progress.advance(task)
    return rows


def _overlaps(sets: list[NamedSet], localizer: Localizer | None, ood: bool) -> dict[str, Overlap]:
    """Role of every set, before any picture is predicted, so that a refusal comes at once."""
    from imltool.evaluation.roles import find_overlap, refuse_hidden_overlap

    training_sets = localizer.header.training_sets if localizer else ()
    validation_sets = localizer.header.validation_sets if localizer else ()
    overlaps = {}
    with common.progress_bar() as progress:
        for one in sets:
            task = progress.add_task(f"hashing {one.name}", total=len(one.samples))
            for _ in one.hash_files():
                progress.advance(task)
            overlap = find_overlap(one.name, one.pictures, training_sets, validation_sets)
            if ood:
                refuse_hidden_overlap(one.name, overlap)
            overlaps[one.name] = overlap
    for name, overlap in overlaps.items():
        if overlap.n_seen:
            pictures = "1 picture was" if overlap.n_seen == 1 else f"{overlap.n_seen} pictures were"
            seen = f"{pictures} {overlap.seen_as} ({overlap.source_set})"
            common.say(f"warning: {name}: {seen}, the first is {overlap.first}")
    return overlaps


def _command(
    out: Path,
    weights: str | None,
    data: list[str] | None,
    lists: list[str] | None,
    samples: Path,
    ood: bool,
    baselines: list[str],
    seed: int,
) -> str:
    """The command that makes these results again, from the options as they were understood."""
    words = ["imltool", "eval"]
    words += ["--weights", weights] if weights else []
    for one in data or []:
        words += ["--data", one]
    words += [] if data else ["--samples", str(samples)]
    for one in lists or []:
        words += ["--list", one]
    words += ["--ood"] if ood else []
    for name in baselines:
        words += ["--baseline", name]
    return shlex.join([*words, "--seed", str(seed), "--out", str(out)])


def _show(report: Report, json_output: bool) -> None:
    from imltool.evaluation.report import CSV_NAME, RESULTS_NAME, TABLE_NAME, results_text

    if json_output:
        typer.echo(results_text(report.results))
    _print_table(common.stderr if json_output else common.stdout, report.results)
    common.say(f"written: {report.out / RESULTS_NAME}, {CSV_NAME}, {TABLE_NAME}")


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

    from imltool.evaluation.tables import figure_text, table_rows

    table = Table(box=box.SIMPLE_HEAD)
    for head in ("set", "role", "method"):
        table.add_column(head, overflow="fold")
    for head in ("images", "F1 [95 %]", *(COLUMNS[key] for key in columns)):
        table.add_column(head, justify="right")
    for name, label, figures in table_rows(results):
        count = f"{figures['n_tampered']}+{figures['n_authentic']}"
        cells = [figure_text(figures, "pixel_f1", interval=True), *(figure_text(figures, key) for key in columns)]
        table.add_row(escape(name), figures["role"].upper(), escape(label), count, *cells)
    return table
