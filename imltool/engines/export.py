"""A student as an ONNX graph, checked against torch before it is kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imltool.engines.graph import PIXELS, PROBABILITY, TRACES_INPUT, GraphInfo, GraphNetwork, Precision
from imltool.engines.network import Stacks, Views
from imltool.engines.onnx_files import OPSET, halve_weights, need_exporter, trace_graph, with_info
from imltool.engines.registry import GRAPH_ENGINES
from imltool.engines.torch_network import TorchNetwork
from imltool.errors import WeightsError
from imltool.files import sha256_file, write_bytes
from imltool.student.checkpoint import load_checkpoint
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.traces.stack import GRID, TRACES

TOLERANCE = 1e-4
"""Largest difference of a probability to torch's at which a float graph is kept; engines differ by some 1e-6."""
CHECKED = 8
"""Pictures of noise and ramps that every graph is checked with."""


class _Look(nn.Module):
    """What is exported: one look of the student, as a probability."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, pixels: Tensor, traces: Tensor | None = None) -> Tensor:
        return self.student(pixels, traces).sigmoid()[:, 0]


def export_student(weights: Path, out: Path, precision: Precision = "fp32") -> GraphInfo:
    """Write a checkpoint as an ONNX graph for any number of pictures at a time; returns its metadata.

    With `fp16`, weights are stored in half precision and cast back when the graph is loaded: computing stays in
    float32, and a checkpoint that is stored in half precision, as released ones are, loses nothing.

    Raises `WeightsError` for a bad checkpoint or when the graph's maps are not torch's, `UsageError` when the packages
    that export are missing, `OutputError` when it cannot be written.
    """
    need_exporter()
    student, header = load_checkpoint(weights)
    model = _graph(student)
    if precision == "fp16":
        halve_weights(model)
    info = GraphInfo(
        name=header.name,
        weights_sha256=sha256_file(weights),
        input_size=header.input_size,
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
    differences = _differences(model, info, TorchNetwork(student, header, torch.device("cpu")), header.architecture)
    info = info.model_copy(
        update={
            "max_difference": float(differences.max()),
            "mean_difference": float(differences.mean()),
            "checked": CHECKED,
        }
    )
    if not info.max_difference <= TOLERANCE:  # false for NaN too
        raise WeightsError(
            f"the graph of {weights.name} does not compute what torch does: probabilities differ by up to "
            f"{info.max_difference:.2g}",
            "try another version of torch or onnxscript",
        )
    write_bytes(out, with_info(model, info))
    return info


def _graph(student: Student) -> Any:
    side = student.settings.input_size
    # two of each: a batch of one would be taken for a constant
    inputs = {PIXELS: torch.zeros(2, 3, side, side)}
    if student.settings.traces:
        inputs[TRACES_INPUT] = torch.zeros(2, len(TRACES), GRID, GRID)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    return trace_graph(_Look(student), inputs, [PROBABILITY], tuple(batch for _ in inputs))


def _differences(model: Any, info: GraphInfo, reference: TorchNetwork, architecture: StudentSettings) -> NDArray[Any]:
    """|probability − torch's| over seeded pictures, in the first engine that is installed."""
    views, traces = trial_views(architecture)
    engine = next(engine for engine in GRAPH_ENGINES.values() if engine.installed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        file.write_bytes(with_info(model, info))
        found = GraphNetwork(engine.open(file)).probabilities(views, traces)
    return np.asarray(np.abs(found - reference.probabilities(views, traces)))


def trial_views(architecture: StudentSettings, count: int = CHECKED) -> tuple[Views, Stacks | None]:
    """Seeded pictures and traces to compare engines on: from flat ramps to noise."""
    rng = np.random.default_rng(0)
    side = architecture.input_size
    ramp = np.add.outer(np.arange(side), np.arange(side))[..., None] * (255 / (2 * side))
    noise = rng.integers(0, 256, (count, side, side, 3))
    share = np.linspace(0, 1, count)[:, None, None, None]
    views = ((1 - share) * ramp + share * noise).astype(np.uint8)
    traces = rng.random((count, len(TRACES), GRID, GRID)).astype(np.float16) if architecture.traces else None
    return views, traces
