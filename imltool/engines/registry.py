"""The available engines, and the choice of one for a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.engines.graph import Graph, GraphNetwork
from imltool.engines.graph_info import SUFFIX
from imltool.engines.network import Compute, threads
from imltool.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from imltool.student.header import CheckpointHeader

STREAMS = 8
"""Limit of pictures that a student processes concurrently, for any number of threads: each needs its own memory."""


def student_streams() -> int:
    """Number of pictures that a student processes concurrently on this machine."""
    return min(threads(), STREAMS)


def _openvino(path: Path, streams: int, compute: Compute) -> Graph:
    from imltool.engines.openvino_runtime import OpenvinoGraph

    return OpenvinoGraph(path, streams, "bf16" if compute == "bf16" else "fp32")


def _onnx(path: Path, streams: int, compute: Compute) -> Graph:
    from imltool.engines.onnx_runtime import OnnxGraph

    return OnnxGraph(path, streams)


@dataclass(frozen=True)
class GraphEngine:
    """An engine for exported graphs. New engines are added to `GRAPH_ENGINES`.

    Attributes:
        package: the module that contains it.
        computes: the precisions it supports.
        load: function that loads a graph file for a number of concurrent runs in a precision. Raises `WeightsError`
            when the file cannot be run.
    """

    package: str
    computes: tuple[Compute, ...]
    load: Callable[[Path, int, Compute], Graph]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


GRAPH_ENGINES: dict[str, GraphEngine] = {
    "openvino": GraphEngine("openvino", ("fp32", "bf16", "int8"), _openvino),
    "onnx": GraphEngine("onnxruntime", ("fp32", "int8"), _onnx),
}
"""Engines of exported graphs, the fastest on a CPU first (`benchmarks/inference.py`)."""
ENGINES = ("auto", "torch", *GRAPH_ENGINES)
"""Values of `--engine`."""


def graph_of(weights: Path, compute: Compute = "fp32", side: int | None = None) -> Path:
    """Path of a checkpoint's exported graph: beside it, with the same name; the suffix of an int8 graph says so.

    Args:
        side: input side of a graph for another size than the checkpoint's; it is in the suffix. No engine looks for
            such graphs.
    """
    marks = ([str(side)] if side else []) + (["int8"] if compute == "int8" else [])
    return weights.with_suffix("".join(f".{mark}" for mark in marks) + SUFFIX)


def pick_engine(engine: str, on_cpu: bool, compute: Compute, graphs: Sequence[Path]) -> str:
    """The engine to run a network with: "torch" or a key of `GRAPH_ENGINES`.

    `auto` takes the first of `GRAPH_ENGINES` that is installed and supports the precision, if the network runs on a CPU
    and all of its graphs exist; otherwise torch. For int8, which torch does not support, it always takes a graph
    engine.

    Raises `UsageError` for an engine that is unknown, not installed or does not support the precision.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}", f"choose one of {', '.join(ENGINES)}")
    if engine == "torch" and compute == "int8":
        raise UsageError("torch does not compute in int8", "give --engine openvino or onnx")
    able = [name for name, one in GRAPH_ENGINES.items() if one.installed and compute in one.computes]
    if engine == "auto" and compute == "int8":
        engine = able[0] if able else "onnx"
    elif engine == "auto":
        return able[0] if on_cpu and able and all(file.is_file() for file in graphs) else "torch"
    if engine == "torch":
        return engine
    if not on_cpu:
        raise UsageError(f"engine {engine} runs only on the CPU", "give --device cpu, or --engine torch")
    wanted = GRAPH_ENGINES[engine]
    if not wanted.installed:
        raise UsageError(f"engine {engine} is not installed", f"pip install {wanted.package}")
    if compute not in wanted.computes:
        raise UsageError(f"engine {engine} does not compute in {compute}", "give --engine openvino or torch")
    return engine


def load_graphs(
    weights: Path, graphs: Sequence[Path], engine: str, remedy: str, streams: int = 1, compute: Compute = "fp32"
) -> list[Graph]:
    """Load the graphs of a network with `engine`, a key of `GRAPH_ENGINES`.

    Args:
        weights: the file from which they were exported, for messages.
        remedy: the command that makes missing graphs.

    Raises `WeightsError` when a graph is missing or damaged.
    """
    if missing := [file.name for file in graphs if not file.is_file()]:
        raise WeightsError(f"{weights} has no exported graph {' and '.join(missing)} beside it", remedy)
    return [GRAPH_ENGINES[engine].load(file, streams, compute) for file in graphs]


def load_student_graph(
    weights: Path, sha256: str, header: CheckpointHeader, engine: str, compute: Compute
) -> GraphNetwork:
    """Load the exported graph of a checkpoint with `engine`, a key of `GRAPH_ENGINES`.

    Raises `WeightsError` when it is missing, damaged, or made from other weights, for another input size or in another
    precision.
    """
    remedy = f"imltool export --weights {weights}" + (" --precision int8" if compute == "int8" else "")
    (graph,) = load_graphs(weights, [graph_of(weights, compute)], engine, remedy, student_streams(), compute)
    network = GraphNetwork(graph)
    if network.info.weights_sha256 != sha256:
        raise foreign_graph(graph.path, weights)
    architecture = header.architecture
    if not all(network.info.takes(side) for side in architecture.extreme_sides):
        raise WeightsError(
            f"{graph.path} takes pictures of {network.info.input_size} pixels, {weights.name} sees "
            f"{architecture.extreme_sides[1]}",
            remedy,
        )
    if network.compute != compute:
        raise WeightsError(f"{graph.path} computes in {network.compute}, not in {compute}", remedy)
    return network


def foreign_graph(file: Path, weights: Path) -> WeightsError:
    """The error for a graph that was exported from other weights."""
    return WeightsError(f"{file} was exported from other weights than {weights.name}", "export it again")
