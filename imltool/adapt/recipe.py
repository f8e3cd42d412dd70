"""The training run of an adaptation, as settings: the new kind, authentic pictures, and replay of known kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imltool.adapt.known import KNOWN
from imltool.adapt.parts import Parts
from imltool.adapt.settings import AdaptSettings
from imltool.files import write_text
from imltool.student.header import CheckpointHeader
from imltool.training.settings import AugmentSettings, DataSettings, OptimSettings, SourceSettings, TrainSettings

NEW = "new kind"
AUTHENTIC = "authentic"
REPEATS = 3
"""How often a forgery of a known kind is seen, cropped and turned each time; making it takes longer than learning from
it (our choice)."""


def training_settings(
    start: Path,
    header: CheckpointHeader,
    photos: Path,
    authentic: Path | None,
    parts: Parts,
    pseudo: Path,
    lists: Path,
    settings: AdaptSettings,
) -> TrainSettings:
    """The run's settings; writes the lists of its pictures into `lists`.

    Args:
        start: checkpoint that the run starts from, with its `header`.
        photos, authentic: folders of the boxed and of the authentic pictures.
        pseudo: output folder of the pseudo-masks of all boxed pictures.
    """
    taught = _list(lists / "taught.txt", photos, parts.taught)
    held_out = _list(lists / "held-out.txt", photos, parts.held_out)
    boxed = {"name": NEW, "kind": "pseudo", "images": photos, "pseudo": pseudo}
    train: list[dict[str, Any]] = [
        boxed | {"list": taught, "weight": settings.new, "variants": settings.variants},
    ]
    calibration: list[dict[str, Any]] = []
    if authentic is not None:
        clean = {"name": AUTHENTIC, "kind": "authentic", "images": authentic}
        teaching = _list(lists / "authentic.txt", authentic, parts.authentic)
        rest = max(0.0, 1.0 - settings.new - settings.replay)
        train.append(clean | {"list": teaching, "weight": rest, "variants": 3})
        if settings.replay:
            train.append(
                {
                    "name": "known kinds",
                    "kind": "synth",
                    "weight": settings.replay,
                    "pool": max(1, round(settings.steps * settings.batch_size * settings.replay / REPEATS)),
                    "photos": (authentic,),
                    "photo_list": teaching,
                    "synth": KNOWN,
                }
            )
        calibration = [clean | {"list": _list(lists / "calibration.txt", authentic, parts.calibrating)}]
    return TrainSettings(
        name=f"{header.name}-adapted",
        init=str(start),
        student=header.architecture,
        data=DataSettings(
            root=Path(),
            lists=lists,
            train=tuple(SourceSettings.model_validate(one) for one in train),
            validation=(SourceSettings.model_validate(boxed | {"list": held_out}),),
            calibration=tuple(SourceSettings.model_validate(one) for one in calibration),
        ),
        augment=AugmentSettings(sides=settings.sides),
        optim=OptimSettings(
            steps=settings.steps,
            batch_size=settings.batch_size,
            lr=settings.lr,
            backbone_lr=settings.backbone_lr if settings.parts == "all" else 0.0,
            warmup=max(1, settings.steps // 10),
            loss="bce+dice",
            ema=settings.ema,
            fix_batch_norm=True,  # the statistics of a mix with this much of one kind would not fit the others
            distill=settings.distill,
        ),
        seed=settings.seed,
        workers=settings.workers,
        validate_every=settings.steps,
        save_every=max(1, min(40, settings.steps)),
        log_every=max(1, min(20, settings.steps)),
    )


def _list(file: Path, root: Path, files: tuple[Path, ...]) -> Path:
    write_text(file, "".join(f"{root.name}/{path.relative_to(root).as_posix()}\n" for path in files))
    return file
