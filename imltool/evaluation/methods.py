"""Methods that can be measured: the checkpoint, baselines and folders of saved maps, with one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from imltool.errors import UsageError
from imltool.evaluation.results import MethodKind
from imltool.evaluation.rows import CALIBRATED, HALF
from imltool.evaluation.saved_maps import MapFolder
from imltool.pictures.images import RGB, Map
from imltool.traces.residual import error_level
from imltool.traces.stack import Traces

if TYPE_CHECKING:
    import torch

    from imltool.inference.localizer import Localizer
    from imltool.student.settings import StudentSettings

Predict = Callable[[Sequence[RGB], "Sequence[Traces] | None"], list[Map]]
"""Pictures, uint8 RGB [H,W,3] of any sizes, and their traces if known → maps, float32 [H,W] in [0,1], each of its
picture's size.
"""

TakeTraces = Callable[[RGB], Traces]
"""Picture → its traces. Methods with the same function get the same traces."""

PLAIN_THRESHOLD = 0.5
"""Image operating point of methods without one of their own."""
OTHER_WEIGHTS = frozenset({".pth", ".pt", ".ckpt", ".bin", ".h5", ".keras", ".pkl", ".tar"})
"""Suffixes of weights of other programs."""

ELA_QUALITY = 90
ELA_SIGMA = 3.0
ELA_PERCENTILE = 99.9


@dataclass(frozen=True)
class Method:
    """A localizer to measure.

    Attributes:
        label: its name in tables and in the CSV.
        kind: the origin of its maps.
        thresholds: name → pixel threshold; the checkpoint has a calibrated one, others do not.
        score_threshold: image operating point; scores strictly above it are flagged.
        predict: the prediction, None for saved maps.
        traces: function that computes the traces of a picture for `predict`; None if it uses none or computes its own.
        maps: the folder of its saved maps, None for a method that predicts.
    """

    label: str
    kind: MethodKind
    thresholds: dict[str, float]
    score_threshold: float = PLAIN_THRESHOLD
    predict: Predict | None = None
    traces: TakeTraces | None = None
    maps: MapFolder | None = None


def checkpoint_method(localizer: Localizer, tiles: bool = False) -> Method:
    """A checkpoint as a method; one with the name of a baseline gets another label.

    Args:
        tiles: also predict large pictures in tiles, see `imltool.inference.tiles`.
    """
    from imltool.inference.tiles import maps_with_tiles

    header = localizer.header
    label = f"{header.name} (checkpoint)" if header.name in BASELINES else header.name or "checkpoint"
    predict: Predict = (lambda images, traces: maps_with_tiles(localizer, images)) if tiles else localizer.maps
    thresholds = {HALF: 0.5, CALIBRATED: header.pixel_threshold}
    traces = localizer.traces if localizer.sees_traces and not tiles else None
    return Method(label, "checkpoint", thresholds, header.score_threshold, predict, traces)


def baseline_method(name: str, localizer: Localizer | None, device: str | torch.device, seed: int) -> Method:
    """A baseline of `BASELINES` as a method; `untrained` has the architecture of `localizer`."""
    predict = BASELINES[name](localizer.header.architecture if localizer else None, device, seed)
    # it has the checkpoint's architecture, so it also has its traces
    traces = localizer.traces if name == "untrained" and localizer and localizer.sees_traces else None
    return Method(name, "baseline", {HALF: 0.5}, predict=predict, traces=traces)


def maps_method(maps: MapFolder) -> Method:
    """A folder of saved maps as a method."""
    return Method(maps.name, "maps", {HALF: 0.5}, maps=maps)


def refuse_doubled(methods: Sequence[Method]) -> None:
    """Raises `UsageError` when two methods have the same label."""
    labels = [method.label for method in methods]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two methods are named {label}", "give each --maps its own --name")


def refuse_other_weights(path: Path) -> None:
    """Raises `UsageError` for weights of another program: imltool cannot run them, but it can measure their maps."""
    if path.suffix.lower() in OTHER_WEIGHTS:
        raise UsageError(
            f"{path} is not a checkpoint of imltool, and other networks are not run",
            "save the network's maps and measure them with --maps DIR",
        )


def error_level_analysis(rgb: RGB) -> Map:
    """Error-level analysis at native resolution (settings are our choice).

    The picture is saved as JPEG (quality 90, 4:2:0) and compared with itself: absolute difference averaged over the
    channels, Gaussian blur with σ = 3 pixels, divided by its 99.9 percentile, clipped to [0,1]. A picture that JPEG
    does not change gives a map of zeros.
    """
    blurred = cv2.GaussianBlur(error_level(rgb, ELA_QUALITY), (0, 0), ELA_SIGMA)
    top = float(np.percentile(blurred, ELA_PERCENTILE))
    if top <= 0.0:
        return np.zeros(rgb.shape[:2], dtype=np.float32)
    return np.asarray(np.clip(blurred / np.float32(top), 0.0, 1.0), dtype=np.float32)


Baseline = Callable[["StudentSettings | None", "str | torch.device", int], Predict]


def _ela(architecture: StudentSettings | None, device: str | torch.device, seed: int) -> Predict:
    return lambda images, traces: [error_level_analysis(image) for image in images]


def _constant(architecture: StudentSettings | None, device: str | torch.device, seed: int) -> Predict:
    return lambda images, traces: [np.ones(image.shape[:2], dtype=np.float32) for image in images]


def _untrained(architecture: StudentSettings | None, device: str | torch.device, seed: int) -> Predict:
    from imltool.inference.localizer import Localizer

    return Localizer.untrained(architecture, device, seed).maps


BASELINES: dict[str, Baseline] = {"ela": _ela, "constant": _constant, "untrained": _untrained}
"""Name → function (architecture, device, seed) that builds the prediction.

`ela`: error-level analysis. `constant`: 1 everywhere, "all is tampered". `untrained`: the checkpoint's architecture (or
the default one) with random weights.
"""
