"""`imltool eval`: measure a checkpoint, and what it has to beat, on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imltool.cli import common
from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.data.sets import NamedSet
    from imltool.evaluation.maps import MapFolder
    from imltool.evaluation.methods import Method
    from imltool.evaluation.report import Report
    from imltool.evaluation.runner import Counting, ImageRow

NO_WEIGHTS = "none"
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
        bool, typer.Option("--allow-overlap", help="With --ood: go on with such a set, and tell it in the results.")
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
            "--tiles", help="Look at large pictures in tiles too, as imltool scan --tiles.", rich_help_panel=PROTOCOL
        ),
    ] = False,
    compat: Annotated[
        list[str] | None,
        typer.Option(
            "--compat",
            help="Also measure as imdlbenco, trufor or mvss do, in a table of its own. Repeatable.",
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
    engine: common.EngineOption = "auto",
    precision: common.PrecisionOption = common.PrecisionChoice.fp32,
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Measure a checkpoint, or saved maps of any method, on labelled pictures.

    Writes results.json, per_image.csv and table.md after every set, and report.html at the end; when it is stopped,
    the same command goes on with what is missing. A set is IND when the checkpoint was trained or validated on a set
    of that name or on any of its pictures, else OOD; a protocol's roles hold as far as that does not contradict them.
    The table goes to stdout; with --json it goes to stderr and results.json to stdout.
    """
    common.setup_logging(verbose, quiet)
    baselines = list(dict.fromkeys(baseline or []))
    if maps and weights is None:
        weights = NO_WEIGHTS
    if weights == NO_WEIGHTS and not baselines and not maps:
        raise UsageError("nothing to measure: --weights none and no --baseline", "add --baseline ela, or leave it out")
    if (invert or resize_maps or name) and not maps:
        raise UsageError("--name, --invert and --resize-maps are for saved maps", "give --maps DIR")
    if tiles and weights == NO_WEIGHTS:
        raise UsageError("--tiles is a way to look with a checkpoint", "give --weights, or leave it out")

    from imltool.cli.eval_output import command_line, show
    from imltool.cli.eval_sets import choose_sets, find_overlaps
    from imltool.device import choose_device
    from imltool.evaluation.baselines import BASELINES
    from imltool.evaluation.compat import DEFAULT_SIDE, PROTOCOLS
    from imltool.evaluation.degradations import choose
    from imltool.evaluation.folder import evaluation_folder, refuse_foreign
    from imltool.evaluation.methods import choose_methods, maps_method
    from imltool.evaluation.report import Report
    from imltool.evaluation.runner import Counting
    from imltool.inference.localizer import Localizer

    _known("baseline", baselines, BASELINES)
    _known("--compat", compat or [], PROTOCOLS)
    degradations = choose(robust) if robust is not None else []
    if degradations and weights == NO_WEIGHTS and not baselines:
        raise UsageError("--robust has to predict degraded pictures", "give --weights or --baseline, not maps alone")
    refuse_foreign(out)  # before the pictures are hashed
    sets, run = choose_sets(data or [], lists or [], samples, protocol, root)
    compared = list(dict.fromkeys([*(run.settings.compat if run else ()), *(compat or [])]))
    folders = _map_folders(maps or [], name or [], invert, resize_maps, sets)
    chosen = choose_device(device)
    localizer = None
    if weights != NO_WEIGHTS:
        localizer = Localizer.load(Path(weights) if weights else None, chosen, engine, precision.value)
    overlaps = find_overlaps(sets, localizer, ood and not allow_overlap, run.roles if run else {})
    side = compat_size or (localizer.header.input_size if localizer else DEFAULT_SIDE)
    parameters = {
        "weights": localizer.sha256 if localizer else None,
        # a key a set, so that a refusal names the one that differs
        **{f"files of {one.name}": one.digest for one in sets},
        "baselines": baselines,
        **{f"maps of {one.name}": one.digest for one in folders},
        "protocol": run.sha256 if run else None,
        "compat": {one: side if one == "imdlbenco" else "original size" for one in compared},
        "min_max": min_max,
        "tiles": tiles,
        "engine": localizer.network.engine if localizer else None,
        "precision": localizer.network.compute if localizer else None,
        "ood": ood,
        "seed": seed,
    }
    with evaluation_folder(out, parameters, restart) as resumable:
        methods = choose_methods(localizer, baselines, chosen, seed, tiles) + [maps_method(one) for one in folders]
        _refuse_doubled(methods)
        command = command_line(
            {
                "--weights": weights,
                "--data": data,
                "--samples": None if data or protocol else str(samples),
                "--protocol": protocol,
                "--root": str(root) if root else None,
                "--list": lists,
                "--ood": ood,
                "--allow-overlap": allow_overlap,
                "--baseline": baselines,
                "--maps": [str(path) for path in maps or []],
                "--name": name,
                "--invert": invert,
                "--resize-maps": resize_maps,
                "--tiles": tiles,
                "--compat": compat,
                "--compat-size": compat_size,
                "--min-max": min_max,
                "--robust": robust,
                "--engine": engine,
                "--precision": precision.value,
                "--seed": str(seed),
                "--out": str(out),
            }
        )
        options = {"min_max": min_max, "compat_size": side, "tiles": tiles}
        report = Report(out, localizer, methods, command, compared, options, run)
        if resumable:
            kept = report.resume()
            common.say(
                f"going on with the results in {out} (--restart measures them again)"
                if kept
                else f"the results in {out} are damaged or of other versions: measured again"
            )
        counting = Counting(tuple(compared), side, min_max=min_max)
        for one in sets:
            for method in methods:
                if not report.has(one, method):
                    rows = _measure(one, method, batch, counting, out)
                    if reason := report.add(one, overlaps[one.name], method, rows, seed):
                        common.say(f"warning: {method.label} has no figures on {one.name}: {reason}")
                        continue
                    _warn_of_inversion(one, method, rows)
                    report.write()
        report.refuse_empty()
        if degradations:
            report.results["robust"] = _degrade(out, sets, methods, degradations, batch, seed, report)
        report.write(complete=True)
        _finish(report, sets)
        show(report, json_output)
        failures = report.failures()
        if failures:
            count = "1 picture" if len(failures) == 1 else f"{len(failures)} pictures"
            common.say(f"{count} could not be scored, the first: {failures[0]['set']}/{failures[0]['image']}")
            common.say(f"  {failures[0]['reason']}")
        missing = [one.name for one in run.missing] if run else []
        if run and missing:
            common.say(f"not the whole protocol {run.name}: without {', '.join(missing)}")
        common.finish(len(failures) + len(missing) + len(report.results["unusable"]))


