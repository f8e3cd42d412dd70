"""Graphs run by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imltool.engines.graph import INFO_KEY, PROBABILITY, Feeds, GraphNetwork, parse_info
from imltool.engines.network import Probabilities, threads
from imltool.errors import WeightsError


def open_onnx(path: Path) -> GraphNetwork:
    """A graph by ONNX Runtime. Raises `WeightsError` when the file is none that it or imltool knows."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3  # its warnings are about the graph, not for who runs it
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes derive from nothing common but Exception
        raise WeightsError(
            f"{path} is not a graph that ONNX Runtime {onnxruntime.__version__} runs: {_line(error)}",
            "make it anew with imltool export",
        ) from error
    info = parse_info(path, session.get_modelmeta().custom_metadata_map.get(INFO_KEY))

    def run(feeds: Feeds) -> Probabilities:
        return np.asarray(session.run([PROBABILITY], dict(feeds))[0], dtype=np.float32)

    return GraphNetwork("onnx", str(onnxruntime.__version__), info, run)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
