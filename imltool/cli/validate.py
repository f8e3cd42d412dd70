"""`imltool validate`: error rates of the tool on a laboratory's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imltool.cli import common


def validate(
    authentic: Annotated[Path, common.option("--authentic DIR", "Folder of authentic pictures, as you receive them.")],
    out: Annotated[Path, common.out_option("Folder for the report: new, empty or of an earlier one.")],
    tampered: Annotated[Path | None, common.option("--tampered DIR", "Folder of edited pictures.")] = None,
    masks: Annotated[
        Path | None, common.option("--masks DIR", "Folder of their true masks, named like the pictures.")
    ] = None,
    weights: common.WeightsOption = None,
    sensitivity: Annotated[
        common.Sensitivity,
        common.option("--sensitivity", "As in imltool scan: the one you use in casework."),
    ] = "medium",
    tiles: Annotated[bool, common.option("--tiles", "As in imltool scan, if you use tiles in casework.")] = False,
    examiner: Annotated[str | None, common.option("--examiner NAME", "Your name, for the report.")] = None,
    notes: Annotated[str | None, common.option("--notes TEXT", "Where the pictures come from, for the report.")] = None,
    no_pdf: Annotated[bool, common.option("--no-pdf", "Do not write report.pdf (which needs `imltool[pdf]`).")] = False,
    max_left_out: common.MaxLeftOutOption = 0.1,
    restart: common.RestartOption = False,
    json_output: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    engine: common.EngineOption = "auto",
) -> None:
    """Measure false-alarm and detection rates on your own pictures, and write a validation report.

    Scans the pictures as in casework and counts how many authentic and how many edited pictures get an indication,
    with exact 95 % intervals, also by camera, program and coding. Writes report.html, report.pdf, validation.json,
    pictures.csv and the two scans. The same command resumes a stopped validation.
    """
    from imltool.cli.progress import follow
    from imltool.validation.report import rate_table
    from imltool.validation.validation import Validation, ValidationSettings

    settings = ValidationSettings(
        authentic=authentic,
        tampered=tampered,
        masks=masks,
        weights=weights,
        sensitivity=sensitivity,
        tiles=tiles,
        device=device,
        engine=engine,
        max_left_out=max_left_out,
        examiner=examiner,
        notes=notes,
        pdf=not no_pdf,
    )
    validation = Validation(settings, out, restart=restart, command=common.command_line())
    follow(validation.run())
    results = validation.results
    common.print_results(results.text(), rate_table(results), json_output)
    common.say(f"written: {out / 'report.html'}, validation.json, pictures.csv")
    failed = len(results.authentic.failed) + (len(results.tampered.failed) if results.tampered else 0)
    common.finish(failed + bool(results.localization and results.localization.reason))
