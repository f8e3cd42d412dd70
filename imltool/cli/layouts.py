"""`imltool data index`, `check`, `convert` and `boxes`: data sets as they are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imltool.cli import common
from imltool.texts import counted

if TYPE_CHECKING:
    from imltool.data.layouts import Problem
    from imltool.data.manifest import Manifest

TargetArgument = Annotated[
    str,
    common.argument(
        "MANIFEST|LAYOUT:DIR",
        "A manifest, or LAYOUT:DIR such as casia2:DIR or folder:DIR; docs/data.md lists the layouts.",
    ),
]
SplitOption = Annotated[
    list[str] | None, common.option("--split NAME", "Only pictures of this split or of no split. Repeatable.")
]
MaskRuleOption = Annotated[
    list[str] | None,
    common.option(
        "--mask-rule KEY=VALUE",
        "How masks are read: background=#rrggbb, tampered=#rrggbb, polarity=dark, threshold=N, raster=stored. "
        "Repeatable.",
    ),
]
LISTED = 10
"""Findings of one kind that are listed one by one, at most."""


def register(group: typer.Typer) -> None:
    """Add the commands of this module to `imltool data`."""
    for command in (index, check, convert, boxes):
        group.command()(common.logged(command))


def index(
    target: TargetArgument,
    out: Annotated[Path, common.out_option("Manifest to write (JSON Lines).", "FILE")],
    split: SplitOption = None,
    mask_rule: MaskRuleOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """List a data set in a manifest: picture, mask, mask rule, kind, split, source.

    Only file names are read; `imltool data check` reads the files. Exit code 3 when files had to be left out.
    """
    from imltool.data.manifest import write_manifest

    manifest, problems = _read(target, split, mask_rule)
    write_manifest(out, manifest)
    _report(problems)
    counts = manifest.counts()
    if as_json:
        _print_json(asdict(counts), problems)
    common.say(f"{counts.tampered} tampered, {counts.authentic} authentic → {out}")
    _finish(problems)


def check(
    target: TargetArgument,
    split: SplitOption = None,
    mask_rule: MaskRuleOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Check a data set: files without a partner, sizes, masks, duplicates, damage.

    Every picture and mask is decoded. Findings are faults or notes; exit code 3 when there is a fault.
    """
    from imltool.data.layouts.check import check_files

    manifest, problems = _read(target, split, mask_rule)
    with common.progress_bar() as bar:
        task = bar.add_task("checking", total=len(manifest.records))
        problems = problems + check_files(manifest, lambda: bar.advance(task))
    if as_json:
        _print_json(asdict(manifest.counts()), problems)
    else:
        _show(manifest, problems)
    _finish(problems)