def _known(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    choices = list(known)
    for name in names:
        if name not in choices:
            raise UsageError(f"unknown {what} {name!r}", f"choose from {', '.join(choices)}")


def _map_folders(
    folders: Sequence[Path], names: Sequence[str], invert: bool, resize: bool, sets: Sequence[NamedSet]
) -> list[MapFolder]:
    """The folders of saved maps, their files matched and hashed."""
    from imltool.evaluation.maps import MapFolder

    if names and len(names) != len(folders):
        raise UsageError(f"{len(folders)} --maps but {len(names)} --name", "give one --name for each, or none")
    found = []
    for index, folder in enumerate(folders):
        one = MapFolder(names[index] if names else folder.resolve().name, folder, invert, resize)
        one.match(sets)
        if one.unused:
            count = "1 map" if one.unused == 1 else f"{one.unused} maps"
            common.say(f"warning: {count} in {folder} belong to no picture")
        with common.progress_bar() as progress:
            task = progress.add_task(f"hashing maps of {one.name}", total=len(one.files))
            for _ in one.hash_files():
                progress.advance(task)
        found.append(one)
    return found


def _refuse_doubled(methods: Sequence[Method]) -> None:
    labels = [method.label for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two methods are named {label}", "give each --maps its own --name")


def _measure(one: NamedSet, method: Method, batch: int, counting: Counting, out: Path) -> list[ImageRow]:
    from imltool.evaluation.previews import preview_writer

    rows = []
    keep = preview_writer(out, method.label, one.name)
    with common.progress_bar() as progress:
        task = progress.add_task(f"{method.label} on {one.name}", total=len(one.samples))
        for row in method.rows(one, batch=batch, counting=counting, on_map=keep):
            rows.append(row)
            progress.advance(task)
    return rows


def _warn_of_inversion(one: NamedSet, method: Method, rows: Sequence[ImageRow]) -> None:
    from imltool.evaluation.maps import looks_inverted

    auc = looks_inverted(rows) if method.maps else None
    if auc is not None and method.maps:
        mend = "leave out --invert" if method.maps.invert else "give --invert"
        common.say(
            f"warning: the maps of {method.label} look inverted on {one.name} (mean pixel AUC {auc:.2f}); "
            f"if low values mean tampered, {mend}"
        )


def _degrade(
    out: Path,
    sets: Sequence[NamedSet],
    methods: Sequence[Method],
    names: Sequence[str],
    batch: int,
    seed: int,
    report: Report,
) -> dict[str, object]:
    """Measure the degraded pictures with every method that predicts; the `robust` block of the results."""
    from imltool.evaluation.robust import RobustRun

    predicting = [method for method in methods if method.maps is None]
    run = RobustRun(out, names, seed)
    try:
        for one in sets:
            for method in predicting:
                if not report.has(one, method):
                    continue
                with common.progress_bar() as progress:
                    total = run.todo(method, one)
                    task = progress.add_task(f"{method.label} on degraded {one.name}", total=total)
                    for _ in run.run(method, one, batch):
                        progress.advance(task)
        return run.summary(predicting, report.lines, report.results["robust"])
    finally:
        run.close()


def _finish(report: Report, sets: Sequence[NamedSet]) -> None:
    from imltool.evaluation.page import write_page
    from imltool.evaluation.report import CSV_NAME, RESULTS_NAME, TABLE_NAME

    pictures = {(one.name, sample.name): sample for one in sets for sample in one.samples}
    page = write_page(report.out, report.results, report.lines, report.curves, pictures)
    common.say(f"written: {report.out / RESULTS_NAME}, {CSV_NAME}, {TABLE_NAME}, {page.name}")
