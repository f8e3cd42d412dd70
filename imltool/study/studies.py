"""The studies by name, each with a function that makes the rows from the studied configuration.

Every function takes the resolved configuration and the name of the teacher for rows that make their own pseudo-masks.
Rows are compared with the first row unless they name another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from imltool.errors import WeightsError
from imltool.student.settings import MemoryKind, TraceGroup
from imltool.study.settings import LabelSettings, StudySettings, Variant
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.teacher.registry import NAMED_TEACHERS, teacher_weights
from imltool.training.settings import OptimSettings, SourceSettings, TrainSettings

JITTER = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares by which every side of a box moves outwards in the `boxes` study."""
ALPHAS = (0.5, 0.3, 0.7)
EMA = 0.998


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be trained here, and the reason."""

    name: str
    reason: str


Variants = list[Variant | Skipped]


def _memory(base: TrainSettings) -> str:
    """The configured kind of memory bank, or the default if there is none."""
    return base.student.memory if base.student.memory != "none" else "prototypes"


def ablation(base: TrainSettings, teacher: str) -> Variants:
    """The paper's Table 5: memory and gating on and off."""
    parts = {
        "full": (_memory(base), True),
        "without-memory": ("none", True),
        "without-gating": (_memory(base), False),
        "baseline": ("none", False),
    }
    return [
        Variant(name=name, overrides=(f"student.memory={memory}", f"student.gating={str(gating).lower()}"))
        for name, (memory, gating) in parts.items()
    ]


def memory(base: TrainSettings, teacher: str) -> Variants:
    """The kinds of memory bank between which the paper leaves the choice open."""
    return [Variant(name=kind, overrides=(f"student.memory={kind}",)) for kind in get_args(MemoryKind)]


def alpha(base: TrainSettings, teacher: str) -> Variants:
    """α of Eq. 4: fixed, and learned from 0.5."""
    bank = f"student.memory={_memory(base)}"
    rows: Variants = [
        Variant(name=f"alpha-{value:g}", overrides=(bank, f"student.alpha={value}", "student.learn_alpha=false"))
        for value in ALPHAS
    ]
    return [*rows, Variant(name="alpha-learned", overrides=(bank, "student.alpha=0.5", "student.learn_alpha=true"))]


def resolution(base: TrainSettings, teacher: str) -> Variants:
    """The configured input size and twice that: 224 and 448."""
    side = base.student.input_size
    return [Variant(name=f"{size}", overrides=(f"student.input_size={size}",)) for size in (side, 2 * side)]


def recipe(base: TrainSettings, teacher: str) -> Variants:
    """The unchanged configuration, and one change in each further row."""
    rows: Variants = [Variant(name="recipe")]
    losses = get_args(OptimSettings.model_fields["loss"].annotation)
    rows += [Variant(name=f"loss-{loss}", overrides=(f"optim.loss={loss}",)) for loss in losses]
    rows += [Variant(name=f"init-{init}", overrides=(f"init={init}",)) for init in ("teacher", "random")]
    rows += [Variant(name="without-ema", overrides=("optim.ema=0",))]
    rows += [Variant(name="with-ema", overrides=(f"optim.ema={base.optim.ema or EMA}",))]
    rows += [
        _without(base, "without-real-forgeries", ("pseudo", "masks")),
        _without(base, "without-synthetic", ("synth",)),
        _without_authentic(base),
        _pixel_masks(base),
    ]
    rows += [Variant(name=f"jpeg-{share}", overrides=(f"augment.jpeg={share}",)) for share in (0, 1)]
    groups = get_args(TraceGroup)
    for name, traces in {"none": (), **{group: (group,) for group in groups}, "all": groups}.items():
        rows.append(Variant(name=f"traces-{name}", overrides=(f"student.traces={json.dumps(traces)}",)))
    return rows


def diversity(base: TrainSettings, teacher: str) -> Variants:
    """With and without the memory bank, on the first data set of the mix, the first two, and so on."""
    names = list(dict.fromkeys(source.name for source in base.data.train if source.weight))
    rows: Variants = []
    for count in range(1, len(names) + 1):
        used = set(names[:count])
        if not any(source.name in used and _forged(source) for source in base.data.train):
            continue
        drops = _drops(base, [source for source in base.data.train if source.name not in used])
        sets = "1-set" if count == 1 else f"{count}-sets"
        plain = f"{sets}-without-memory"
        rows.append(Variant(name=plain, overrides=(*drops, "student.memory=none"), reference=plain))
        rows.append(
            Variant(name=f"{sets}-with-memory", overrides=(*drops, f"student.memory={_memory(base)}"), reference=plain)
        )
    return rows


def boxes(base: TrainSettings, teacher: str) -> Variants:
    """Boxes from an exact fit to an excess of half their length on every side."""
    return [
        Variant(name=f"jitter-{round(100 * share)}", labels=LabelSettings(teacher=teacher, jitter=share))
        for share in JITTER
    ]


