"""Export a student as an ONNX graph, checked against torch before it is written."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imltool.data.sets import NamedSet
from imltool.engines.graph import GraphNetwork
from imltool.engines.graph_info import (
    PIXELS,
    PROBABILITY,
    TRACE_DEFINITION,
    TRACES_INPUT,
    F1Check,
    GraphInfo,
    Precision,
    Size,
)
from imltool.errors import DataError, UsageError, WeightsError
from imltool.evaluation import metrics
from imltool.evaluation.counts import stack
from imltool.evaluation.methods import checkpoint_method
from imltool.evaluation.rows import HALF, Counting
from imltool.evaluation.runner import evaluate_set
from imltool.export.free_windows import free_windows
from imltool.export.onnx_files import OPSET, halve_weights, need_exporter, opened_for_trial, trace_graph, with_info
from imltool.export.quantise import choose_pictures, quantise
from imltool.files import sha256_file, write_bytes
from imltool.inference.localizer import Localizer
from imltool.pictures.images import RGB
from imltool.student.checkpoint import is_half, load_checkpoint
from imltool.student.header import CheckpointHeader
from imltool.student.model import Student
from imltool.student.settings import GREATEST_SIDE, LEAST_SIDE, STRIDE, StudentSettings
from imltool.traces.stack import GRID, TRACES, Traces

TOLERANCE = 1e-4
"""Largest accepted difference between probabilities of a float graph and of torch with the same weights; engines differ
by some 1e-6.
"""
ROUNDING_TOLERANCE = 0.05
"""Largest accepted change of a probability by rounding float32 weights to float16 (our choice)."""
MAX_F1_LOSS = 0.005
"""A graph whose F1 on a labelled set is lower than torch's by this much is refused."""
CHECKED = 8
"""Number of pictures of noise and ramps with which every graph is checked."""
FREE_SIZES = ((64, 64), (224, 224), (256, 416))
"""Further heights and widths at which a graph of free size is checked, with one such picture each: smaller than an
attention window, whole windows, and several windows of which the last are cut.
"""
_TRACED_AT = (288, 352)
"""Height and width for tracing: no special case of any step that depends on the size, because the graph would lose the
other branch.
"""


class _Forward(nn.Module):
    """The exported module: a single forward pass without test-time augmentation, returning probabilities."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, pixels: Tensor, traces: Tensor | None = None) -> Tensor:
        logits: Tensor = self.student(pixels, traces)
        return logits.sigmoid()[:, 0]


@dataclass(frozen=True)
class Comparison:
    """|probability − torch's| over every pixel of `pictures` trial pictures."""

    largest: float
    mean: float
    pictures: int


