"""The student's architecture as data: every switch an ablation needs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from imltool.config import Settings

TraceGroup = Literal["jpeg", "noise", "copy"]
MemoryKind = Literal["prototypes", "spatial", "mean", "ema", "none"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in [0,1], which TinyViT and SAM were both trained with."""
STRIDE = 32
"""Of the backbone's coarsest features: the height and width of its input are multiples of it."""
LEAST_SIDE, GREATEST_SIDE = 64, 2048
"""Bounds of that height and width (our choice)."""


class StudentSettings(Settings):
    """Architecture of the student. Defaults are the paper's where it states them, else our choice (named so).

    The paper's Table 5: full is the default; without memory `memory: none`; without gating `gating: false`;
    baseline is both.
    """

    backbone: Literal["nano", "5m", "11m", "21m"] = Field(
        "5m", description="TinyViT size (paper: 5m); nano is for tests and demos"
    )
    input_size: int = Field(
        224, ge=LEAST_SIDE, le=GREATEST_SIDE, description="side of the square input in pixels (paper: 224)"
    )
    channels: int = Field(64, ge=8, le=512, description="width C of the aligned scales (our choice)")
    gating: bool = Field(True, description="gates G_i; false fixes every gate at 1")
    memory: MemoryKind = Field("prototypes", description="reading of the memory bank; none fixes α at 1")
    slots: int = Field(32, ge=1, le=4096, description="K, prototypes in the bank (our choice)")
    alpha: float = Field(0.5, ge=0.0, le=1.0, description="α of Eq. 4, or its start when learned (our choice)")
    learn_alpha: bool = Field(False, description="learn α, kept in 0..1 by a sigmoid")
    refinement: Literal["features+prior", "prior"] = Field(
        "features+prior", description="what the refinement sees: F_fused and A_final, or A_final alone"
    )
    traces: tuple[TraceGroup, ...] = Field(
        (), description="traces of the native resolution to see beside RGB: jpeg, noise, copy (paper: none)"
    )
    mirrors: Literal[1, 2, 4] = Field(
        1, description="maps of mirror images to average: 1 none, 2 across too, 4 across, down and both (paper: 1)"
    )
    drop_path: float = Field(0.0, ge=0.0, lt=1.0, description="stochastic depth of the backbone in training")

    @field_validator("traces")
    @classmethod
    def _once(cls, value: tuple[TraceGroup, ...]) -> tuple[TraceGroup, ...]:
        return tuple(sorted(set(value)))

    @field_validator("input_size")
    @classmethod
    def _multiple_of_32(cls, value: int) -> int:
        if value % STRIDE:
            raise ValueError(f"must be a multiple of {STRIDE}, the backbone's largest stride")
        return value
