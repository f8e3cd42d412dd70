"""Settings of a study: rows that change a training configuration, and the seeds with which every row is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from imltool.config import Settings, load_settings
from imltool.teacher.registry import NAMED_TEACHERS
from imltool.training.settings import TrainSettings

Checkpoint = Literal["last", "best"]
JOURNAL = "study.jsonl"
LABELS = "labels"
"""Folder of a study for its own pseudo-masks; no row may have this name."""

TINY = (
    "init=random",
    "student.backbone=nano",
    "student.input_size=64",
    "workers=0",
    "optim.steps=4",
    "optim.batch_size=4",
    "optim.warmup=1",
    "optim.precision=fp32",
    "validate_every=4",
    "save_every=2",
    "log_every=1",
)
"""Overrides with which any training takes seconds, to try a study out, not for results."""


class LabelSettings(Settings):
    """Pseudo-masks that a row makes for itself, instead of those in the configuration."""

    teacher: str = Field("mobile-sam", description="teacher that turns the boxes into masks")
    jitter: float | None = Field(
        None,
        ge=-0.2,
        le=1.0,
        description="boxes made from the true masks, every side moved outwards by this share of its length; "
        "none: the boxes of the configured pseudo-masks",
    )

    @field_validator("teacher")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in NAMED_TEACHERS:
            raise ValueError(f"choose one of {', '.join(NAMED_TEACHERS)}")
        return value

    @property
    def folder(self) -> str:
        """Name of the folder of these pseudo-masks: teacher and boxes."""
        return f"{self.teacher}-{'drawn' if self.jitter is None else f'jitter-{self.jitter:g}'}"


class Variant(Settings):
    """A row of a study's table: a training configuration, given as changes to the study's base configuration."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", description="name in tables and of the row's folder")
    overrides: tuple[str, ...] = Field((), description="changes in the form a.b=value, as for --set")
    labels: LabelSettings | None = Field(None, description="the row's own pseudo-masks")
    reference: str | None = Field(None, description="the row it is compared with; none: the first row")

    @field_validator("name")
    @classmethod
    def _no_folder_of_the_study(cls, value: str) -> str:
        if value.casefold() == LABELS:
            raise ValueError("is a folder of the study itself")
        return value


class RowsSettings(Settings):
    """A custom study: the file given instead of a study's name."""

    rows: tuple[Variant, ...] = Field(min_length=1)


class StudySettings(Settings):
    """A study.

    A row with a seed is `load_settings(config, [*overrides, *row.overrides, "seed=N"])`, the same as `imltool train`
    with this file and these overrides as `--set`.
    """

    study: str
    config: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    rows: tuple[Variant, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    checkpoint: Checkpoint = Field("last", description="the checkpoint of a run that is measured")

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        names = [row.name.casefold() for row in self.rows]  # folder names that differ only in case may be the same
        if len(set(names)) < len(names):
            raise ValueError("two rows have the same name")
        for row in self.rows:
            if row.reference is not None and row.reference not in {other.name for other in self.rows}:
                raise ValueError(f"row {row.name} is compared with {row.reference}, which is not a row")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be different numbers from 0 up")
        return self

    @property
    def base(self) -> TrainSettings:
        """The base configuration that the rows change. Raises `ConfigError`."""
        return load_settings(TrainSettings, self.config, list(self.overrides))

    def training(self, row: Variant, seed: int, *more: str) -> TrainSettings:
        """The configuration of a row with a seed; overrides in `more` follow the row's. Raises `ConfigError`."""
        own = (*row.overrides, *more, f"name={json.dumps(f'{self.study}-{row.name}')}", f"seed={seed}")
        return load_settings(TrainSettings, self.config, [*self.overrides, *own])

    def reference(self, row: Variant) -> str:
        """Name of the row that `row` is compared with; the first row is compared with itself."""
        return row.reference or self.rows[0].name