def export_student(
    weights: Path,
    out: Path,
    precision: Precision | None = None,
    calibration: Path | None = None,
    labelled: Sequence[NamedSet] = (),
    size: Size | None = None,
) -> GraphInfo:
    """Write a checkpoint as an ONNX graph for any batch size; returns its metadata.

    Args:
        precision: None takes that of the checkpoint's weights, fp16 for a released one and fp32 for one written by
            `imltool train`, so that maps are the checkpoint's own. fp16 stores weights in half precision and computes
            in float32; rounding weights that are stored in float32 changes maps slightly. int8 computes in 8-bit
            integers, see `quantise`; its maps differ from torch's, so it is accepted by its F1.
        calibration: folder of pictures for int8, of the kind that will be analysed, without those of `labelled`.
        labelled: sets on which F1 is compared, needed for int8.
        size: side of its square input, a multiple of `STRIDE` from `LEAST_SIDE` to `GREATEST_SIDE`; `dynamic` for any
            such height and width; None for the checkpoint's, which is dynamic if its input size grows with the picture.
            The thresholds remain those fitted for the checkpoint's size.

    Raises `WeightsError` for a bad checkpoint, when a float graph's maps differ from torch's or F1 falls by
    `MAX_F1_LOSS`; `UsageError` when packages for the export are missing, for an invalid size, and for int8 without its
    pictures or with a dynamic size; `DataError` for pictures that cannot be read; `OutputError` when it cannot be
    written.
    """
    if isinstance(size, int) and (size % STRIDE or not LEAST_SIDE <= size <= GREATEST_SIDE):
        raise UsageError(
            f"size {size} is not a multiple of {STRIDE} from {LEAST_SIDE} to {GREATEST_SIDE}",
            "give such a number, or dynamic",
        )
    if (precision == "int8") != (calibration is not None) or (precision == "int8" and not labelled):
        raise UsageError(
            "int8 needs pictures to calibrate on and labelled sets to check; other precisions are not calibrated",
            "give --precision int8 --calibration FOLDER --check NAME=DIR",
        )
    need_exporter()
    student, trained = load_checkpoint(weights)
    header = _resized(trained, size) if isinstance(size, int) else trained
    free = size == "dynamic" or not header.architecture.has_one_size
    if free and precision == "int8":
        raise UsageError("int8 is calibrated at one size and cannot be dynamic", "give --size N, or fp16")
    pictures = choose_pictures(calibration) if calibration is not None else []
    if precision is None:
        precision = "fp16" if is_half(weights) else "fp32"
    reference = Localizer.of(copy.deepcopy(student), header, "cpu")
    if precision == "fp16":
        student.half().float()
    model = _graph(student, header.architecture, free)
    if precision == "fp16":
        halve_weights(model)
    elif precision == "int8":
        model = quantise(model, pictures, header)
    info = _info(weights, trained, header, precision, free)
    with opened_for_trial([model], [info]) as (opened,):
        graph = Localizer(GraphNetwork(opened), header, "cpu")
        if precision != "int8":
            _require_same(weights, _compare(graph, Localizer.of(student, header, "cpu"), free), TOLERANCE)
        found = _compare(graph, reference, free)
        if precision == "fp16":
            _require_same(weights, found, ROUNDING_TOLERANCE)
        checks = tuple(check_f1(graph, reference, one) for one in labelled)
    _require_f1(weights, checks, precision)
    measured = {"max_difference": found.largest, "mean_difference": found.mean, "checked": found.pictures}
    info = info.model_copy(update={**measured, "f1_checks": checks})
    write_bytes(out, with_info(model, info))
    return info


def _info(
    weights: Path, trained: CheckpointHeader, header: CheckpointHeader, precision: Precision, free: bool
) -> GraphInfo:
    """The metadata, before anything is compared."""
    architecture = header.architecture
    traces = bool(architecture.traces)
    return GraphInfo(
        name=header.name,
        weights_sha256=sha256_file(weights),
        input_size=header.input_size,
        max_input_size=architecture.max_input_size,
        free_size=(LEAST_SIDE, GREATEST_SIDE) if free else None,
        trained_size=trained.input_size,
        mean=header.mean,
        std=header.std,
        traces=traces,
        trace_version=header.trace_version,
        trace_grid=GRID if traces and architecture.max_input_size is None else None,
        trace_definition=TRACE_DEFINITION if traces else None,
        tta_flips=architecture.tta_flips,
        tta_scales=architecture.tta_scales,
        pixel_threshold=header.pixel_threshold,
        score_threshold=header.score_threshold,
        precision=precision,
        opset=OPSET,
        max_difference=0.0,
        mean_difference=0.0,
        checked=0,
        torch_version=str(torch.__version__),
    )


def check_f1(graph: Localizer, reference: Localizer, one: NamedSet) -> F1Check:
    """The pixel F1 of a graph and of torch on the tampered pictures of a set.

    Raises `DataError` when a picture or its mask cannot be read, or no picture is tampered.
    """
    pictures = sum(sample.tampered for sample in one.samples)
    return F1Check(name=one.name, pictures=pictures, f1=_mean_f1(graph, one), torch=_mean_f1(reference, one))


def _mean_f1(localizer: Localizer, one: NamedSet) -> float:
    tampered = [sample for sample in one.samples if sample.tampered]
    if not tampered:
        raise DataError(f"set {one.name} has no tampered picture to measure F1 on", "give a labelled set")
    scored = evaluate_set(tampered, [checkpoint_method(localizer)], counting=Counting(curves=False))
    rows = [row for _, row in scored]
    if failed := [row for row in rows if not row.ok]:
        raise DataError(f"{one.name}/{failed[0].name}: {failed[0].reason}")
    return float(metrics.f1(stack(row.counts[HALF] for row in rows)).mean())


