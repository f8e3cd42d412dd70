"""`imltool scan`: where pictures were edited, as maps, masks, scores and a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from imltool.cli import common
from imltool.errors import DataError

TOP = 12


def scan(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them (recursive).")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the results: new, empty or an earlier scan's."),
    ] = Path("imltool-scan"),
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="FILE|NAME",
            help="A checkpoint, or a student by name (default: the bundled one).",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            "-t",
            metavar="T",
            min=0.0,
            max=1.0,
            help="Map values above it belong to the mask (default: the checkpoint's).",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", "-b", metavar="N", min=1, max=1024, help="Pictures analysed at once.")
    ] = 8,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the earlier scan in DIR instead of going on with it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each row as a line of JSON on stdout as it is made.")
    ] = False,
    device: common.DeviceOption = "auto",
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Find where pictures were edited.

    Writes report.html (opens offline), results.jsonl, results.csv, run.json,
    maps/ (16-bit PNG, value / 65535 = probability), masks/ and overlays/ into
    DIR; the pictures themselves are only read. A scan that was cut goes on when
    the same command is given again; failed files are tried again only with
    --restart. A high score is an indication, not a proof.
    """
    common.setup_logging(verbose, quiet)
    from imltool.scan.inputs import plan_inputs, printable

    plan = plan_inputs(paths, out)
    for folder in plan.skipped:
        common.say(
            f"left out {printable(str(folder))}: ground truth of a labelled data set "
            "(give this folder as PATH to scan it)"
        )
    if not plan.inputs:
        where = printable(plan.roots[0].given) if len(plan.roots) == 1 else f"the {len(plan.roots)} paths given"
        raise DataError(f"no picture found in {where}", "a file given by name is scanned whatever its name ends in")

    from imltool.device import choose_device, seed_everything
    from imltool.journal import dump_json
    from imltool.scan import record, runner
    from imltool.scan.report import write_report
    from imltool.student.localizer import Localizer

    seed_everything(seed)
    localizer = Localizer.load(weights, choose_device(device))
    common.log.info("model %s, SHA-256 %s, on %s", localizer.header.name, localizer.sha256, localizer.device)
    rows: list[dict[str, Any]] = []
    with common.progress_bar() as bar:
        task = bar.add_task("scan", total=len(plan.inputs))
        for row in runner.scan(
            plan,
            localizer,
            out,
            threshold=threshold,
            batch=batch,
            restart=restart,
            command_line=["imltool", *sys.argv[1:]],
        ):
            rows.append(row)
            bar.advance(task)
            if as_json:
                common.stdout.file.write(dump_json(row) + "\n")
                common.stdout.file.flush()
            if row["status"] == "failed":
                common.log.info("failed: %s: %s", printable(row["path"]), row["reason"])
        run = record.read_record(out)
        task = bar.add_task("report", total=len(rows))
        for _ in write_report(out, plan, run, rows):
            bar.advance(task)
    _summarise(rows, run, out)
    runner.require_analysed(run["counts"], out)
    common.finish(run["counts"]["failed"])


def _summarise(rows: list[dict[str, Any]], run: dict[str, Any], out: Path) -> None:
    """The highest scores as a table, the failures, and the counts, for the person at the terminal."""
    from rich.table import Table
    from rich.text import Text

    from imltool.scan.inputs import printable
    from imltool.scan.record import REPORT
    from imltool.scan.report import percent

    analysed = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: (-row["score"], row["path"]))
    failed = [row for row in rows if row["status"] == "failed"]
    if analysed:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("score", "verdict", "area", "regions", "file"):
            table.add_column(name, justify="right" if name in ("area", "regions") else "left", overflow="fold")
        for row in analysed[:TOP]:
            style = "bold" if row["verdict"] == "indication" else ""
            figures = (f"{row['score']:.3f}", row["verdict"], percent(row["tampered_area"]), str(len(row["regions"])))
            table.add_row(*figures, Text(printable(row["path"])), style=style)
        common.stderr.print(table)
        if len(analysed) > TOP:
            common.say(f"… and {len(analysed) - TOP} more with lower scores")
    for row in failed[:TOP]:
        common.say(f"failed: {printable(row['path'])}: {row['reason']}")
    if len(failed) > TOP:
        common.say(f"… and {len(failed) - TOP} more failed")
    counts, kept = run["counts"], run["sessions"][-1]["kept"]
    before = f" ({kept} done before)" if kept else ""
    common.say(
        f"{counts['files']} files{before}: {counts['indication']} with an indication, "
        f"{counts['analysed'] - counts['indication']} without, {counts['failed']} failed "
        f"→ {printable(str(out / REPORT))}"
    )
