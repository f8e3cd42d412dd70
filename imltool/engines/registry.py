"""Which engines there are, and which one runs a student."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.engines.graph import SUFFIX, GraphNetwork
from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file

if TYPE_CHECKING:
    from imltool.student.header import CheckpointHeader

log = logging.getLogger("imltool")


@dataclass(frozen=True)
class GraphEngine:
    """An engine for exported graphs.

    Attributes:
        package: the module it comes in.
        open: graph file → network.
    """

    package: str
    open: Callable[[Path], GraphNetwork]

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


def _open_openvino(path: Path) -> GraphNetwork:
    from imltool.engines.openvino_runtime import open_openvino

    return open_openvino(path)


def _open_onnx(path: Path) -> GraphNetwork:
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
    """The exported graph of a checkpoint in the engine asked for; None where torch is to run it.

    `auto` takes the first of `GRAPH_ENGINES` that is installed, where a sound graph of these very weights lies beside
    them; torch where there is none, and on any device but a CPU.

    Raises `UsageError` for an unknown or absent engine, `WeightsError` when the graph asked for is missing, damaged or
    another checkpoint's.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}", f"choose one of {', '.join(ENGINES)}")
    if engine == "torch":
        return None
    file = graph_of(weights)
    if engine == "auto":
        found = next((one for one in GRAPH_ENGINES.values() if one.installed), None)
        if not on_cpu or found is None or not file.is_file():
            return None
        try:
            return _open(found, file, weights, header)
        except WeightsError as error:
            log.warning("%s; torch runs the student instead", error.message)
            return None
    if not on_cpu:
        raise UsageError(f"engine {engine} runs on the CPU alone", "give --device cpu, or --engine torch")
    wanted = GRAPH_ENGINES[engine]
    if not wanted.installed:
        raise UsageError(f"engine {engine} is not installed", f"pip install {wanted.package}")
    if not file.is_file():
        raise WeightsError(
            f"{weights} has no exported graph {file.name} beside it", f"imltool export --weights {weights}"
        )
    return _open(wanted, file, weights, header)


def _open(engine: GraphEngine, file: Path, weights: Path, header: CheckpointHeader) -> GraphNetwork:
    network = engine.open(file)
    if network.info.weights_sha256 != sha256_file(weights) or network.info.input_size != header.input_size:
        raise WeightsError(f"{file} was exported from other weights than {weights.name}", "export it anew")
    return network
