"""`imltool eval`: measure a checkpoint, and what it has to beat, on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imltool.cli import common
from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.evaluation.maps import MapFolder
    from imltool.evaluation.methods import Method
    from imltool.evaluation.report import Report
    from imltool.evaluation.roles import Overlap
    from imltool.evaluation.runner import Counting, ImageRow
    from imltool.evaluation.sets import NamedSet
    from imltool.student.localizer import Localizer

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
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="Data set: DIR with tampered/, masks/, authentic/, a manifest, or LAYOUT:DIR. Repeatable.",
            metavar="NAME=DIR",
        ),
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
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Measure a checkpoint, or saved maps of any method, on labelled pictures.

    Writes results.json, per_image.csv and table.md after every set, and report.html at the end; when it is stopped,
    the same command goes on with what is missing. A set is IND when the checkpoint was trained or validated on a set
    of that name or on any of its pictures, else OOD. The table goes to stdout; with --json it goes to stderr and
    results.json to stdout.
    """
    common.setup_logging(verbose, quiet)
    baselines = list(dict.fromkeys(baseline or []))
    if maps and weights is None:
        weights = NO_WEIGHTS
    if weights == NO_WEIGHTS and not baselines and not maps:
        raise UsageError("nothing to measure: --weights none and no --baseline", "add --baseline ela, or leave it out")
    if (invert or resize_maps or name) and not maps:
        raise UsageError("--name, --invert and --resize-maps are for saved maps", "give --maps DIR")

    from imltool.device import choose_device
    from imltool.evaluation.baselines import BASELINES
    from imltool.evaluation.compat import DEFAULT_SIDE, PROTOCOLS
    from imltool.evaluation.degradations import choose
    from imltool.evaluation.folder import open_folder, refuse_foreign
    from imltool.evaluation.methods import choose_methods, maps_method
    from imltool.evaluation.report import Report
    from imltool.evaluation.runner import Counting
    from imltool.evaluation.sets import apply_lists, named_sets, sample_sets
    from imltool.student.localizer import Localizer

    _known("baseline", baselines, BASELINES)
    protocols = list(dict.fromkeys(compat or []))
    _known("protocol", protocols, PROTOCOLS)
    degradations = choose(robust) if robust is not None else []
    if degradations and weights == NO_WEIGHTS and not baselines:
        raise UsageError("--robust has to predict degraded pictures", "give --weights or --baseline, not maps alone")
    refuse_foreign(out)  # before the pictures are hashed
    sets = named_sets(data) if data else sample_sets(samples)
    apply_lists(sets, lists or [])
    for one in sets:
        if one.notes:
            count = "1 file was" if len(one.notes) == 1 else f"{len(one.notes)} files were"
            common.say(f"warning: {one.name}: {count} left out, the first: {one.notes[0]}")
    folders = _map_folders(maps or [], name or [], invert, resize_maps, sets)
    chosen = choose_device(device)
    localizer = None if weights == NO_WEIGHTS else Localizer.load(Path(weights) if weights else None, chosen)
    overlaps = _overlaps(sets, localizer, ood and not allow_overlap)
    side = compat_size or (localizer.header.input_size if localizer else DEFAULT_SIDE)
    parameters = {
        "weights": localizer.sha256 if localizer else None,
        # a key a set, so that a refusal names the one that differs
        **{f"files of {one.name}": one.digest for one in sets},
        "baselines": baselines,
        **{f"maps of {one.name}": one.digest for one in folders},
        "protocols": {protocol: side if protocol == "imdlbenco" else "original size" for protocol in protocols},
        "min_max": min_max,
        "ood": ood,
        "seed": seed,
    }
    resumable = open_folder(out, parameters, restart)

    from imltool.cli.eval_output import command_line, show

    methods = choose_methods(localizer, baselines, chosen, seed) + [maps_method(one) for one in folders]
    _refuse_doubled(methods)
    command = command_line(
        {
            "--weights": weights,
            "--data": data,
            "--samples": None if data else str(samples),
            "--list": lists,
            "--ood": ood,
            "--allow-overlap": allow_overlap,
            "--baseline": baselines,
            "--maps": [str(path) for path in maps or []],
            "--name": name,
            "--invert": invert,
            "--resize-maps": resize_maps,
            "--compat": protocols,
            "--compat-size": compat_size,
            "--min-max": min_max,
            "--robust": robust,
            "--seed": str(seed),
            "--out": str(out),
        }
    )
    report = Report(out, localizer, methods, command, protocols, {"min_max": min_max, "compat_size": side})
    if resumable and report.resume():
        common.say(f"going on with the results in {out}")
    counting = Counting(tuple(protocols), side, min_max=min_max)
    for one in sets:
        for method in methods:
            if not report.has(one, method):
                rows = _measure(one, method, batch, counting, out)
                report.add(one, overlaps[one.name], method, rows, seed)
                _warn_of_inversion(one, method, rows)
                report.write()
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
    common.finish(len(failures))


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
                with common.progress_bar() as progress:
                    total = run.todo(method, one)
                    task = progress.add_task(f"{method.label} on degraded {one.name}", total=total)
                    for _ in run.run(method, one, batch):
                        progress.advance(task)
        return run.summary(predicting, report.lines)
    finally:
        run.close()


def _finish(report: Report, sets: Sequence[NamedSet]) -> None:
    from imltool.evaluation.page import write_page
    from imltool.evaluation.report import CSV_NAME, RESULTS_NAME, TABLE_NAME

    pictures = {(one.name, sample.name): sample for one in sets for sample in one.samples}
    page = write_page(report.out, report.results, report.lines, report.curves, pictures)
    common.say(f"written: {report.out / RESULTS_NAME}, {CSV_NAME}, {TABLE_NAME}, {page.name}")


def _overlaps(sets: Sequence[NamedSet], localizer: Localizer | None, refuse: bool) -> dict[str, Overlap]:
    """Role of every set, before any picture is predicted, so that a refusal comes at once."""
    from imltool.evaluation.roles import find_overlap, looks_of, refuse_hidden_overlap

    training_sets = localizer.header.training_sets if localizer else ()
    validation_sets = localizer.header.validation_sets if localizer else ()
    similar = any(looks_of(one) for one in (*training_sets, *validation_sets))
    overlaps = {}
    with common.progress_bar() as progress:
        for one in sets:
            task = progress.add_task(f"hashing {one.name}", total=len(one.samples))
            for _ in one.hash_files(similar):
                progress.advance(task)
            overlap = find_overlap(one.name, one.pictures, training_sets, validation_sets, one.fingerprints)
            if refuse:
                refuse_hidden_overlap(one.name, overlap)
            overlaps[one.name] = overlap
    for name, overlap in overlaps.items():
        if overlap.n_seen:
            pictures = "1 picture was" if overlap.n_seen == 1 else f"{overlap.n_seen} pictures were"
            seen = f"{pictures} {overlap.seen_as} ({overlap.source_set})"
            common.say(f"warning: {name}: {seen}, the first is {overlap.first}")
        if overlap.n_similar:
            pictures = "1 picture looks" if overlap.n_similar == 1 else f"{overlap.n_similar} pictures look"
            seen = f"{pictures} like one the checkpoint has seen ({overlap.similar_source})"
            common.say(f"warning: {name}: {seen}, the first is {overlap.similar_first}")
    return overlaps
