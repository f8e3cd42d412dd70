"""All settings of a training run. The resolved settings are saved with the run and inside its checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from imltool.config import Settings
from imltool.data.accounts import MAX_LEFT_OUT
from imltool.evaluation.degradations import DEGRADATIONS, Level
from imltool.student.settings import GREATEST_SIDE, LEAST_SIDE, STRIDE, StudentSettings
from imltool.synth.settings import SynthSettings, inside

NEEDS: dict[str, tuple[str, ...]] = {
    "pseudo": ("images", "pseudo"),
    "masks": ("images", "masks"),
    "authentic": ("images",),
    "synth": ("photos",),
}

MAX_LEFT_OUT_OPTION = "--set data.max_left_out=SHARE"

OF_SYNTH = ("photos", "photo_list", "objects", "pool", "synth")
OF_PICTURES = ("images", "list", "variants", "change")
"""Settings of the kind `synth`, and of the others. `pseudo` and `masks` may stay when a study changes the kind."""

REPLACED = ("images", "masks")
"""Settings that a manifest replaces."""


def change_of(text: str) -> tuple[str, Level]:
    """Parse a text like `upload=usual` into the name of a degradation and its level. Raises ValueError."""
    name, _, level = text.partition("=")
    known = {str(one): one for one in DEGRADATIONS[name].levels} if name in DEGRADATIONS else {}
    if level not in known:
        raise ValueError(
            f"{text} is no change; {name}={'|'.join(known)}" if known else f"choose from {', '.join(DEGRADATIONS)}"
        )
    return name, known[level]


class SourceSettings(Settings):
    """One source of training or validation pictures.

    `pseudo` is the paper's setting: pictures with the masks that `imltool pseudo` made from boxes. `masks` is the fully
    supervised comparison. `authentic` pictures contain no edit. `synth` makes forgeries on the fly.
    """

    name: str = Field(description="the data set's name: a test set of this name is in distribution")
    kind: Literal["pseudo", "masks", "authentic", "synth"]
    weight: float = Field(1.0, ge=0.0, description="relative frequency in the mix")
    images: Path | None = Field(None, description="folder of pictures")
    manifest: Path | None = Field(
        None, description="a manifest of imltool data index in place of images and masks (not kind synth)"
    )
    pseudo: Path | None = Field(None, description="output folder of imltool pseudo (kind pseudo)")
    masks: Path | None = Field(None, description="folder of pixel masks, paired by stem (kind masks)")
    list: Path | tuple[Path, ...] | None = Field(
        None,
        description="text file of the picture names to use, one a line: tampered/a.jpg, or as in the manifest; or "
        "several such files",
    )
    photos: tuple[Path, ...] = Field((), description="folders of clean photos (kind synth)")
    photo_list: Path | None = Field(None, description="text file of the photos to use (kind synth)")
    objects: tuple[tuple[Path, Path], ...] = Field((), description="pairs of (pictures, object masks) (kind synth)")
    pool: int | None = Field(
        None,
        ge=1,
        description="number of different forgeries, each used many times; none makes a new one every time (kind synth)",
    )
    variants: int = Field(
        0, ge=0, description="altered versions of each picture, the first unaltered; 0 alters it again every time"
    )
    synth: SynthSettings = Field(default=SynthSettings(), description="the generator's settings (kind synth)")
    change: str | None = Field(
        None, description="a change of every picture as eval --robust makes it: upload=usual (not in training)"
    )

    @field_validator("list")
    @classmethod
    def _of_one(cls, value: Path | tuple[Path, ...] | None) -> Path | tuple[Path, ...] | None:
        if isinstance(value, tuple) and len(value) < 2:
            if not value:  # it would mean all pictures
                raise ValueError("no list is named; leave it out to use all pictures")
            return value[0]
        return value

    @field_validator("change")
    @classmethod
    def _known_change(cls, value: str | None) -> str | None:
        if value is not None:
            change_of(value)
        return value

    @model_validator(mode="after")
    def _of_its_kind(self) -> SourceSettings:
        for name in OF_PICTURES if self.kind == "synth" else OF_SYNTH:
            if getattr(self, name) != type(self).model_fields[name].default:  # it would be ignored without a word
                raise ValueError(f"{name} does not go with kind {self.kind}")
        return self

    @model_validator(mode="after")
    def _complete(self) -> SourceSettings:
        if self.manifest is not None:
            doubled = [name for name in (*REPLACED, "photos") if getattr(self, name)]
            if doubled or self.kind == "synth":
                raise ValueError(f"a manifest does not go with {doubled[0] if doubled else 'kind synth'}")
        needed = [name for name in NEEDS[self.kind] if self.manifest is None or name not in REPLACED]
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            instead = " or a manifest" if set(missing) <= set(REPLACED) else ""
            raise ValueError(f"a source of kind {self.kind} needs {' and '.join(missing)}{instead}")
        return self

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files of `list`, none for all pictures."""
        return (self.list,) if isinstance(self.list, Path) else self.list or ()

    @model_serializer(mode="wrap")
    def _without_empty_manifest(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # runs and cached samples are identified by their settings: those made before these settings existed stay valid
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key not in ("manifest", "change") or value is not None}


