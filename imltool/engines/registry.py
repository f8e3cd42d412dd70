"""Which engines there are, and which one runs a student."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from imltool.engines.graph import SUFFIX, Graph, GraphNetwork
from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file

if TYPE_CHECKING:
    from imltool.student.header import CheckpointHeader

log = logging.getLogger("imltool")
NetworkT = TypeVar("NetworkT")


@dataclass(frozen=True)
class GraphEngine:
    """An engine for exported graphs.

    Attributes:
        package: the module it comes in.
        open: opens a graph file.
    """

    package: str
    open: Callable[[Path], Graph]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


def _open_openvino(path: Path) -> Graph:
    from imltool.engines.openvino_runtime import open_openvino

    return open_openvino(path)


def _open_onnx(path: Path) -> Graph:
    from imltool.engines.onnx_runtime import open_onnx

    return open_onnx(path)


GRAPH_ENGINES: dict[str, GraphEngine] = {
    "openvino": GraphEngine("openvino", _open_openvino),
    "onnx": GraphEngine("onnxruntime", _open_onnx),
}
"""Engines of exported graphs, the fastest on a CPU first (`benchmarks/engines.py`)."""
ENGINES = ("auto", "torch", *GRAPH_ENGINES)
"""What `--engine` takes."""


def graph_of(weights: Path) -> Path:
    """Where the exported graph of a checkpoint lies: beside it, under its name."""
    return weights.with_suffix(SUFFIX)


def choose_graph(weights: Path, header: CheckpointHeader, engine: str, on_cpu: bool) -> GraphNetwork | None:
    """The exported graph of a checkpoint in the engine asked for; None where torch is to run it. As `choose_graphs`."""

    def accept(graphs: list[Graph]) -> GraphNetwork:
        network = GraphNetwork(graphs[0])
        if network.info.weights_sha256 != sha256_file(weights) or network.info.input_size != header.input_size:
            raise foreign_graph(graphs[0].path, weights)
        return network

    return choose_graphs(weights, [graph_of(weights)], engine, on_cpu, accept, f"imltool export --weights {weights}")


def choose_graphs(
    weights: Path,
    files: Sequence[Path],
    engine: str,
    on_cpu: bool,
    accept: Callable[[list[Graph]], NetworkT],
    remedy: str,
) -> NetworkT | None:
    """The network that exported graphs make in the engine asked for; None where torch is to run it.

    `auto` takes the first of `GRAPH_ENGINES` that is installed, where sound graphs of these very weights lie beside
    them; torch where there are none, and on any device but a CPU.

    Args:
        files: the graphs that make one network.
        accept: makes it of them, and raises `WeightsError` where they do not belong to the weights.
        remedy: the command that makes missing graphs.

    Raises `UsageError` for an unknown or absent engine, `WeightsError` when a graph asked for is missing, damaged or
    another checkpoint's.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}", f"choose one of {', '.join(ENGINES)}")
    if engine == "torch":
        return None
    missing = [file.name for file in files if not file.is_file()]
    if engine == "auto":
        found = next((one for one in GRAPH_ENGINES.values() if one.installed), None)
        if not on_cpu or found is None or missing:
            return None
        try:
            return accept([found.open(file) for file in files])
        except WeightsError as error:
            log.warning("%s; torch runs %s instead", error.message, weights.name)
            return None
    if not on_cpu:
        raise UsageError(f"engine {engine} runs on the CPU alone", "give --device cpu, or --engine torch")
    wanted = GRAPH_ENGINES[engine]
    if not wanted.installed:
        raise UsageError(f"engine {engine} is not installed", f"pip install {wanted.package}")
    if missing:
        raise WeightsError(f"{weights} has no exported graph {' and '.join(missing)} beside it", remedy)
    return accept([wanted.open(file) for file in files])


def foreign_graph(file: Path, weights: Path) -> WeightsError:
    """The error for a graph that was exported from other weights."""
    return WeightsError(f"{file} was exported from other weights than {weights.name}", "export it anew")
