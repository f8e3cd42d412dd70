"""How a student is adapted. All of it is our choice: the paper trains from the teacher alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from imltool.config import Settings


class AdaptSettings(Settings):
    """A short training from an existing student, with replay of what it already finds."""

    teacher: str = Field("mobile-sam", description="what turns the boxes into pseudo-masks; box takes them as they are")
    held_out: float = Field(0.3, gt=0, lt=1, description="share of the boxed pictures, by scene, that measures")
    scenes: str | None = Field(
        None,
        description="pattern of what pictures of one scene share in their names; near-duplicates always go together",
    )
    calibration: float = Field(0.3, gt=0, lt=1, description="share of the authentic pictures that fits the thresholds")
    check: float = Field(0.3, gt=0, lt=1, description="share of the authentic pictures that measures")
    check_count: int = Field(36, ge=6, description="forgeries of known kinds made for the check of the old skills")
    new: float = Field(0.35, gt=0, lt=1, description="share of training samples that show the new kind")
    replay: float = Field(
        0.3, ge=0, lt=1, description="share that shows forgeries of known kinds; the rest is authentic"
    )
    variants: int = Field(8, ge=1, description="altered versions of each boxed picture")
    parts: Literal["all", "fusion"] = Field(
        "all", description="what learns: all of the student, or its fusion module alone (memory, gates, traces)"
    )
    steps: int = Field(160, ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1)
    lr: float = Field(4e-4, gt=0, description="peak learning rate of the fusion module")
    backbone_lr: float = Field(0.3, gt=0, description="the backbone's learning rate / lr")
    distill: float = Field(
        1.0,
        ge=0,
        description="weight of staying close to the maps of the student before, see optim.distill in training",
    )
    ema: float = Field(0.97, ge=0, lt=1, description="decay of averaged weights")
    sides: dict[int, float] = Field(
        default={},
        description="sides of the input with their relative frequency, as in training; none is the student's",
    )
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=0, description="processes that make samples")

    @model_validator(mode="after")
    def _leaves_authentic_samples(self) -> AdaptSettings:
        if self.new + self.replay > 1:
            raise ValueError(f"new {self.new:g} and replay {self.replay:g} are shares of one whole, and more than 1")
        return self
