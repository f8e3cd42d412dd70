"""A student as an ONNX graph, checked against torch before it is kept."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imltool.data.sets import NamedSet
from imltool.engines.graph import PIXELS, PROBABILITY, TRACES_INPUT, GraphInfo, GraphNetwork, Precision, Size
from imltool.engines.network import Network, Stacks, Views
from imltool.errors import UsageError, WeightsError
from imltool.export.f1_check import check_f1
from imltool.export.free_windows import free_windows
from imltool.export.onnx_files import OPSET, halve_weights, need_exporter, opened_for_trial, trace_graph, with_info
from imltool.export.quantise import choose_pictures, quantise
from imltool.files import sha256_file, write_bytes
from imltool.inference.localizer import Localizer
from imltool.student.checkpoint import load_checkpoint
from imltool.student.header import CheckpointHeader
from imltool.student.model import Student
from imltool.student.settings import GREATEST_SIDE, LEAST_SIDE, STRIDE, StudentSettings
from imltool.traces.stack import GRID, TRACES

TOLERANCE = 1e-4
"""Largest difference of a probability to torch's at which a float graph is kept; engines differ by some 1e-6."""
MAX_F1_LOSS = 0.005
"""A graph that loses this much of torch's F1 on a labelled set is refused."""
CHECKED = 8
"""Pictures of noise and ramps that every graph is checked with."""
FREE_SIZES = ((64, 64), (224, 224), (256, 416))
"""Heights and widths that a graph of free size is checked at too, with one such picture each: smaller than an
attention window, whole windows, and several of which the last are cut."""
_TRACED_AT = (288, 352)
"""The same for tracing: no special case of a step that looks at the size, whose other way the graph would lose."""


