"""Graphs run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imltool.engines.graph import INFO_KEY, Arrays, Graph
from imltool.engines.network import threads
from imltool.errors import WeightsError


def open_onnx(path: Path, lanes: int = 1) -> Graph:
    """A graph by ONNX Runtime. Raises `WeightsError` when the file is none that it knows.

    Args:
        lanes: runs that go side by side and share the threads.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads() // lanes)
    options.log_severity_level = 3  # its warnings are about the graph, not for who runs it
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes derive from nothing common but Exception
        raise WeightsError(
            f"{path} is not a graph that ONNX Runtime {onnxruntime.__version__} runs: {_line(error)}",
            "make it anew with imltool export",
        ) from error
    names = [output.name for output in session.get_outputs()]
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="imltool-onnx")

    def run_one(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    def run(inputs: Iterable[Arrays]) -> list[Arrays]:
        return [*(pool.map(run_one, inputs) if lanes > 1 else map(run_one, inputs))]

    text = session.get_modelmeta().custom_metadata_map.get(INFO_KEY)
    return Graph(path, "onnx", str(onnxruntime.__version__), text, run)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
