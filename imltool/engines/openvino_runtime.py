"""Graphs run by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from imltool.engines.graph import Arrays
from imltool.engines.graph_info import INFO_KEY
from imltool.engines.network import Compute, memory_errors, threads
from imltool.errors import WeightsError

_PRECISIONS: dict[Compute, str] = {"fp32": "f32", "bf16": "bf16"}
_METADATA = ["framework", INFO_KEY]
Slot = tuple[dict[int, Arrays], int]
"""The collected outputs, and the number of a run in them."""


class OpenvinoGraph:
    """A graph file loaded by OpenVINO; see `Graph`. Raises `WeightsError` when it cannot run the file.

    Args:
        streams: number of concurrent runs, which share the threads.
        compute: fp32 or bf16.
    """

    engine = "openvino"
    version = str(openvino.__version__).partition("-")[0]  # without the build

    def __init__(self, path: Path, streams: int = 1, compute: Compute = "fp32") -> None:
        self.path, self.compute = path, compute
        # set explicitly: the default is the processor's fastest precision, but maps must not depend on the machine
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[compute],
            "INFERENCE_NUM_THREADS": threads(),
        }
        try:
            model = _core().read_model(path)
            known = model.has_rt_info(_METADATA)
            self.metadata: str | None = model.get_rt_info(_METADATA).astype(str) if known else None
            compiled = _core().compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise WeightsError(
                f"{path} is not a graph that OpenVINO {self.version} runs: {' '.join(str(error).split())[:200]}",
                "export it again with imltool export",
            ) from error
        self._names = [output.any_name for output in compiled.outputs]
        self._queue = openvino.AsyncInferQueue(compiled, streams)
        self._queue.set_callback(self._collect)

    def run(self, inputs: Iterable[Arrays]) -> list[Arrays]:
        found: dict[int, Arrays] = {}
        with memory_errors():
            for number, one in enumerate(inputs):
                self._queue.start_async(dict(one), (found, number))
            self._queue.wait_all()
        return [found[number] for number in sorted(found)]

    def _collect(self, request: Any, slot: Slot) -> None:
        found, number = slot
        # copies, because the next run overwrites the engine's own buffers
        found[number] = {name: np.array(request.get_tensor(name).data, dtype=np.float32) for name in self._names}


@cache
def _core() -> Any:
    """One core for the whole process, never deleted. When the last core is deleted, OpenVINO unmaps the stack it has
    given to signal handlers; if that happens in another thread than the first one's, the next signal kills the process.
    """
    return openvino.Core()
