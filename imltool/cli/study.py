"""`imltool study`: train, measure and compare runs that each differ in one setting."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imltool.cli import common
from imltool.errors import UsageError
from imltool.texts import counted

if TYPE_CHECKING:
    from imltool.data.sets import NamedSet
    from imltool.study.settings import StudySettings, Variant

OWN_ROWS = (".yaml", ".yml")


def study(
    name: Annotated[
        str,
        common.argument(
            "NAME", "ablation, memory, alpha, resolution, recipe, diversity, boxes, pseudo, or a YAML file with rows."
        ),
    ],
    out: Annotated[Path | None, common.out_option("Folder of the study; default: studies/NAME.")] = None,
    config: common.ConfigOption = None,
    set_: common.SetOption = None,
    seeds: Annotated[str, common.option("--seeds N,N,…", "Seeds of every row.")] = "0",
    steps: Annotated[int | None, common.option("--steps N", "Short for --set optim.steps=N.", min=1)] = None,
    data: common.DataOption = None,
    lists: common.ListOption = None,
    samples: common.SamplesOption = common.SAMPLES,
    only: Annotated[
        list[str] | None, common.option("--only ROW", "Train and measure only this row. Repeatable.")
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        common.option(
            "--reuse DIR",
            "Another study's folder: its runs with the same settings and data are reused, and so are its "
            "pseudo-masks of the same boxes. Repeatable.",
        ),
    ] = None,
    checkpoint: Annotated[
        str, common.option("--checkpoint NAME", "Which checkpoint of a run is measured: last or best.")
    ] = "last",
    teacher: Annotated[str, common.teacher_option("Teacher of rows that make their own pseudo-masks.")] = "mobile-sam",
    tiny: Annotated[
        bool,
        common.option("--tiny", "Trial runs of a few seconds; without --config they train on the test sets."),
    ] = False,
    plan: Annotated[bool, common.option("--plan", "Print the rows and exit.")] = False,
    json_output: common.JsonOption = False,
    device: common.DeviceOption = "auto",
) -> None:
    """Train the rows of a study with every seed, measure them with true masks, compare them picture by picture.

    DIR gets results.json, report.html, table.md, table.csv, per_image.csv, plot.png and a folder ROW/seed-N for every
    run. After an interruption, the same command does only what is missing. Seeds and test sets may be added later.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a study runs in one process", "distribute its rows over GPUs with --only and --device")
    from imltool.data.sets import apply_lists, named_sets, sample_sets
    from imltool.study.studies import STUDIES

    if name not in STUDIES and Path(name).suffix.lower() not in OWN_ROWS:
        raise UsageError(
            f"unknown study {name!r}", f"choose one of {', '.join(STUDIES)}, or give a YAML file with rows"
        )
    sets = []
    if not plan or (tiny and not config):
        sets = named_sets(data) if data else sample_sets(samples)
        apply_lists(sets, lists or [])
    extra = [*_tiny(sets, config), *(set_ or [])] if tiny else list(set_ or [])
    extra += [f"optim.steps={steps}"] if steps is not None else []
    settings = _settings(name, config, extra, _numbers(seeds), checkpoint, teacher)
    _refuse_unknown(only or [], settings)
    if plan:
        _print_plan(settings, json_output)
        return
    _run(settings, sets, out or Path("studies") / settings.study, device, only or [], reuse or [], json_output)


def _numbers(seeds: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in seeds.split(","))
    except ValueError:
        raise UsageError(f"--seeds {seeds!r} is not a list of numbers", "for instance --seeds 0,1,2") from None


def _tiny(sets: list[NamedSet], config: list[Path] | None) -> list[str]:
    """Overrides of `--tiny`; without a configuration, training uses the test sets themselves, with their masks."""
    from imltool.study.settings import TINY

    if config:
        return list(TINY)
    sources = []
    for one in sets:
        root = Path(os.path.abspath(one.root))
        forged, authentic = root / "tampered", root / "authentic"
        if forged.is_dir():
            source = {"kind": "masks", "images": str(forged), "masks": str(root / "masks")}
            sources.append({"name": one.name, **source})
        if authentic.is_dir():
            sources.append({"name": one.name, "kind": "authentic", "images": str(authentic)})
    if not sources:
        raise UsageError(
            f"--tiny without --config trains on the test sets, and {sets[0].root} has no folder tampered/ or "
            "authentic/",
            "give a --config with sources under data.train, or a --data in the folder layout",
        )
    return [*TINY, f"data.train={json.dumps(sources)}"]


