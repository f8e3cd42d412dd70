"""Which engines there are, and which one runs a student."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from imltool.engines.graph import SUFFIX, Graph, GraphNetwork
from imltool.engines.network import Compute, threads
from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file

if TYPE_CHECKING:
    from imltool.student.header import CheckpointHeader

log = logging.getLogger("imltool")
NetworkT = TypeVar("NetworkT")
LANES = 8
"""Pictures a student sees side by side at most, whatever the number of threads: each needs memory of its own."""


def student_lanes() -> int:
    """How many pictures a student sees side by side on this machine."""
    return min(threads(), LANES)


class Open(Protocol):
    """Opens a graph file for so many runs side by side. Raises `WeightsError` when the file cannot be run."""

    def __call__(self, path: Path, lanes: int = 1) -> Graph: ...


@dataclass(frozen=True)
class GraphEngine:
    """An engine for exported graphs.

    Attributes:
        package: the module it comes in.
        open: opens a graph file to compute as it says, in float32 or 8-bit integers.
        open_bf16: opens it to compute in bfloat16; None where the engine cannot.
    """

    package: str
    open: Open
    open_bf16: Open | None = None

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def opener(self, compute: Compute) -> Open | None:
        """What opens a graph to compute so, None where the engine cannot."""
        return self.open_bf16 if compute == "bf16" else self.open


def _open_openvino(path: Path, lanes: int = 1) -> Graph:
    from imltool.engines.openvino_runtime import open_openvino

    return open_openvino(path, lanes)


def _open_openvino_bf16(path: Path, lanes: int = 1) -> Graph:
    from imltool.engines.openvino_runtime import open_openvino

    return open_openvino(path, lanes, "bf16")


def _open_onnx(path: Path, lanes: int = 1) -> Graph:
    from imltool.engines.onnx_runtime import open_onnx

    return open_onnx(path, lanes)


GRAPH_ENGINES: dict[str, GraphEngine] = {
    "openvino": GraphEngine("openvino", _open_openvino, _open_openvino_bf16),
    "onnx": GraphEngine("onnxruntime", _open_onnx),
}
"""Engines of exported graphs, the fastest on a CPU first (`benchmarks/inference.py`)."""
ENGINES = ("auto", "torch", *GRAPH_ENGINES)
"""What `--engine` takes."""


def graph_of(weights: Path, compute: Compute = "fp32", side: int | None = None) -> Path:
    """Where the exported graph of a checkpoint lies: beside it, under its name; one in int8 with that in its suffix.

    Args:
        side: of a graph for another input size than the checkpoint's, which no engine looks for; it is in the suffix.
    """
    marks = ([str(side)] if side else []) + (["int8"] if compute == "int8" else [])
    return weights.with_suffix("".join(f".{mark}" for mark in marks) + SUFFIX)


def choose_graph(
    weights: Path, header: CheckpointHeader, engine: str, on_cpu: bool, compute: Compute = "fp32"
) -> GraphNetwork | None:
    """The exported graph of a checkpoint in the engine asked for; None where torch is to run it. As `choose_graphs`.

    Raises `UsageError` for int8 by torch too.
    """
    if compute == "int8":  # asked for, and torch has none to take its place
        if engine == "torch":
            raise UsageError("torch does not compute in int8", "give --engine openvino or onnx")
        if engine == "auto":
            engine = next((name for name, one in GRAPH_ENGINES.items() if one.installed), "onnx")

    def accept(graphs: list[Graph]) -> GraphNetwork:
        network = GraphNetwork(graphs[0])
        if network.info.weights_sha256 != sha256_file(weights):
            raise foreign_graph(graphs[0].path, weights)
        if not network.info.takes(header.input_size):
            raise WeightsError(
                f"{graphs[0].path} takes pictures of {network.info.input_size} pixels, {weights.name} sees "
                f"{header.input_size}",
                "export it anew",
            )
        if network.compute != compute:
            raise WeightsError(f"{graphs[0].path} computes in {network.compute}, not in {compute}", "export it anew")
        return network

    remedy = f"imltool export --weights {weights}" + (" --precision int8" if compute == "int8" else "")
    return choose_graphs(
        weights, [graph_of(weights, compute)], engine, on_cpu, accept, remedy, compute, student_lanes()
    )


def choose_graphs(
    weights: Path,
    files: Sequence[Path],
    engine: str,
    on_cpu: bool,
    accept: Callable[[list[Graph]], NetworkT],
    remedy: str,
    compute: Compute = "fp32",
    lanes: int = 1,
) -> NetworkT | None:
    """The network that exported graphs make in the engine asked for; None where torch is to run it.

    `auto` takes the first of `GRAPH_ENGINES` that is installed and computes so, where sound graphs of these very
    weights lie beside them; torch where there are none, and on any device but a CPU.

    Args:
        files: the graphs that make one network.
        accept: makes it of them, and raises `WeightsError` where they do not belong to the weights.
        remedy: the command that makes missing graphs.
        lanes: runs that are to go side by side.

    Raises `UsageError` for an unknown or absent engine, or one that does not compute so, `WeightsError` when a graph
    asked for is missing, damaged or another checkpoint's.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}", f"choose one of {', '.join(ENGINES)}")
    if engine == "torch":
        return None
    missing = [file.name for file in files if not file.is_file()]
    if engine == "auto":
        able = (one.opener(compute) for one in GRAPH_ENGINES.values() if one.installed)
        opener = next((one for one in able if one is not None), None)
        if not on_cpu or opener is None or missing:
            return None
        try:
            return accept([opener(file, lanes) for file in files])
        except WeightsError as error:
            log.warning("%s; torch runs %s instead", error.message, weights.name)
            return None
    if not on_cpu:
        raise UsageError(f"engine {engine} runs on the CPU alone", "give --device cpu, or --engine torch")
    wanted = GRAPH_ENGINES[engine]
    if not wanted.installed:
        raise UsageError(f"engine {engine} is not installed", f"pip install {wanted.package}")
    opener = wanted.opener(compute)
    if opener is None:
        raise UsageError(f"engine {engine} does not compute in {compute}", "give --engine openvino or torch")
    if missing:
        raise WeightsError(f"{weights} has no exported graph {' and '.join(missing)} beside it", remedy)
    return accept([opener(file, lanes) for file in files])


def foreign_graph(file: Path, weights: Path) -> WeightsError:
    """The error for a graph that was exported from other weights."""
    return WeightsError(f"{file} was exported from other weights than {weights.name}", "export it anew")