def convert(
    target: TargetArgument,
    out: Annotated[Path, common.out_option("New folder for tampered/, masks/, authentic/.")],
    link: Annotated[bool, common.option("--link", "Hard-link the pictures instead of copying them.")] = False,
    max_left_out: common.MaxLeftOutOption = 0.1,
    split: SplitOption = None,
    mask_rule: MaskRuleOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Convert a data set to the folder layout: masks as PNG of 0 and 255, pictures copied byte by byte.

    Also writes manifest.jsonl, which keeps kinds and splits. Pictures whose mask is missing, empty or of another size
    are reported and left out (exit code 3).
    """
    from imltool.data.accounts import Account, require_used, write_accounts
    from imltool.data.layouts.convert import convert as convert_set
    from imltool.data.survey import survey

    manifest, problems = _read(target, split, mask_rule, settle=True)
    _report(problems)
    account = Account(str(manifest.root))
    for problem in problems:
        if problem.leaves_out:
            account.leave_out(problem.kind, problem.file)
    survey(manifest.samples(), account)
    common.say_accounts([account])
    require_used([account], max_left_out, common.MAX_LEFT_OUT)
    failed: list[Problem] = []
    with common.progress_bar() as bar:
        task = bar.add_task("converting", total=len(manifest.records))
        for outcome in convert_set(manifest, out, link):
            bar.advance(task)
            if outcome is not None:
                failed.append(outcome)
                _report([outcome])
    write_accounts(out, [account])
    made = len(manifest.records) - len(failed)
    if as_json:
        _print_json({"converted": made}, [*problems, *failed])
    common.say(f"{made} of {len(manifest.records)} pictures → {out}")
    _finish([*problems, *failed])


def boxes(
    target: TargetArgument,
    out: Annotated[Path, common.out_option("COCO JSON to write.", "FILE")],
    jitter: Annotated[
        tuple[float, float],
        common.option(
            "--jitter LOW HIGH",
            "Move each side outwards by a random share of its length in this range, which the file records.",
        ),
    ] = (-0.05, 0.15),
    split: SplitOption = None,
    mask_rule: MaskRuleOption = None,
    as_json: common.JsonOption = False,
    seed: common.SeedOption = 0,
) -> None:
    """Make coarse boxes from masks, one per connected region, as a person might have drawn them."""
    from imltool.data.box_formats import BoxedImage
    from imltool.data.box_writers import write_coco
    from imltool.data.layouts.coarse import boxes_from_masks, boxes_root

    manifest, problems = _read(target, split, mask_rule, settle=True)
    _report(problems)
    root = boxes_root(manifest)
    made: list[BoxedImage] = []
    failed: list[Problem] = []
    with common.progress_bar() as bar:
        task = bar.add_task("boxes", total=sum(record.tampered for record in manifest.records))
        for outcome in boxes_from_masks(manifest, jitter, seed):
            bar.advance(task)
            if isinstance(outcome, BoxedImage):
                made.append(outcome)
            else:
                failed.append(outcome)
                _report([outcome])
    low, high = jitter
    write_coco(out, made, f"made from masks by imltool data boxes, each side moved by {low:g} to {high:g}, seed {seed}")
    count = sum(len(item.boxes) for item in made)
    if as_json:
        _print_json({"images": len(made), "boxes": count, "root": str(root)}, [*problems, *failed])
    common.say(f"{counted(count, 'box', 'boxes')} in {counted(len(made), 'picture')}, named relative to {root} → {out}")
    _finish([*problems, *failed])


def _read(
    target: str, split: list[str] | None, mask_rule: list[str] | None, settle: bool = False
) -> tuple[Manifest, list[Problem]]:
    from imltool.data.layouts import read_set
    from imltool.data.layouts.orientation import settle_manifest
    from imltool.data.masks import parse_rule

    manifest, problems = read_set(target)
    manifest = manifest.select(split).ruled(parse_rule(mask_rule or []))
    if not settle:
        return manifest, problems
    manifest, orientations = settle_manifest(manifest)
    return manifest, problems + orientations


def _print_json(values: Mapping[str, object], problems: Iterable[Problem]) -> None:
    findings = [
        {"severity": one.severity, "kind": one.kind, "file": one.file, "message": one.message} for one in problems
    ]
    common.print_json({**values, "findings": findings})


def _report(problems: Iterable[Problem]) -> None:
    for problem in problems:
        log = common.log.error if problem.fault else common.log.info
        log("%s: %s", problem.file, problem.message)


def _finish(problems: Iterable[Problem]) -> None:
    common.finish(sum(problem.fault for problem in problems))


def _show(manifest: Manifest, problems: list[Problem]) -> None:
    """Print the table of findings on stdout, then the first findings of each kind one by one."""
    from imltool.tables import Table

    found = manifest.counts()
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.kinds.items()) if kind != "authentic")
    common.print_line(f"{found.tampered} tampered{f' (kind: {kinds})' if kinds else ''}, {found.authentic} authentic")
    if not problems:
        common.print_line("nothing found")
        return
    counts = Counter((problem.severity, problem.kind) for problem in problems)
    rows = [[severity, kind, str(count)] for (severity, kind), count in sorted(counts.items())]
    common.print_table(Table("", ("severity", "finding", "files"), rows, 2), common.stdout)
    for severity, kind in sorted(counts):
        alike = [problem for problem in problems if (problem.severity, problem.kind) == (severity, kind)]
        for problem in alike[:LISTED]:
            common.print_line(f"{severity} {kind}: {problem.file}: {problem.message}")
        if len(alike) > LISTED:
            common.print_line(f"{severity} {kind}: and {len(alike) - LISTED} more, all with --json")