def _require_same(weights: Path, found: Comparison, tolerance: float) -> None:
    """Raises `WeightsError` when maps differ by more than that."""
    if found.largest <= tolerance:  # False for NaN, too
        return
    rounded = tolerance == ROUNDING_TOLERANCE
    raise WeightsError(
        f"the graph of {weights.name} does not compute what torch does: probabilities differ by up to "
        f"{found.largest:.2g}" + (", because weights are rounded to half precision" if rounded else ""),
        "export it with --precision fp32" if rounded else "try another version of torch or onnxscript",
    )


def _require_f1(weights: Path, checks: Sequence[F1Check], precision: Precision) -> None:
    """Raises `WeightsError` when F1 falls by `MAX_F1_LOSS` on a set."""
    for check in checks:
        if not check.lost < MAX_F1_LOSS:
            raise WeightsError(
                f"the graph of {weights.name} has F1 {check.f1:.4f} on {check.name}, torch has {check.torch:.4f}: "
                f"a loss of {MAX_F1_LOSS} is too much",
                "calibrate on other pictures, or export it as fp32" if precision == "int8" else "export it as fp32",
            )


def _resized(header: CheckpointHeader, size: int) -> CheckpointHeader:
    one_size = {"input_size": size, "max_input_size": None, "tta_scales": (1.0,)}
    architecture = header.architecture.model_copy(update=one_size)
    return header.model_copy(update={"architecture": architecture})


def _graph(student: Student, architecture: StudentSettings, free: bool) -> Any:
    height, width = _TRACED_AT if free else (architecture.input_size, architecture.input_size)
    # a batch of two: the exporter would take a batch of one for a constant
    inputs = {PIXELS: torch.zeros(2, 3, height, width)}
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    shapes: list[dict[int, Any]] = [dict(batch)]
    steps = [torch.export.Dim(name, min=LEAST_SIDE // STRIDE, max=GREATEST_SIDE // STRIDE) for name in ("h", "w")]
    if free:
        student = free_windows(copy.deepcopy(student))
        shapes[0] |= {2: STRIDE * steps[0], 3: STRIDE * steps[1]}
    if architecture.traces:
        grid = _trace_grid(architecture, (height, width))
        inputs[TRACES_INPUT] = torch.zeros(2, len(TRACES), *grid)
        shapes.append(dict(batch))
        if architecture.max_input_size is not None:  # the trace grid is half of the input's height and width
            shapes[1] |= {2: STRIDE // 2 * steps[0], 3: STRIDE // 2 * steps[1]}
    return trace_graph(_Forward(student), inputs, [PROBABILITY], tuple(shapes))


def _trace_grid(architecture: StudentSettings, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the traces for an input of `size`."""
    return architecture.trace_grid(size[0]), architecture.trace_grid(size[1])


def _compare(graph: Localizer, reference: Localizer, free: bool) -> Comparison:
    """Compare both on seeded pictures, of several sizes for a graph of free size."""
    architecture = graph.header.architecture
    trials = [trial_inputs(architecture)]
    if free:
        trials += [trial_inputs(architecture, 1, size) for size in FREE_SIZES]
    found = [np.abs(graph.probabilities(*trial) - reference.probabilities(*trial)).ravel() for trial in trials]
    differences = np.concatenate(found)
    return Comparison(float(differences.max()), float(differences.mean()), sum(len(given) for given, _ in trials))


def trial_inputs(
    architecture: StudentSettings, count: int = CHECKED, size: tuple[int, int] | None = None
) -> tuple[list[RGB], list[Traces] | None]:
    """Seeded pictures uint8 [H,W,3] from flat ramps to noise, and their traces, to compare engines.

    Args:
        size: (height, width) of the pictures; None for the student's own.
    """
    rng = np.random.default_rng(0)
    height, width = size or (architecture.input_size, architecture.input_size)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * (255 / (height + width))
    noise = rng.integers(0, 256, (count, height, width, 3))
    share = np.linspace(0, 1, count)[:, None, None, None]
    pictures = [*((1 - share) * ramp + share * noise).astype(np.uint8)]
    if not architecture.traces:
        return pictures, None
    grid = _trace_grid(architecture, (height, width))
    return pictures, [*rng.random((count, len(TRACES), *grid)).astype(np.float16)]
