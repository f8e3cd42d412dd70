"""`imltool scan`: where pictures were edited, as maps, masks, scores and a report."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imltool.cli import common
from imltool.cli.log_file import LogFileOption, log_to
from imltool.errors import OutputError, UsageError
from imltool.journal import dump_json
from imltool.texts import counted

if TYPE_CHECKING:
    from imltool.scan.results import ScanResult
    from imltool.scan.run_record import RunRecord
    from imltool.scan.selection import Selection

TOP = 12
SHOWN = "Shown (results.jsonl and results.csv always hold all rows)"
CASE = "Case (goes into run.json and the report)"


def scan(
    paths: Annotated[
        list[str],  # a Path would drop one of the slashes of an address
        common.argument(
            "PATH",
            "Pictures, or folders of them (recursive). Also s3:// and gs:// addresses (needs `imltool[storage]`).",
        ),
    ],
    out: Annotated[Path, common.out_option("Folder for the results: new, empty, or of an earlier scan.")] = Path(
        "imltool-scan"
    ),
    weights: common.WeightsOption = None,
    threshold: Annotated[
        float | None,
        common.option(
            "--threshold,-t T", "The mask is where the map exceeds T (default: the checkpoint's).", min=0.0, max=1.0
        ),
    ] = None,
    sensitivity: Annotated[
        common.Sensitivity,
        common.option("--sensitivity,-s", "At most 1, 5 or 10 % of authentic pictures become an indication."),
    ] = "medium",
    stability: Annotated[
        bool,
        common.option(
            "--stability", "Score again after mild JPEG and resizing; a verdict that changes is inconclusive."
        ),
    ] = False,
    tiles: Annotated[
        bool,
        common.option(
            "--tiles", "Also scan pictures over 800 pixels in overlapping tiles: finds smaller edits, takes longer."
        ),
    ] = False,
    companions: Annotated[
        str | None,
        common.option(
            "--companions NAMES",
            "Also draw ela (error level), noise and ghost (JPEG ghosts); separate several by commas.",
        ),
    ] = None,
    batch: Annotated[
        int, common.option("--batch,-b N", "Batch size (matters with --engine torch only).", min=1, max=1024)
    ] = 8,
    restart: common.RestartOption = False,
    as_json: Annotated[
        bool, common.option("--json", "Print each row on stdout as a line of JSON as soon as it is written.")
    ] = False,
    fail_on_detect: Annotated[
        bool, common.option("--fail-on-detect", "Exit with code 4 when a file has an indication.")
    ] = False,
    only_indicated: Annotated[
        bool, common.option("--only-indicated", "Show only files with an indication in report and terminal.", SHOWN)
    ] = False,
    top: Annotated[
        int | None, common.option("--top N", "Show only the N highest scores in report and terminal.", SHOWN, min=1)
    ] = None,
    pdf: Annotated[bool, common.option("--pdf", "Also write report.pdf (needs WeasyPrint).", SHOWN)] = False,
    coco: Annotated[
        bool, common.option("--coco", "Also write the masks as COCO run lengths, masks.coco.json.", SHOWN)
    ] = False,
    case_id: Annotated[str | None, common.option("--case-id TEXT", "Number or name of the case.", CASE)] = None,
    examiner: Annotated[str | None, common.option("--examiner TEXT", "Name of the examiner.", CASE)] = None,
    notes: Annotated[str | None, common.option("--notes TEXT", "Anything else on the case.", CASE)] = None,
    engine_cluster: common.ClusterOption = None,
    cluster_address: common.ClusterAddressOption = None,
    cluster_workers: common.ClusterWorkersOption = None,
    log_file: LogFileOption = None,
    device: common.DeviceOption = "auto",
    engine: common.EngineOption = "auto",
    precision: common.PrecisionOption = "fp32",
) -> None:
    """Find where pictures were edited.

    Writes into DIR: report.html (opens offline), results.jsonl, results.csv, errors.csv, run.json, and for each picture
    a map (16-bit PNG, value / 65535 = probability), a mask and an overlay. Pictures are never changed. The same command
    resumes an interrupted scan; failed files are tried again only with --restart. A high score is an indication, not a
    proof.

    Prints the hash of the last row at the end. Keep it elsewhere: with it `imltool verify --head HASH` detects any
    later change.

    Exit codes:

    - 0: all files were analysed.
    - 1: fatal, or no file could be analysed.
    - 2: wrong usage, or DIR belongs to something else.
    - 3: some files could not be analysed.
    - 4: with --fail-on-detect, a file has an indication, whether or not others failed.
    """
    begun = time.monotonic()
    from imltool.scan.stores import is_address

    if is_address(str(out).replace(":/", "://", 1)):  # a Path keeps only one slash of an address
        raise UsageError("--out is an address, but results are written to a local folder", "give a folder")
    with log_to(log_file, keep_out=out):
        from imltool.scan import run_record
        from imltool.scan.inputs import plan_inputs, require_pictures, require_shared
        from imltool.texts import printable

        run_record.holds_scan(out)  # checked first: nothing was read yet
        plan = plan_inputs(paths, out)
        for folder in plan.skipped:
            common.say(
                f"left out {printable(str(folder))}: ground truth of a labelled data set "
                "(give this folder as PATH to scan it)"
            )
        if plan.passed_over:
            common.say(plan.passed_over_text() + ("" if log_file else "; --log-file FILE lists them"))
        require_pictures(plan)

        with common.stderr.status("loading the model …"):
            from imltool.cluster.clusters import choose_cluster
            from imltool.device import choose_device
            from imltool.inference.localizer import Localizer
            from imltool.scan import runner
            from imltool.scan.coco import write_coco
            from imltool.scan.pdf import require_pdf, write_pdf
            from imltool.scan.report import write_report
            from imltool.scan.selection import Selection
            from imltool.scan.settings import ScanSettings

            cluster = choose_cluster(engine_cluster, cluster_address, cluster_workers)
            if cluster:
                require_shared(plan)
            if pdf:
                require_pdf()
            localizer = Localizer.load(weights, choose_device(device), engine, precision)
        settings = ScanSettings.of(
            localizer.header,
            threshold=threshold,
            sensitivity=sensitivity,
            stability=stability,
            companions=[] if companions is None else [name.strip() for name in companions.split(",")],
            tiles=tiles,
        )
        model = localizer.header.name, localizer.sha256, localizer.device, localizer.engine
        common.log.info("model %s, SHA-256 %s, on %s by %s", *model)
        selection = Selection(only_indicated, top)
        results: list[ScanResult] = []
        kept = 0 if restart else run_record.count_kept(out)
        with common.progress_bar() as bar:
            task = bar.add_task("scan", total=len(plan.inputs))
            for result in runner.scan(
                plan,
                localizer,
                out,
                settings,
                batch=batch,
                restart=restart,
                case={"id": case_id, "examiner": examiner, "notes": notes},
                command_line=["imltool", *common.arguments],
                cluster=cluster,
            ):
                results.append(result)
                if len(results) <= kept:
                    bar.reset(task, total=len(plan.inputs), completed=len(results), kept=len(results))
                else:
                    bar.advance(task)
                if as_json:
                    _print_row(result)
                outcome = f"{result.verdict}, score {result.score}" if result.status == "ok" else result.reason
                level = logging.DEBUG if result.status == "ok" else logging.INFO
                common.log.log(level, "%s: %s: %s", result.status, printable(result.path), outcome)
            run = run_record.read_record(out)
            writers = {run_record.REPORT: write_report} | ({run_record.PDF: write_pdf} if pdf else {})
            writers |= {run_record.COCO: write_coco} if coco else {}
            for name, write in writers.items():
                task = bar.add_task(name, total=len(results))
                for _ in write(out, run, results, selection):
                    bar.advance(task)
            run = run_record.note_reports(out, [*writers], selection)
        _summarise(results, selection, run, out, time.monotonic() - begun)
        runner.require_analysed(run.counts, out)
        common.finish(run.counts.failed, run.counts.indication if fail_on_detect else 0)


def _print_row(result: ScanResult) -> None:
    """Print a row as a line of JSON. Raises `OutputError` when stdout cannot be written."""
    try:
        common.stdout.file.write(dump_json(result.model_dump(mode="json")) + "\n")
        common.stdout.file.flush()
    except BrokenPipeError:
        common.stop_stdout()
        raise OutputError(
            "the reader of stdout went away before the scan ended", "the same command resumes it"
        ) from None
    except OSError as error:
        common.stop_stdout()
        raise OutputError(
            f"stdout cannot be written: {error.strerror}", "free some space; the same command resumes the scan"
        ) from None


def _broken(path: str, room: int) -> str:
    """A path broken after slashes into lines of at most `room` characters, where its parts are short enough."""
    lines = [""]
    for part in path.replace("/", "/\n").splitlines():
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _summarise(results: list[ScanResult], selection: Selection, run: RunRecord, out: Path, seconds: float) -> None:
    """Print the highest scores as a table, failures, counts, the final hash and the next commands."""
    from rich.table import Table
    from rich.text import Text

    from imltool.scan.report import percent
    from imltool.scan.run_record import REPORT
    from imltool.scan.tables import TABLE
    from imltool.texts import command_text, printable

    shown = selection.choose(results)[: selection.top or TOP]
    failed = [result for result in results if result.status == "failed"]
    if shown:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("score", "verdict", "area", "regions", "file"):
            numeric = name in ("area", "regions")
            table.add_column(name, justify="right" if numeric else "left", no_wrap=name != "file", overflow="fold")
        for result in shown:
            style = "bold" if result.is_indicated else ""
            cells = (
                f"{result.score:.4f}",
                str(result.verdict),
                percent(result.tampered_area or 0.0),
                str(len(result.regions)),
            )
            table.add_row(*cells, Text(_broken(printable(result.path), common.stderr.width - 40)), style=style)
        common.stderr.print(table)
    counts, session = run.counts, run.sessions[-1]
    if counts.analysed > len(shown):
        common.say(f"… and {counts.analysed - len(shown)} more in {printable(str(out / TABLE))}", whole=True)
    for result in failed[:TOP]:
        common.say(f"failed: {printable(result.path)}: {printable(result.reason or '')}")
    if len(failed) > TOP:
        common.say(f"… and {len(failed) - TOP} more failed")
    for note in run.verdicts.notes if counts.analysed else ():
        common.say(note)
    before = f" ({session.kept} done before)" if session.kept else ""
    without = counts.analysed - counts.indication - counts.inconclusive
    common.say(
        f"{counted(counts.files, 'file')}{before} in {common.duration(seconds)}: "
        f"{counts.indication} with an indication, {counts.inconclusive} inconclusive, {without} without, "
        f"{counts.failed} failed"
    )
    common.say(f"final hash (keep it elsewhere): {run.chain.head}", whole=True)
    common.say(f"report: {printable(str(out / REPORT))}", whole=True)
    common.say(f"next: {command_text(['imltool', 'review', str(out)])}", whole=True)
    common.say(f"next: {command_text(['imltool', 'verify', str(out), '--head', run.chain.head])}", whole=True)
