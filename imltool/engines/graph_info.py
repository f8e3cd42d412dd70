"""Metadata of an exported student, with all that a program needs to run it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from imltool.config import Settings
from imltool.student.settings import MEAN, STD, STRIDE, WHOLE
from imltool.versions import __version__

INFO_KEY = "imltool"
"""Key of the `GraphInfo`, as JSON, in the graph's metadata."""
SUFFIX = ".onnx"
PIXELS, TRACES_INPUT, PROBABILITY = "pixels", "traces", "probability"

Precision = Literal["fp32", "fp16", "int8"]
Size = int | Literal["dynamic"]
"""The input size of a graph: the side of a square in pixels, or any height and width."""

RESAMPLING = (
    "decode, apply the EXIF orientation, convert to 8-bit RGB; resize to S x S without keeping the aspect ratio, by "
    "area averaging if neither side grows, else bilinearly with pixel centres at half pixels, and round to 8 bits "
    "(OpenCV's INTER_AREA and INTER_LINEAR)"
)
INPUT_SIDE = (
    f"S = input_size where max_input_size is null; else the multiple of {STRIDE} nearest to "
    f"input_size * sqrt(pixels of the picture / {WHOLE}), from input_size to max_input_size"
)
TRACE_DEFINITION = (
    "imltool.traces.stack.picture_traces of the picture at its own size, version trace_version; "
    "flipped with the picture"
)
AVERAGING = (
    "test-time augmentation: the mean of the probabilities of the picture and its flips, each flipped back; "
    "tta_flips 1: none, 2: left-right, 4: left-right, up-down and both. This is done at each of tta_scales times S, to "
    f"the nearest multiple of {STRIDE}, with the traces for S resized; the maps are resized bilinearly to the largest, "
    "and the mean of their logits is the map"
)
MAP_DEFINITION = "the averaged probability resized bilinearly (pixel centres at half pixels) to the picture's size"
SCORE_DEFINITION = "the mean of the highest max(1, round(0.01 N)) of the N values of the map at the picture's size"


class F1Check(Settings):
    """Pixel F1 of a graph and of torch on the tampered pictures of a labelled set.

    Attributes:
        pictures: number of pictures.
        f1, torch: means over the pictures at a threshold of 0.5, at their own resolution.
    """

    name: str
    pictures: int
    f1: float
    torch: float

    @property
    def lost(self) -> float:
        """The graph's loss of F1."""
        return self.torch - self.f1


class GraphInfo(Settings):
    """The metadata of an exported student.

    Attributes:
        weights_sha256: SHA-256 of the checkpoint it was exported from.
        input_size: S. The graph takes `pixels` float32 [B,3,S,S], in `colour_order`, scaled to `input_range`, minus
            `mean`, divided by `std`, and, for a student with traces, `traces` float32 [B,len(TRACES),t,t]. It returns
            `probability` float32 [B,S,S] in [0,1] of one forward pass, without test-time augmentation.
        max_input_size: set if S depends on the picture, see `input_side`; None if S is `input_size`.
        free_size: the least and greatest height and width of a graph that takes any multiple of `STRIDE`. In this case
            `pixels` are [B,3,H,W], `probability` is [B,H,W], and S is the checkpoint's. None if the graph takes S
            alone.
        trained_size: the checkpoint's input size, for which its thresholds were fitted.
        colour_order, input_range, resampling: how a picture file becomes `pixels`.
        trace_definition: how it becomes `traces`; None for a student that takes RGB alone.
        trace_grid: t of `traces`, in cells; None if it is half of the input's side.
        tta_flips: number of flips over which a map is averaged; `averaging` lists them.
        tta_scales: multiples of S at which the picture is processed; their maps are averaged as logits.
        map_definition, score_definition: how `probability` becomes the picture's map and its score.
        pixel_threshold, score_threshold: the checkpoint's calibrated thresholds, for averaged maps.
        precision: fp32; fp16 for weights in half precision and computation in float32; or int8 for weights and layer
            inputs in 8-bit integers.
        max_difference, mean_difference: difference of the probabilities to torch's at export, over `checked` pictures.
        f1_checks: effect of the differences on F1, for the sets it was measured on.
    """

    format: Literal[2] = 2
    name: str
    weights_sha256: str
    input_size: int
    max_input_size: int | None = None
    input_side: str = INPUT_SIDE
    free_size: tuple[int, int] | None = None
    trained_size: int
    colour_order: Literal["RGB"] = "RGB"
    input_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    resampling: str = RESAMPLING
    traces: bool = False
    trace_version: int = 1
    trace_grid: int | None = None
    trace_definition: str | None = None
    tta_flips: Literal[1, 2, 4] = 1
    tta_scales: tuple[float, ...] = (1.0,)
    averaging: str = AVERAGING
    map_definition: str = MAP_DEFINITION
    score_definition: str = SCORE_DEFINITION
    pixel_threshold: float = 0.5
    score_threshold: float = 0.5
    precision: Precision = "fp32"
    opset: int
    max_difference: float
    mean_difference: float
    checked: int
    f1_checks: tuple[F1Check, ...] = ()
    tool_version: str = __version__
    torch_version: str

    @model_validator(mode="before")
    @classmethod
    def _of_format_1(cls, values: Any) -> Any:
        # the bundled graphs have it: they were exported before input sizes and test-time augmentation had these fields
        if isinstance(values, dict) and values.get("format") == 1 and "mirrors" in values:
            absent = {"trained_size": values.get("input_size"), "trace_grid": 112 if values.get("traces") else None}
            values = absent | values | {"format": 2, "tta_flips": values["mirrors"]}
            del values["mirrors"]
        return values

    def takes(self, side: int) -> bool:
        """Whether the graph takes a square picture with a side of `side` pixels."""
        if self.free_size is None:
            return side == self.input_size
        return side % STRIDE == 0 and self.free_size[0] <= side <= self.free_size[1]