def pseudo(base: TrainSettings, teacher: str) -> Variants:
    """The same boxes turned into masks by every teacher on this machine, with pixel masks as the reference."""
    made_by = _configured_teacher(base)
    rows: Variants = (
        [Variant(name=made_by)] if made_by else [Variant(name=teacher, labels=LabelSettings(teacher=teacher))]
    )
    for name in NAMED_TEACHERS:
        if name == (made_by or teacher):
            continue
        try:
            teacher_weights(name)
        except WeightsError as error:
            rows.append(Skipped(name, error.message))
            continue
        rows.append(Variant(name=name, labels=LabelSettings(teacher=name)))
    return [*rows, _pixel_masks(base)]


def _configured_teacher(base: TrainSettings) -> str | None:
    """The teacher of the configured pseudo-masks; None if there are none or they are by several teachers."""
    folders = {base.data.root / source.pseudo for source in base.data.train if source.weight and source.pseudo}
    found = {row.teacher for folder in folders for row in read_pseudo(folder)}
    return found.pop() if len(found) == 1 else None


def _forged(source: SourceSettings) -> bool:
    return source.kind != "authentic" and source.weight > 0


def _drops(base: TrainSettings, dropped: list[SourceSettings]) -> tuple[str, ...]:
    """Overrides that remove sources from the mix; the others keep their weights, so that their shares grow."""
    return tuple(
        f"data.train.{index}.weight=0"
        for index, source in enumerate(base.data.train)
        if source.weight and source in dropped
    )


def _without(base: TrainSettings, name: str, kinds: tuple[str, ...]) -> Variant | Skipped:
    dropped = [source for source in base.data.train if source.kind in kinds]
    if not any(_forged(source) and source not in dropped for source in base.data.train):
        return Skipped(name, "no forgery would be left to train on")
    return Variant(name=name, overrides=_drops(base, dropped))


def _without_authentic(base: TrainSettings) -> Variant:
    """A row without authentic pictures, from authentic sources as well as from the generator."""
    dropped, generators = [], []
    for index, source in enumerate(base.data.train):
        kinds = {kind: weight for kind, weight in source.synth.kinds.items() if kind != "authentic" and weight}
        if source.kind == "authentic" or (source.kind == "synth" and not kinds):
            dropped.append(source)
        elif source.kind == "synth" and source.synth.kinds.get("authentic"):
            generators.append(f"data.train.{index}.synth.kinds={json.dumps(kinds)}")
    return Variant(name="without-authentic", overrides=(*_drops(base, dropped), *generators))


def sibling_masks(base: TrainSettings, source: SourceSettings) -> Path | None:
    """The folder of a source's true masks, relative to `data.root` like the source's own folders.

    This is its `masks`, or `masks/` beside its pictures as in the folder layout; None if neither exists.
    """
    if source.masks is not None:
        return source.masks
    beside = source.images.parent / "masks" if source.images is not None else None
    return beside if beside is not None and (base.data.root / beside).is_dir() else None


def _pixel_masks(base: TrainSettings) -> Variant | Skipped:
    """A row with true masks instead of pseudo-masks in training: the fully supervised comparison."""
    name, overrides = "pixel-masks", []
    for index, source in enumerate(base.data.train):
        if source.kind != "pseudo" or not source.weight:
            continue
        if source.manifest is not None:  # the manifest gives the masks
            overrides.append(f"data.train.{index}.kind=masks")
            continue
        masks = sibling_masks(base, source)
        if masks is None:
            return Skipped(name, f"source {source.name} has no masks/ beside its pictures in {source.images}")
        overrides += [f"data.train.{index}.kind=masks", f"data.train.{index}.masks={json.dumps(str(masks))}"]
    return Variant(name=name, overrides=tuple(overrides)) if overrides else Skipped(name, "no pseudo-masks in training")


STUDIES: dict[str, Callable[[TrainSettings, str], Variants]] = {
    "ablation": ablation,
    "memory": memory,
    "alpha": alpha,
    "resolution": resolution,
    "recipe": recipe,
    "diversity": diversity,
    "boxes": boxes,
    "pseudo": pseudo,
}


def drop_repetitions(study: StudySettings) -> tuple[StudySettings, list[Skipped]]:
    """The study without rows that are equal to the first one."""
    first, *others = study.rows
    unnamed = {"name": "", "seed": 0}
    wanted = study.training(first, 0).model_copy(update=unnamed)
    kept, dropped = [first], []
    for row in others:
        if row.labels == first.labels and study.training(row, 0).model_copy(update=unnamed) == wanted:
            dropped.append(Skipped(row.name, f"the same as {first.name}"))
        else:
            kept.append(row)
    # a row compared with a dropped row is compared with the first row instead
    gone = {row.name for row in dropped}
    kept = [row.model_copy(update={"reference": None}) if row.reference in gone else row for row in kept]
    return study.model_copy(update={"rows": tuple(kept)}), dropped


def available(rows: Iterable[Variant | Skipped]) -> tuple[tuple[Variant, ...], list[Skipped]]:
    """Separate the rows that can be trained here from the others."""
    rows = list(rows)
    return tuple(row for row in rows if isinstance(row, Variant)), [row for row in rows if isinstance(row, Skipped)]
