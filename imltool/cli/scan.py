"""`imltool scan`: where pictures were edited, as maps, masks, scores and a report."""

from __future__ import annotations

import logging
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imltool.cli import common
from imltool.cli.log_file import LogFileOption, log_to
from imltool.errors import OutputError, UsageError
from imltool.journal import dump_json

if TYPE_CHECKING:
    from imltool.scan.selection import Selection

TOP = 12
SHOWN = "Shown (results.jsonl and results.csv always hold all rows)"
CASE = "Case (goes into run.json and the report)"


class SensitivityChoice(str, Enum):
    """How much is called an indication, see `imltool.scan.verdicts`."""

    low = "low"
    medium = "medium"
    high = "high"


def scan(
    paths: Annotated[
        list[str],  # a path would take one of the slashes of an address
        typer.Argument(
            metavar="PATH...",
            help="Pictures, or folders of them (recursive); s3://bucket/folder and gs://… too (imltool[storage]).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the results: new, empty or an earlier scan's."),
    ] = Path("imltool-scan"),
    weights: common.WeightsOption = None,
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
    sensitivity: Annotated[
        SensitivityChoice,
        typer.Option(
            "--sensitivity", "-s", help="What may become an indication: 1, 5 or 10 % of authentic pictures, at most."
        ),
    ] = SensitivityChoice.medium,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability", help="Score again after mild JPEG and resizing: a verdict that flips is inconclusive."
        ),
    ] = False,
    tiles: Annotated[
        bool,
        typer.Option(
            "--tiles",
            help="Look at pictures over 800 pixels in overlapping tiles too: finds smaller edits, takes longer.",
        ),
    ] = False,
    companions: Annotated[
        str | None,
        typer.Option(
            "--companions",
            metavar="NAMES",
            help="Also draw ela (error level), noise, ghost (JPEG ghosts), or ela,noise.",
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option("--batch", "-b", metavar="N", help="Batch size (only affects speed with --engine torch)."),
    ] = 8,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the earlier scan in DIR instead of going on with it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each row as a line of JSON on stdout as it is made.")
    ] = False,
    fail_on_detect: Annotated[
        bool, typer.Option("--fail-on-detect", help="Exit with code 4 when a file has an indication.")
    ] = False,
    only_indicated: Annotated[
        bool,
        typer.Option(
            "--only-indicated", help="Show only files with an indication in report and terminal.", rich_help_panel=SHOWN
        ),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="N",
            min=1,
            help="Show only the N highest scores in report and terminal.",
            rich_help_panel=SHOWN,
        ),
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also write report.pdf (needs WeasyPrint).", rich_help_panel=SHOWN)
    ] = False,
    case_id: Annotated[
        str | None, typer.Option("--case-id", metavar="TEXT", help="Number or name of the case.", rich_help_panel=CASE)
    ] = None,
    examiner: Annotated[
        str | None, typer.Option("--examiner", metavar="TEXT", help="Who examines.", rich_help_panel=CASE)
    ] = None,
    notes: Annotated[
        str | None, typer.Option("--notes", metavar="TEXT", help="Anything else on the case.", rich_help_panel=CASE)
    ] = None,
    engine_cluster: common.ClusterOption = None,
    cluster_address: common.ClusterAddressOption = None,
    cluster_workers: common.ClusterWorkersOption = None,
    log_file: LogFileOption = None,
    device: common.DeviceOption = "auto",
    engine: common.EngineOption = "auto",
    compute: common.ComputeOption = common.ComputeChoice.fp32,
    seed: common.SeedOption = 0,  # nothing in a scan is drawn by chance; scripts may pass it to every command
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Find where pictures were edited.

    Writes report.html (opens offline), results.jsonl, results.csv, errors.csv,
    run.json, maps/ (16-bit PNG, value / 65535 = probability), masks/ and
    overlays/ into DIR; the pictures themselves are only read, those of a store
    from temporary copies. A scan that was cut goes on when the same command is
    given again; failed files are tried again only with --restart. A high score
    is an indication, not a proof.

    At the end the head of the chain of rows is told: noted down, it lets imltool
    verify show that nothing was changed. Exit codes: 0 all files analysed; 3 some
    failed; 4 with --fail-on-detect, when a file has an indication, whether or not
    others failed; 1 fatal, or not one file could be analysed; 2 usage.
    """
    common.setup_logging(verbose, quiet)
    from imltool.scan.settings import require_batch
    from imltool.scan.stores import is_address

    require_batch(batch)
    if is_address(str(out).replace(":/", "://", 1)):  # a path keeps one slash of an address
        raise UsageError("--out is an address, and results are written to a folder of this machine", "give a folder")
    with log_to(log_file, keep_out=out):
        from imltool.scan import run_record
        from imltool.scan.inputs import plan_inputs, require_pictures, require_shared
        from imltool.texts import printable

        run_record.holds_scan(out)  # the first to be told: nothing was read yet
        plan = plan_inputs(paths, out)
        for folder in plan.skipped:
            common.say(
                f"left out {printable(str(folder))}: ground truth of a labelled data set "
                "(give this folder as PATH to scan it)"
            )
        require_pictures(plan)

        from imltool.cluster.settings import choose_cluster
        from imltool.device import choose_device
        from imltool.inference.localizer import Localizer
        from imltool.scan import runner
        from imltool.scan.companions import choose_companions
        from imltool.scan.pdf import require_pdf, write_pdf
        from imltool.scan.report import write_report
        from imltool.scan.selection import Selection

        cluster = choose_cluster(engine_cluster, cluster_address, cluster_workers)
        if cluster:
            require_shared(plan)
        if pdf:
            require_pdf()
        drawn = choose_companions([] if companions is None else [name.strip() for name in companions.split(",")])
        localizer = Localizer.load(weights, choose_device(device), engine, compute.value)
        model = localizer.header.name, localizer.sha256, localizer.device, localizer.engine
        common.log.info("model %s, SHA-256 %s, on %s by %s", *model)
        selection = Selection(only_indicated, top)
        rows: list[dict[str, Any]] = []
        with common.progress_bar() as bar:
            task = bar.add_task("scan", total=len(plan.inputs))
            for row in runner.scan(
                plan,
                localizer,
                out,
                threshold=threshold,
                sensitivity=sensitivity.value,
                stability=stability,
                tiles=tiles,
                companions=drawn,
                batch=batch,
                restart=restart,
                case={"id": case_id, "examiner": examiner, "notes": notes},
                command_line=["imltool", *sys.argv[1:]],
                cluster=cluster,
            ):
                rows.append(row)
                bar.advance(task)
                if as_json:
                    _print_row(row)
                outcome = f"{row['verdict']}, score {row['score']}" if row["status"] == "ok" else row["reason"]
                level = logging.DEBUG if row["status"] == "ok" else logging.INFO
                common.log.log(level, "%s: %s: %s", row["status"], printable(row["path"]), outcome)
            run = run_record.read_record(out)
            writers = {run_record.REPORT: write_report} | ({run_record.PDF: write_pdf} if pdf else {})
            for name, write in writers.items():
                task = bar.add_task(name, total=len(rows))
                for _ in write(out, plan, run, rows, selection):
                    bar.advance(task)
            run = run_record.seal_reports(out, *writers)
        _summarise(rows, selection, run, out)
        runner.require_analysed(run["counts"], out)
        common.finish(run["counts"]["failed"], run["counts"]["indication"] if fail_on_detect else 0)


def _print_row(row: dict[str, Any]) -> None:
    """Stream a row as a line of JSON. Raises `OutputError` when stdout takes no more."""
    try:
        common.stdout.file.write(dump_json(row) + "\n")
        common.stdout.file.flush()
    except BrokenPipeError:
        common.stop_stdout()
        raise OutputError(
            "the reader of stdout went away before the scan ended", "the same command goes on with it"
        ) from None
    except OSError as error:
        common.stop_stdout()
        raise OutputError(
            f"stdout cannot be written: {error.strerror}", "mend that; the same command goes on with the scan"
        ) from None


def _summarise(rows: list[dict[str, Any]], selection: Selection, run: dict[str, Any], out: Path) -> None:
    """The highest scores as a table, failures, counts and the chain's head, for the person at the terminal."""
    from rich.table import Table
    from rich.text import Text

    from imltool.scan.report import percent
    from imltool.scan.run_record import REPORT, TABLE
    from imltool.texts import printable

    shown = selection.choose(rows)[: selection.top or TOP]
    failed = [row for row in rows if row["status"] == "failed"]
    if shown:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("score", "verdict", "area", "regions", "file"):
            table.add_column(name, justify="right" if name in ("area", "regions") else "left", overflow="fold")
        for row in shown:
            style = "bold" if row["verdict"] == "indication" else ""
            figures = (f"{row['score']:.4f}", row["verdict"], percent(row["tampered_area"]), str(len(row["regions"])))
            table.add_row(*figures, Text(printable(row["path"])), style=style)
        common.stderr.print(table)
    counts, kept = run["counts"], run["sessions"][-1]["kept"]
    if counts["analysed"] > len(shown):
        common.say(f"… and {counts['analysed'] - len(shown)} more in {printable(str(out / TABLE))}")
    for row in failed[:TOP]:
        common.say(f"failed: {printable(row['path'])}: {printable(row['reason'])}")
    if len(failed) > TOP:
        common.say(f"… and {len(failed) - TOP} more failed")
    before = f" ({kept} done before)" if kept else ""
    common.say(
        f"{counts['files']} files{before}: {counts['indication']} with an indication, "
        f"{counts['inconclusive']} inconclusive, "
        f"{counts['analysed'] - counts['indication'] - counts['inconclusive']} without, {counts['failed']} failed "
        f"→ {printable(str(out / REPORT))}"
    )
    for note in run["verdicts"]["notes"]:
        common.say(note)
    chain = run["chain"]
    common.say(f"to note down: {chain['rows']} rows, head {chain['head']} (imltool verify compares it)")