class DataSettings(Settings):
    """The data. Relative data folders and manifests start at `root`, relative list files at `lists`."""

    root: Path = Field(Path(), description="base folder of relative data folders and manifests")
    lists: Path = Field(Path("configs/splits"), description="base folder of relative list files")
    cache: Path | None = Field(
        None,
        description="folder that caches pools, variants and traces for all runs; none keeps them in memory",
    )
    max_left_out: float = Field(
        MAX_LEFT_OUT, ge=0, le=1, description="refuse to start when a larger share of a source's pictures is unusable"
    )
    train: tuple[SourceSettings, ...] = ()
    validation: tuple[SourceSettings, ...] = Field(
        (), description="validated on during a run, which chooses its best checkpoint"
    )
    calibration: tuple[SourceSettings, ...] = Field(
        (), description="used to fit the thresholds and for nothing else; without it, validation is used"
    )

    @model_validator(mode="after")
    def _usable(self) -> DataSettings:
        if any(source.change is not None for source in self.train):
            raise ValueError("change is for validation and calibration; training has augment")
        if any(source.kind == "synth" for source in (*self.validation, *self.calibration)):
            raise ValueError("validation and calibration take pseudo, masks and authentic sources, not synth")
        if self.train and not any(source.weight > 0 for source in self.train):
            raise ValueError("at least one training source needs a weight above zero")
        return self


class AugmentSettings(Settings):
    """Augmentation of training pictures, the same for tampered and authentic ones (our choice).

    Flips and crops are applied to all sources and do not change the values of traces; colour and jpeg are applied to
    real pictures only.
    """

    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    crop: float = Field(0.5, ge=0, le=1, description="probability of cropping")
    min_crop: float = Field(0.6, gt=0, le=1, description="smallest side kept by a crop / side")
    jpeg: float = Field(0.5, ge=0, le=1, description="probability of one more JPEG save")
    jpeg_quality: Annotated[tuple[int, int], AfterValidator(inside(1, 100))] = Field(
        (60, 98), description="Pillow quality of that save"
    )
    colour: float = Field(0.3, ge=0, le=1, description="probability of a brightness and contrast change")
    sides: dict[int, float] = Field(
        default={},
        description="sides of the square input with their relative frequency, one drawn for each batch; "
        "none is student.input_size alone",
    )

    @field_validator("sides")
    @classmethod
    def _usable_sides(cls, value: dict[int, float]) -> dict[int, float]:
        for side, weight in value.items():
            if side % STRIDE or not LEAST_SIDE <= side <= GREATEST_SIDE or weight <= 0:
                raise ValueError(f"a side is a multiple of {STRIDE} with a weight above zero, not {side}: {weight}")
        return value


class OptimSettings(Settings):
    """Optimisation. The paper states only the BCE loss and 20 epochs; the rest is our choice."""

    steps: int = Field(2000, ge=1, description="optimizer steps")
    batch_size: int = Field(16, ge=1, description="pictures a step, over all processes together")
    accumulate: int = Field(
        1, ge=1, description="parts of a batch that go through the network one after the other, for less memory"
    )
    sync_batch_norm: bool = Field(False, description="BatchNorm statistics over all processes (several GPUs)")
    fix_batch_norm: bool = Field(False, description="normalise with the start's BatchNorm statistics and keep them")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of the fusion module")
    backbone_lr: float = Field(0.3, ge=0, description="the backbone's learning rate / lr; 0 freezes it")
    warmup: int = Field(100, ge=0, description="steps of linear warm-up")
    final_lr: float = Field(0.01, ge=0, le=1, description="last learning rate / peak, after a cosine")
    weight_decay: float = Field(0.05, ge=0)
    clip_norm: float = Field(1.0, gt=0, description="gradient norm limit")
    loss: Literal["bce", "bce+dice", "focal"] = Field("bce", description="bce is the paper's")
    distill: float = Field(
        0.0, ge=0, description="weight of the divergence from the maps of the student given as init; 0 is off"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay of averaged weights that are validated and saved; 0 is off")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        "auto", description="autocast precision; fp32 is none, auto is bf16 on a GPU and fp32 on a CPU"
    )

    def learning_rate(self, step: int) -> float:
        """Linear warm-up to `lr`, then a cosine down to `final_lr`·`lr` at the last step.

        A pure function of the step, so that resuming needs no state.

        Args:
            step: 0-based step about to be taken.
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - 1 - self.warmup)
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class TrainSettings(Settings):
    """A training run."""

    name: str = Field("student", description="name of the checkpoint")
    init: str = Field(
        "teacher",
        min_length=1,
        description="initial weights: teacher, timm or random for the backbone, or a student (known name, or file)",
    )
    student: StudentSettings = StudentSettings()
    data: DataSettings = DataSettings()
    augment: AugmentSettings = AugmentSettings()
    optim: OptimSettings = OptimSettings()
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=0, description="data processes; 0 prepares data in the training process")
    validate_every: int = Field(500, ge=1, description="steps between validations")
    patience: int | None = Field(
        None, ge=1, description="validations without a better score after which training stops; none never stops early"
    )
    save_every: int = Field(250, ge=1, description="steps between states to resume from")
    log_every: int = Field(20, ge=1, description="steps between lines of log.jsonl")
    trackers: tuple[str, ...] = Field(
        (), description="trackers that get the numbers of log.jsonl too, by accelerate: tensorboard, wandb, mlflow, …"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainSettings:
        if self.optim.batch_size % self.optim.accumulate:
            raise ValueError(f"optim.batch_size is not a multiple of optim.accumulate, {self.optim.accumulate}")
        if self.patience is not None and not self.data.validation:
            raise ValueError("patience needs a validation split to watch")
        return self
