"""`imltool eval`: measure a checkpoint, and what it has to beat, on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common
from imltool.texts import counted

MAPS = "Saved maps of other methods"
PROTOCOL = "Protocol"


def evaluate(
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            help="Checkpoint; the bundled student when left out (with --maps: none), `none` for baselines alone.",
            metavar="FILE",
        ),
    ] = None,
    data: common.DataOption = None,
    lists: common.ListOption = None,
    samples: common.SamplesOption = common.SAMPLES,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="The sets of a published protocol in place of --data: boxpromptiml, mvss, cat, or a YAML file.",
            metavar="NAME",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", help="Folder that holds the protocol's data sets.", metavar="DIR", rich_help_panel=PROTOCOL
        ),
    ] = None,
    ood: Annotated[
        bool, typer.Option("--ood", help="Refuse a set with pictures the checkpoint has seen under another name.")
    ] = False,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="With --ood: measure such a set nevertheless; the results say so.")
    ] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Also measure ela, constant or untrained. Repeatable.", metavar="NAME"),
    ] = None,
    maps: Annotated[
        list[Path] | None,
        typer.Option(
            "--maps",
            help="Folder of maps (.npz, .npy, .png, .tif) named like the pictures. Repeatable.",
            metavar="DIR",
            rich_help_panel=MAPS,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help="Name of the method, once for each --maps; else the folder's.",
            metavar="NAME",
            rich_help_panel=MAPS,
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="High values in the maps mean authentic.", rich_help_panel=MAPS)
    ] = False,
    resize_maps: Annotated[
        bool,
        typer.Option("--resize-maps", help="Scale maps of another size to their picture.", rich_help_panel=MAPS),
    ] = False,
    tiles: Annotated[
        bool,
        typer.Option(
            "--tiles", help="Predict large pictures in tiles too, as imltool scan --tiles.", rich_help_panel=PROTOCOL
        ),
    ] = False,
    compat: Annotated[
        list[str] | None,
        typer.Option(
            "--compat",
            help="Also measure as imdlbenco, imdlbenco-padded, trufor or mvss do, in a table of its own. Repeatable.",
            metavar="NAME",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    compat_size: Annotated[
        int | None,
        typer.Option(
            "--compat-size",
            help="Side in pixels for imdlbenco; the checkpoint's input size when left out, 512 without one.",
            min=16,
            max=4096,
            metavar="N",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    min_max: Annotated[
        bool,
        typer.Option("--min-max", help="Stretch every map to 0..1 before scoring.", rich_help_panel=PROTOCOL),
    ] = False,
    robust: Annotated[
        str | None,
        typer.Option(
            "--robust",
            help="Measure degraded pictures too: all, or some of jpeg, blur, noise, resize, webp, screenshot, upload "
            "(--robust jpeg,blur).",
            metavar="LIST",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    out: Annotated[
        Path,
        common.out_option("Folder for the results: new, empty or an earlier evaluation's."),
    ] = Path("imltool-eval"),
    batch: Annotated[int, typer.Option("--batch", help="Pictures predicted at once.", metavar="N", min=1)] = 8,
    restart: common.RestartOption = False,
    json_output: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    engine: common.EngineOption = "auto",
    precision: common.PrecisionOption = common.PrecisionChoice.fp32,
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Measure a checkpoint, or saved maps of any method, on labelled pictures.

    Writes results.json, per_image.csv, table.md and report.html. When it is stopped, the same command resumes with the
    pictures that are missing. A set is IND when the checkpoint was trained or validated on a set of that name or on
    any of its pictures, else OOD; a protocol's roles hold as far as that does not contradict them. The table goes to
    stdout; with --json it goes to stderr and results.json to stdout.
    """
    common.setup_logging(verbose, quiet)
    from imltool.cli.eval_output import show
    from imltool.cli.progress import follow
    from imltool.evaluation.degradations import choose
    from imltool.evaluation.evaluation import Evaluation
    from imltool.evaluation.inputs import EvaluationSettings

    settings = EvaluationSettings(
        weights=weights,
        data=tuple(data or ()),
        lists=tuple(lists or ()),
        samples=samples,
        protocol=protocol,
        root=root,
        ood=ood,
        allow_overlap=allow_overlap,
        baselines=tuple(dict.fromkeys(baseline or ())),
        maps=tuple(maps or ()),
        names=tuple(name or ()),
        invert=invert,
        resize_maps=resize_maps,
        tiles=tiles,
        compat=tuple(dict.fromkeys(compat or ())),
        compat_size=compat_size,
        min_max=min_max,
        robust=tuple(choose(robust)) if robust is not None else (),
        batch=batch,
        device=device,
        engine=engine,
        precision=precision.value,
        seed=seed,
    )
    command = common.command_line()
    evaluation = Evaluation(settings, out, restart=restart, command=command)
    follow(evaluation.run())
    common.say(f"written: {out}: results.json, per_image.csv, table.md, report.html")
    show(evaluation.results, json_output)
    failures = evaluation.failures
    if failures:
        count = counted(len(failures), "picture")
        common.say(f"{count} could not be scored, the first: {failures[0].set}/{failures[0].image}")
        common.say(f"  {failures[0].reason}")
    if evaluation.missing:
        common.say(f"not the whole protocol {protocol}: without {', '.join(evaluation.missing)}")
    common.finish(len(failures) + len(evaluation.missing) + len(evaluation.results.unusable))