def _settings(
    name: str, config: list[Path] | None, overrides: list[str], seeds: tuple[int, ...], checkpoint: str, teacher: str
) -> StudySettings:
    from pydantic import ValidationError

    from imltool.config import first_fault, load_settings
    from imltool.study.settings import RowsSettings, StudySettings
    from imltool.study.studies import STUDIES, available, drop_repetitions
    from imltool.teacher.registry import NAMED_TEACHERS
    from imltool.training.settings import TrainSettings

    if teacher not in NAMED_TEACHERS:
        raise UsageError(f"unknown teacher {teacher!r}", f"choose one of {', '.join(NAMED_TEACHERS)}")
    base = load_settings(TrainSettings, config, overrides)
    if not base.data.train:
        raise UsageError("nothing to train on", "give a --config that lists sources under data.train, or --tiny")
    if name in STUDIES:
        rows, absent = available(STUDIES[name](base, teacher))
    else:
        rows, absent = load_settings(RowsSettings, Path(name)).rows, []
    fields = {"study": Path(name).stem, "config": config or (), "overrides": overrides, "rows": rows, "seeds": seeds}
    try:
        settings = StudySettings.model_validate({**fields, "checkpoint": checkpoint})
    except ValidationError as error:
        where, fault = first_fault(error)
        raise UsageError(f"{where or name}: {fault}") from error
    settings, repeated = drop_repetitions(settings)
    for one in (*absent, *repeated):
        common.say(f"row {one.name} left out: {one.reason}")
    return settings


def _refuse_unknown(only: list[str], settings: StudySettings) -> None:
    known = [row.name for row in settings.rows]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UsageError(f"the study has no row {unknown[0]!r}", f"its rows are {', '.join(known)}")


def _print_plan(settings: StudySettings, json_output: bool) -> None:
    if json_output:
        typer.echo(json.dumps({row.name: row.model_dump(mode="json") for row in settings.rows}, indent=2))
        return
    from imltool.tables import Table

    count = len(settings.rows) * len(settings.seeds)
    seeds = ", ".join(map(str, settings.seeds))
    runs = f"{counted(count, 'run')} of {counted(settings.base.optim.steps, 'step')}, seeds {seeds}"
    lines = []
    for row in settings.rows:
        reference = settings.reference(row)
        lines.append([row.name, _changes(row), "–" if reference == row.name else reference])
    common.print_line(f"{settings.study}: {runs}")
    common.print_table(Table(settings.study, ["row", "changes", "compared with"], lines, 3), common.stdout)


def _changes(row: Variant) -> str:
    labels = []
    if row.labels is not None:
        jitter = row.labels.jitter
        boxes = "the given boxes" if jitter is None else f"boxes {jitter:.0%} too large on every side"
        labels.append(f"pseudo-masks by {row.labels.teacher} from {boxes}")
    return ", ".join([*row.overrides, *labels]) or "none"


def _run(
    settings: StudySettings,
    sets: list[NamedSet],
    out: Path,
    device: str,
    only: list[str],
    reuse: list[Path],
    as_json: bool,
) -> None:
    from imltool.cli.progress import Update, follow
    from imltool.evaluation.events import Advanced, Started
    from imltool.study.events import Measured, Trained
    from imltool.study.plot import draw_study, study_plot
    from imltool.study.report import (
        PAGE_NAME,
        PLOT_NAME,
        RESULTS_NAME,
        TABLE_NAME,
        study_results,
        terminal_table,
        write_page,
        write_report,
    )
    from imltool.study.results import StudyResults
    from imltool.study.runner import Study

    def report() -> StudyResults:
        measurements = running.measurements()
        names = [one.name for one in sets]
        results = study_results(settings, measurements, running.qualities(), common.command_line(), names)
        write_report(out, results, measurements)
        return results

    def hashing() -> Iterator[Started | Advanced]:
        for one in sets:
            yield Started(f"hashing {one.name}", len(one.samples))
            for _ in one.hash_files():
                yield Advanced()

    def show(event: Trained | Measured, update: Update) -> None:
        if isinstance(event, Measured):
            f1 = "–" if event.pixel_f1 is None else f"{event.pixel_f1:.3f}"
            common.say(f"{event.run}: {event.set} ({event.role.upper()}) F1 {f1}")
            report()
        elif event.event["event"] == "start":
            common.say(f"{event.run}: training, steps {event.event['step']}-{event.event['steps']}")
        elif event.event["event"] == "train":
            update(event.event["step"], f"{event.run}: loss {event.event['loss']:.4f}")

    follow(hashing())
    running = Study(settings, sets, out, device, only, reuse)
    try:
        follow(running.run(), show)
    finally:  # the results so far are plotted after Ctrl-C too
        results = report()
        draw_study(out / PLOT_NAME, results)
        write_page(out, results, study_plot(results))
        running.close()
    common.print_results(results.text(), terminal_table(results), as_json)
    common.say(f"written: {out}: {TABLE_NAME}, {RESULTS_NAME}, {PAGE_NAME}, {PLOT_NAME}")
    unscored = [line for line in running.measurements() if line.n_failed]
    if unscored:
        first = unscored[0]
        common.say(
            f"{counted(first.n_failed, 'picture')} of {first.set} could not be scored, the first: {first.first_failure}"
        )
    common.finish(len(running.failed) + len(unscored))
