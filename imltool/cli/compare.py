"""`imltool compare`: compare evaluations of the same pictures, picture by picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imltool.cli import common
from imltool.errors import ImlError, UsageError

if TYPE_CHECKING:
    from imltool.data.folder import Sample
    from imltool.evaluation.compare import Entrant


def compare(
    targets: Annotated[
        list[str], common.argument("DIR", "Output folders of imltool eval; DIR:METHOD selects one of the methods.")
    ],
    metric: Annotated[
        list[str] | None,
        common.option(
            "--metric NAME",
            "f1, f1_calibrated, iou, mcc, auc, ap, fp_area or image_auc. Repeatable; the first decides which "
            "pictures are shown.",
        ),
    ] = None,
    out: Annotated[Path, common.out_option("Folder for the comparison: new, empty or of an earlier one.")] = Path(
        "imltool-compare"
    ),
    pictures: Annotated[int, common.option("--pictures N", "Pictures on the sheet.", min=0, max=200)] = 12,
    json_output: common.JsonOption = False,
    seed: common.SeedOption = 0,
) -> None:
    """Compare each method with the first, on the same pictures.

    Pairs the pictures of two or more results of `imltool eval` and reports the difference with its 95 % paired
    bootstrap interval, wins, losses and ties. Writes compare.json, compare.csv, compare.md, pairs.csv, and
    differences.png with the pictures on which they differ most. The table goes to stdout; with --json it goes to
    stderr and compare.json to stdout.
    """
    from imltool.evaluation.compare import (
        DEFAULT,
        METRICS,
        check_same_pictures,
        most_different,
        paired,
        read_entrants,
    )
    from imltool.evaluation.compare import compare as compare_all
    from imltool.evaluation.compare_output import (
        SHEET_NAME,
        ComparedMethod,
        ComparisonResults,
        refuse_foreign,
        write_sheet,
        write_tables,
    )

    names = list(dict.fromkeys(metric or DEFAULT))
    for name in names:
        if name not in METRICS:
            raise UsageError(f"unknown metric {name!r}", f"choose from {', '.join(METRICS)}")
    refuse_foreign(out)
    entrants = read_entrants(targets)
    notes = check_same_pictures(entrants)
    for note in notes:
        common.say(f"warning: {note}")
    rows = compare_all(entrants, names, seed)
    if not rows:
        raise UsageError(f"no picture has the metric {names[0]} in all evaluations", "choose another --metric")
    pairs = paired(entrants, names[0])
    methods = [ComparedMethod(label=one.label, method=one.method, folder=str(one.folder)) for one in entrants]
    results = ComparisonResults(methods=methods, rows=rows, notes=notes, command=common.command_line())
    write_tables(out, results, entrants, pairs)
    shown = most_different(pairs, pictures)
    if shown:
        write_sheet(out / SHEET_NAME, shown, entrants, _samples(entrants), METRICS[names[0]].heading)
    else:
        (out / SHEET_NAME).unlink(missing_ok=True)
    common.print_results(results.text(), results.table(), json_output)
    common.say(
        f"written: {out / 'compare.json'}, compare.csv, compare.md, pairs.csv{', ' + SHEET_NAME if shown else ''}"
    )


def _samples(entrants: list[Entrant]) -> dict[tuple[str, str], Sample]:
    """The pictures of the first evaluation by set and name; a set that can no longer be read has none."""
    from imltool.data.sets import read_target

    found: dict[tuple[str, str], Sample] = {}
    for name, one in entrants[0].data.items():
        try:
            for sample in read_target(name, one.target).samples:
                found[name, sample.name] = sample
        except ImlError as error:
            common.log.info("%s: %s", name, error.message)
    return found