class _Look(nn.Module):
    """What is exported: one look of the student, as a probability."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, pixels: Tensor, traces: Tensor | None = None) -> Tensor:
        return self.student(pixels, traces).sigmoid()[:, 0]


def export_student(
    weights: Path,
    out: Path,
    precision: Precision = "fp32",
    calibration: Path | None = None,
    labelled: Sequence[NamedSet] = (),
    size: Size | None = None,
) -> GraphInfo:
    """Write a checkpoint as an ONNX graph for any number of pictures at a time; returns its metadata.

    With `fp16`, weights are stored in half precision and cast back when the graph is loaded: computing stays in
    float32, and a checkpoint that is stored in half precision, as released ones are, loses nothing. With `int8` the
    graph computes in 8-bit integers, see `quantise`, and its maps are others than torch's: it is kept for its F1.

    Args:
        calibration: folder of pictures, for int8: of the kind that will be seen, and none of those measured on.
        labelled: sets to compare F1 on, needed for int8.
        size: side of the squares that it takes, a multiple of `STRIDE` from `LEAST_SIDE` to `GREATEST_SIDE`; `dynamic`
            for any such height and width; None for the checkpoint's. Thresholds stay those fitted for that one.

    Raises `WeightsError` for a bad checkpoint, when a float graph's maps are not torch's or F1 falls by `MAX_F1_LOSS`,
    `UsageError` when the packages that export are missing, for another size or when int8 lacks its pictures or is to
    take any size, `DataError` for pictures that cannot be read, `OutputError` when it cannot be written.
    """
    if isinstance(size, int) and (size % STRIDE or not LEAST_SIDE <= size <= GREATEST_SIDE):
        raise UsageError(
            f"size {size} is not a multiple of {STRIDE} from {LEAST_SIDE} to {GREATEST_SIDE}",
            "give such a number, or dynamic",
        )
    if size == "dynamic" and precision == "int8":
        raise UsageError("int8 has ranges found at one size, and cannot be dynamic", "give --size N, or fp16")
    if (precision == "int8") != (calibration is not None) or (precision == "int8" and not labelled):
        raise UsageError(
            "int8, and nothing else, is calibrated on pictures, and it is measured on labelled ones",
            "give --precision int8 --calibration FOLDER --check NAME=DIR",
        )
    pictures = choose_pictures(calibration) if calibration is not None else []
    need_exporter()
    student, trained = load_checkpoint(weights)
    header = _resized(trained, size) if isinstance(size, int) else trained
    free = size == "dynamic"
    model = _graph(student, header.architecture, free)
    if precision == "fp16":
        halve_weights(model)
    elif precision == "int8":
        model = quantise(model, pictures, header)
    info = GraphInfo(
        name=header.name,
        weights_sha256=sha256_file(weights),
        input_size=header.input_size,
        free_size=(LEAST_SIDE, GREATEST_SIDE) if free else None,
        trained_size=trained.input_size,
        mean=header.mean,
        std=header.std,
        traces=bool(header.architecture.traces),
        trace_version=header.trace_version,
        mirrors=header.architecture.mirrors,
        pixel_threshold=header.pixel_threshold,
        score_threshold=header.score_threshold,
        precision=precision,
        opset=OPSET,
        max_difference=0.0,
        mean_difference=0.0,
        checked=0,
        torch_version=str(torch.__version__),
    )
    reference = Localizer.of(student, header, "cpu")
    with opened_for_trial([model], [info]) as (opened,):
        graph = Localizer(GraphNetwork(opened), header, "cpu")
        differences, checked = _differences(graph.network, reference.network, header.architecture, free)
        largest = float(differences.max())
        if precision != "int8" and not largest <= TOLERANCE:  # false for NaN too
            raise WeightsError(
                f"the graph of {weights.name} does not compute what torch does: probabilities differ by up to "
                f"{largest:.2g}",
                "try another version of torch or onnxscript",
            )
        checks = tuple(check_f1(graph, reference, one) for one in labelled)
    for check in checks:
        if not check.lost < MAX_F1_LOSS:
            raise WeightsError(
                f"the graph of {weights.name} has F1 {check.f1:.4f} on {check.name}, torch has {check.torch:.4f}: "
                f"a loss of {MAX_F1_LOSS} is too much",
                "calibrate on other pictures, or export it as fp32" if precision == "int8" else "export it as fp32",
            )
    info = info.model_copy(
        update={
            "max_difference": largest,
            "mean_difference": float(differences.mean()),
            "checked": checked,
            "f1_checks": checks,
        }
    )
    write_bytes(out, with_info(model, info))
    return info


def _resized(header: CheckpointHeader, size: int) -> CheckpointHeader:
    architecture = header.architecture.model_copy(update={"input_size": size})
    return header.model_copy(update={"architecture": architecture})


def _graph(student: Student, architecture: StudentSettings, free: bool) -> Any:
    height, width = _TRACED_AT if free else (architecture.input_size, architecture.input_size)
    # two of each: a batch of one would be taken for a constant
    inputs = {PIXELS: torch.zeros(2, 3, height, width)}
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    shapes: list[dict[int, Any]] = [dict(batch)]
    if free:
        student = free_windows(copy.deepcopy(student))
        for axis, name in ((2, "h"), (3, "w")):
            steps = torch.export.Dim(name, min=LEAST_SIDE // STRIDE, max=GREATEST_SIDE // STRIDE)
            shapes[0][axis] = STRIDE * steps
    if architecture.traces:
        inputs[TRACES_INPUT] = torch.zeros(2, len(TRACES), GRID, GRID)
        shapes.append(batch)
    return trace_graph(_Look(student), inputs, [PROBABILITY], tuple(shapes))


def _differences(
    graph: Network, reference: Network, architecture: StudentSettings, free: bool
) -> tuple[NDArray[Any], int]:
    """|probability − torch's| of every pixel of seeded pictures, and how many pictures these were."""
    trials = [trial_views(architecture)]
    if free:
        trials += [trial_views(architecture, 1, size) for size in FREE_SIZES]
    found = [np.abs(graph.probabilities(*trial) - reference.probabilities(*trial)).ravel() for trial in trials]
    return np.concatenate(found), sum(len(views) for views, _ in trials)


def trial_views(
    architecture: StudentSettings, count: int = CHECKED, size: tuple[int, int] | None = None
) -> tuple[Views, Stacks | None]:
    """Seeded pictures and traces to compare engines on: from flat ramps to noise.

    Args:
        size: (height, width) of the pictures; None for the student's own.
    """
    rng = np.random.default_rng(0)
    height, width = size or (architecture.input_size, architecture.input_size)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * (255 / (height + width))
    noise = rng.integers(0, 256, (count, height, width, 3))
    share = np.linspace(0, 1, count)[:, None, None, None]
    views = ((1 - share) * ramp + share * noise).astype(np.uint8)
    traces = rng.random((count, len(TRACES), GRID, GRID)).astype(np.float16) if architecture.traces else None
    return views, traces
