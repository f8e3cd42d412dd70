"""A student as an ONNX graph, checked against torch before it is kept."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imltool.engines.graph import INFO_KEY, PIXELS, PROBABILITY, TRACES_INPUT, GraphInfo, Precision
from imltool.engines.network import Stacks, Views
from imltool.engines.registry import GRAPH_ENGINES
from imltool.engines.torch_network import TorchNetwork
from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file, write_bytes
from imltool.student.checkpoint import load_checkpoint
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.traces.stack import GRID, TRACES

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference of a probability to torch's at which a float graph is kept; engines differ by some 1e-6."""
CHECKED = 8
"""Pictures of noise and ramps that every graph is checked with."""
_HALVED_FROM = 1024
"""Weights of a graph with fewer values are not worth a cast."""


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
    _need("onnx", "onnxscript", "onnx_ir")
    student, header = load_checkpoint(weights)
    model = _graph(student)
    if precision == "fp16":
        _halve_weights(model)
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
    write_bytes(out, _with_info(model, info))
    return info


def _need(*packages: str) -> None:
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not any(engine.installed for engine in GRAPH_ENGINES.values()):
        missing.append(GRAPH_ENGINES["onnx"].package)
    if missing:
        raise UsageError(f"exporting needs {' and '.join(missing)}", "pip install 'imltool[export]'")


def _graph(student: Student) -> Any:
    side, taught = student.settings.input_size, bool(student.settings.traces)
    # two of each: a batch of one would be taken for a constant
    inputs: tuple[Tensor, ...] = (torch.zeros(2, 3, side, side),)
    names = [PIXELS]
    if taught:
        inputs += (torch.zeros(2, len(TRACES), GRID, GRID),)
        names.append(TRACES_INPUT)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    chatty = logging.getLogger("torch.onnx")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Look(student).eval(),
                inputs,
                dynamo=True,
                dynamic_shapes=tuple(batch for _ in inputs),
                input_names=names,
                output_names=[PROBABILITY],
                opset_version=OPSET,
                optimize=False,  # engines do it on loading; a norm folded here would not fit into half precision
                verbose=False,
            )
    finally:
        chatty.setLevel(level)
    assert program is not None
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateInitializersPass

    # where each node came from takes a fifth of the file, and attention's index tables are a few, stored ten times
    DeduplicateInitializersPass()(program.model)
    ClearMetadataAndDocStringPass()(program.model)
    return program.model_proto


def _halve_weights(model: Any) -> None:
    """Store large float32 weights as float16, cast back by a node of their own."""
    import onnx
    from onnx import numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _HALVED_FROM:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def _with_info(model: Any, info: GraphInfo) -> bytes:
    import onnx

    onnx.helper.set_model_props(model, {INFO_KEY: info.model_dump_json()})
    return bytes(model.SerializeToString())


def _differences(model: Any, info: GraphInfo, reference: TorchNetwork, architecture: StudentSettings) -> NDArray[Any]:
    """|probability − torch's| over seeded pictures, in the first engine that is installed."""
    views, traces = trial_views(architecture)
    engine = next(engine for engine in GRAPH_ENGINES.values() if engine.installed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        file.write_bytes(_with_info(model, info))
        found = engine.open(file).probabilities(views, traces)
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
