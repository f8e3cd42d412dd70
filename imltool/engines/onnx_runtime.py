"""Graphs run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime

from imltool.engines.graph import Arrays
from imltool.engines.graph_info import INFO_KEY
from imltool.engines.network import Compute, memory_errors, threads
from imltool.errors import WeightsError


class OnnxGraph:
    """A graph file loaded by ONNX Runtime; see `Graph`. Raises `WeightsError` when it cannot run the file.

    Args:
        streams: number of concurrent runs, which share the threads.
    """

    engine = "onnx"
    version = str(onnxruntime.__version__)
    compute: Compute = "fp32"

    def __init__(self, path: Path, streams: int = 1) -> None:
        self.path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, threads() // streams)
        options.log_severity_level = 3  # its warnings concern the graph, not the user
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its error classes have no common base but Exception
            raise WeightsError(
                f"{path} is not a graph that ONNX Runtime {self.version} runs: {' '.join(str(error).split())[:200]}",
                "export it again with imltool export",
            ) from error
        self.metadata: str | None = self._session.get_modelmeta().custom_metadata_map.get(INFO_KEY)
        self._names = [output.name for output in self._session.get_outputs()]
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="imltool-onnx") if streams > 1 else None

    def run(self, inputs: Iterable[Arrays]) -> list[Arrays]:
        with memory_errors():
            return [*(self._pool.map if self._pool else map)(self._run_one, inputs)]

    def _run_one(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))
