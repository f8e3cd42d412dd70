"""`imltool eval`: measure a checkpoint, baselines and saved maps on labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imltool.cli import common
from imltool.texts import counted

MAPS = "Saved maps of other methods"
PROTOCOL = "Protocol"


def evaluate(
    weights: Annotated[
        str | None,
        common.option(
            "--weights,-w FILE",
            "Checkpoint (default: the bundled student; with --maps: none). `none` measures baselines only.",
        ),
    ] = None,
    data: common.DataOption = None,
    lists: common.ListOption = None,
    samples: common.SamplesOption = common.SAMPLES,
    protocol: Annotated[
        str | None,
        common.option(
            "--protocol NAME",
            "Use the sets of a published protocol instead of --data: boxpromptiml, mvss, cat, or a YAML file.",
            PROTOCOL,
        ),
    ] = None,
    root: Annotated[
        Path | None, common.option("--root DIR", "Folder that holds the protocol's data sets.", PROTOCOL)
    ] = None,
    ood: Annotated[
        bool, common.option("--ood", "Refuse a set with pictures the checkpoint has seen under another name.")
    ] = False,
    allow_overlap: Annotated[
        bool, common.option("--allow-overlap", "With --ood: measure such a set anyway; the results say so.")
    ] = False,
    baseline: Annotated[
        list[str] | None, common.option("--baseline NAME", "Also measure ela, constant or untrained. Repeatable.")
    ] = None,
    maps: Annotated[
        list[Path] | None,
        common.option(
            "--maps DIR", "Folder of maps (.npz, .npy, .png, .tif) named like the pictures. Repeatable.", MAPS
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        common.option("--name NAME", "Name of the method, once for each --maps (default: the folder's).", MAPS),
    ] = None,
    invert: Annotated[bool, common.option("--invert", "High values in the maps mean authentic.", MAPS)] = False,
    resize_maps: Annotated[
        bool, common.option("--resize-maps", "Scale maps of another size to that of their picture.", MAPS)
    ] = False,
    tiles: Annotated[
        bool, common.option("--tiles", "Also predict large pictures in tiles, as imltool scan --tiles.", PROTOCOL)
    ] = False,
    compat: Annotated[
        list[str] | None,
        common.option(
            "--compat NAME",
            "Also measure as imdlbenco, imdlbenco-padded, trufor or mvss do, in a separate table. Repeatable.",
            PROTOCOL,
        ),
    ] = None,
    compat_size: Annotated[
        int | None,
        common.option(
            "--compat-size N",
            "Side in pixels for imdlbenco (default: the checkpoint's input size; 512 without a checkpoint).",
            PROTOCOL,
            min=16,
            max=4096,
        ),
    ] = None,
    min_max: Annotated[bool, common.option("--min-max", "Stretch every map to 0..1 before scoring.", PROTOCOL)] = False,
    robust: Annotated[
        str | None,
        common.option(
            "--robust LIST",
            "Also measure degraded pictures: all, or some of jpeg, blur, noise, resize, webp, screenshot, upload "
            "(--robust jpeg,blur).",
            PROTOCOL,
        ),
    ] = None,
    max_left_out: common.MaxLeftOutOption = 0.1,
    out: Annotated[Path, common.out_option("Folder for the results: new, empty or of an earlier evaluation.")] = Path(
        "imltool-eval"
    ),
    batch: Annotated[int, common.option("--batch N", "Pictures predicted at once.", min=1)] = 8,
    restart: common.RestartOption = False,
    json_output: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    engine: common.EngineOption = "auto",
    precision: common.PrecisionOption = "fp32",
    seed: common.SeedOption = 0,
) -> None:
    """Measure a checkpoint, or saved maps of any method, on labelled pictures.

    Writes results.json, per_image.csv, table.md and report.html. After an interruption, the same command resumes with
    the missing pictures. A set is IND when the checkpoint was trained or validated on a set of that name or on any of
    its pictures, else OOD. A protocol's roles are used unless this contradicts them. The table goes to stdout; with
    --json it goes to stderr and results.json to stdout.
    """
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
        max_left_out=max_left_out,
        min_max=min_max,
        robust=tuple(choose(robust)) if robust is not None else (),
        batch=batch,
        device=device,
        engine=engine,
        precision=precision,
        seed=seed,
    )
    evaluation = Evaluation(settings, out, restart=restart, command=common.command_line())
    follow(evaluation.run())
    common.say(f"written: {out}: results.json, per_image.csv, table.md, report.html")
    show(evaluation.results, json_output)
    failures = evaluation.failures
    if failures:
        count = counted(len(failures), "picture")
        common.say(f"{count} could not be scored, the first: {failures[0].set}/{failures[0].image}")
        common.say(f"  {failures[0].reason}")
    if evaluation.missing:
        common.say(f"protocol {protocol} is incomplete: without {', '.join(evaluation.missing)}")
    common.finish(len(failures) + len(evaluation.missing) + len(evaluation.results.unusable))
