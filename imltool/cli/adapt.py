"""`imltool adapt`: teach an existing student a new kind of forgery with a few boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imltool.cli import common
from imltool.texts import counted

if TYPE_CHECKING:
    from rich.progress import TaskID

    from imltool.adapt.comparison import Change, Comparison


def adapt(
    photos: Annotated[Path, common.argument("PHOTOS", "Folder of edited pictures that have boxes.")],
    boxes: Annotated[
        Path, common.option("--boxes FILE|DIR", "Boxes from imltool annotate or review, or in any format of pseudo.")
    ],
    out: Annotated[Path, common.out_option("Folder of the run.", "RUN")],
    authentic: Annotated[
        Path | None, common.option("--authentic DIR", "Authentic pictures of the kind you work with, 20 or more.")
    ] = None,
    masks: Annotated[
        Path | None, common.option("--masks DIR", "True masks of PHOTOS, measured against instead of pseudo-masks.")
    ] = None,
    known: Annotated[
        Path | None,
        common.option(
            "--known DIR", "Forgeries of kinds the student finds (tampered/, masks/), to measure the loss on."
        ),
    ] = None,
    box_format: common.BoxFormatOption = None,
    categories: common.CategoryOption = None,
    boxes_of: common.BoxesOfOption = None,
    weights: Annotated[
        str | None,
        common.option("--from NAME", "Student to start from: a name or a checkpoint (default: the bundled one)."),
    ] = None,
    config: common.ConfigOption = None,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
    device: common.DeviceOption = "auto",
) -> None:
    """Adapt a student to a new kind of forgery with a few boxes.

    Makes pseudo-masks from the boxes, trains the student on them with replay of what it already finds, fits thresholds
    to the authentic pictures, and compares both students on held-out pictures. The result says whether the new student
    is better. imltool scan --weights RUN uses it.
    """
    from imltool.adapt.settings import AdaptSettings
    from imltool.config import load_settings

    settings = load_settings(AdaptSettings, config, set_)
    from imltool.adapt.adaptation import Adaptation  # loads torch: after the settings were checked

    adaptation = Adaptation(
        photos,
        boxes,
        out,
        authentic=authentic,
        masks=masks,
        known=known,
        weights=Path(weights) if weights else None,
        settings=settings,
        device=device,
        box_format=box_format,
        categories=categories or (),
        boxes_of=boxes_of,
    )
    common.log_boxes(adaptation.report)
    parts = adaptation.parts
    common.say(f"{counted(len(parts.taught), 'picture')} to learn from, {len(parts.held_out)} held out to measure")
    if authentic is None:
        unmeasured = "false alarms are" if known else "known kinds and false alarms are"
        common.say(f"no --authentic: thresholds are not changed, and {unmeasured} not measured")
    else:
        common.say(
            f"authentic pictures: {len(parts.authentic)} for training, {len(parts.calibrating)} for calibration, "
            f"{len(parts.checking)} to measure"
        )
    tasks: dict[str, TaskID] = {}
    with common.progress_bar() as bar:
        for progress in adaptation.run():
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(progress.stage, total=progress.total)
            bar.update(tasks[progress.stage], completed=progress.done)
            if progress.message:
                common.say(progress.message)
    comparison = adaptation.comparison
    assert comparison is not None
    if as_json:
        common.print_json(adaptation.results())
    else:
        _print(comparison, "known kinds, F1" if known else "generated forgeries, F1")
    common.say(comparison.conclusion())
    if comparison.recommended:
        common.say(f"next: imltool scan PATH --weights {out}")
    common.finish(len(adaptation.report.faults))


def _print(comparison: Comparison, known: str) -> None:
    lines: list[tuple[str, Change | None]] = [
        ("new kind, F1", comparison.new_f1),
        ("new kind, flagged", comparison.new_flagged),
        (known, comparison.known_f1),
        ("authentic, flagged", comparison.false_alarms),
    ]
    common.stdout.print(f"{'':24}{'pictures':>9}{'before':>8}{'after':>8}  change [95 %]", highlight=False)
    for name, change in lines:
        if change is None:
            continue
        interval = f" [{change.interval[0]:+.3f}, {change.interval[1]:+.3f}]" if change.interval else ""
        common.stdout.print(
            f"{name:24}{change.pictures:9}{change.before:8.3f}{change.after:8.3f}  {change.difference:+.3f}{interval}",
            markup=False,
            highlight=False,
        )
