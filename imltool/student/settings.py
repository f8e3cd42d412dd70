"""The student's architecture as settings: every switch an ablation needs."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from imltool.config import Settings
from imltool.traces.stack import GRID

TraceGroup = Literal["jpeg", "noise", "copy"]
MemoryKind = Literal["prototypes", "spatial", "mean", "ema", "none"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in [0,1], which TinyViT and SAM were both trained with."""
STRIDE = 32
"""Stride of the backbone's coarsest features; the height and width of its input are multiples of it."""
TINY_VIT = ("nano", "5m", "11m", "21m")
"""Sizes of TinyViT, as `StudentSettings.backbone` names them."""
LEAST_SIDE, GREATEST_SIDE = 64, 2048
"""Bounds of that height and width (our choice)."""
LEAST_SCALE, GREATEST_SCALE = 0.25, 4.0
"""Bounds of `StudentSettings.tta_scales` (our choice)."""


WHOLE = 1_200_000
"""Pixel count of the picture for which `input_size` is meant if the input size grows with the picture (our choice)."""


def input_side(pixels: int, input_size: int, max_input_size: int | None) -> int:
    """The side S of the square network input for a picture of `pixels` pixels (our choice).

    Without `max_input_size` it is `input_size`. Otherwise it is the multiple of `STRIDE` nearest to input_size ·
    √(pixels / WHOLE), at least `input_size` and at most `max_input_size`, so that the network's cost per megapixel is
    about constant.
    """
    if max_input_size is None:
        return input_size
    nearest = math.floor(input_size * math.sqrt(pixels / WHOLE) / STRIDE + 0.5) * STRIDE
    return min(max(nearest, input_size), max_input_size)


class StudentSettings(Settings):
    """Architecture of the student. Defaults are the paper's if it states them, otherwise our choice (marked as such).

    Rows of the paper's Table 5: the full model is the default; without memory is `memory: none`; without gating is
    `gating: false`; the baseline is both.
    """

    backbone: str = Field(
        "5m",
        description="TinyViT of size 5m (the paper's), 11m, 21m or nano (for tests and demos), or a model of timm's "
        "with features at strides 4, 8, 16 and 32, such as resnet18",
    )
    input_size: int = Field(
        224, ge=LEAST_SIDE, le=GREATEST_SIDE, description="side of the square input in pixels (paper: 224)"
    )
    max_input_size: int | None = Field(
        None,
        ge=LEAST_SIDE,
        le=GREATEST_SIDE,
        description="largest input side; with it, the side grows from input_size with the picture (paper: none)",
    )
    channels: int = Field(64, ge=8, le=512, description="width C of the aligned scales (our choice)")
    gating: bool = Field(True, description="use gates G_i; false fixes every gate at 1")
    memory: MemoryKind = Field("prototypes", description="kind of memory bank; none fixes α at 1")
    slots: int = Field(32, ge=1, le=4096, description="K, prototypes in the bank (our choice)")
    alpha: float = Field(0.5, ge=0.0, le=1.0, description="α of Eq. 4, or its initial value when learned (our choice)")
    learn_alpha: bool = Field(False, description="learn α, kept in 0..1 by a sigmoid")
    refinement: Literal["features+prior", "prior"] = Field(
        "features+prior", description="input of the refinement: F_fused and A_final, or A_final alone"
    )
    traces: tuple[TraceGroup, ...] = Field(
        (), description="traces taken at native resolution as input beside RGB: jpeg, noise, copy (paper: none)"
    )
    tta_flips: Literal[1, 2, 4] = Field(
        1, description="test-time augmentation: 1 none, 2 also left-right, 4 also up-down and both (paper: 1)"
    )
    tta_scales: tuple[float, ...] = Field(
        (1.0,),
        min_length=1,
        description="test-time augmentation: multiples of the picture's input size at which it runs; the logits of "
        "these maps are averaged; 1 alone is none (paper: 1)",
    )
    drop_path: float = Field(0.0, ge=0.0, lt=1.0, description="stochastic depth of the backbone in training")

    @field_validator("traces")
    @classmethod
    def _once(cls, value: tuple[TraceGroup, ...]) -> tuple[TraceGroup, ...]:
        return tuple(sorted(set(value)))

    @field_validator("input_size", "max_input_size")
    @classmethod
    def _multiple_of_32(cls, value: int | None) -> int | None:
        if value is not None and value % STRIDE:
            raise ValueError(f"must be a multiple of {STRIDE}, the backbone's largest stride")
        return value

    @field_validator("tta_scales")
    @classmethod
    def _distinct(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value) or not all(LEAST_SCALE <= scale <= GREATEST_SCALE for scale in value):
            raise ValueError(f"must be different numbers from {LEAST_SCALE} to {GREATEST_SCALE}")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _in_order(self) -> StudentSettings:
        if self.max_input_size is not None and self.max_input_size < self.input_size:
            raise ValueError(f"max_input_size {self.max_input_size} is less than input_size {self.input_size}")
        if len(self._scaled(self.input_size)) < len(self.tta_scales):
            raise ValueError(f"tta_scales {', '.join(map(str, self.tta_scales))} give the same input size twice")
        return self

    @property
    def backbone_name(self) -> str:
        """The backbone's name for reports: `tinyvit-5m`, or the name of a timm model."""
        return f"tinyvit-{self.backbone}" if self.backbone in TINY_VIT else self.backbone

    @property
    def extreme_sides(self) -> tuple[int, int]:
        """The smallest and the largest side of its input."""
        least, greatest = self._scaled(self.input_size), self._scaled(self.max_input_size or self.input_size)
        return least[0], greatest[-1]

    @property
    def has_one_size(self) -> bool:
        """Whether every picture has the same input size."""
        return self.max_input_size is None and len(set(self.extreme_sides)) == 1

    def side_for(self, shape: tuple[int, ...]) -> int:
        """The side of the square network input for a picture [H,W,…], see `input_side`."""
        return input_side(shape[0] * shape[1], self.input_size, self.max_input_size)

    def sides_for(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The input sides for a picture [H,W,…]: `side_for` times each of `tta_scales`, ascending."""
        return self._scaled(self.side_for(shape))

    def _scaled(self, side: int) -> tuple[int, ...]:
        nearest = (math.floor(side * scale / STRIDE + 0.5) * STRIDE for scale in self.tta_scales)
        return tuple(sorted({min(max(scaled, LEAST_SIDE), GREATEST_SIDE) for scaled in nearest}))

    def describe_input(self) -> str:
        """The input sizes in words, for records."""
        least, greatest = self.input_size, self.max_input_size or self.input_size
        sizes = f"{least} px" if least == greatest else f"{least} to {greatest} px by the picture's size"
        if self.tta_scales == (1.0,):
            return sizes
        return f"{sizes}, at {' and '.join(f'{scale:g}' for scale in self.tta_scales)} times that, averaged"

    def trace_grid(self, side: int) -> int:
        """The side of the trace grid for an input of `side` pixels: half of it if the input size grows with the
        picture, so that traces are as fine as the finest features; otherwise always `GRID`.
        """
        return GRID if self.max_input_size is None else side // 2
