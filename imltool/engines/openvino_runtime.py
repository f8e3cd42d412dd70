"""Graphs run by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from imltool.engines.graph import INFO_KEY, Arrays, Graph
from imltool.engines.network import Compute, threads
from imltool.errors import WeightsError

_PRECISIONS: dict[Compute, str] = {"fp32": "f32", "bf16": "bf16"}


def open_openvino(path: Path, lanes: int = 1, compute: Compute = "fp32") -> Graph:
    """A graph by OpenVINO. Raises `WeightsError` when the file is none that it knows.

    Args:
        lanes: runs that go side by side and share the threads.
    """
    import openvino

    version = str(openvino.__version__).partition("-")[0]  # without the build
    core = _core()
    try:
        model = core.read_model(path)
        text = model.get_rt_info(["framework", INFO_KEY]).astype(str) if _says(model) else None
        # told, else it takes what the processor does fastest: a map must not depend on the machine that made it
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": lanes,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[compute],
            "INFERENCE_NUM_THREADS": threads(),
        }
        compiled = core.compile_model(model, "CPU", hints)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} is not a graph that OpenVINO {version} runs: {' '.join(str(error).split())[:200]}",
            "make it anew with imltool export",
        ) from error
    queue = openvino.AsyncInferQueue(compiled, lanes)
    names = [output.any_name for output in compiled.outputs]

    def keep(request: Any, told: tuple[dict[int, Arrays], int]) -> None:
        found, number = told
        # the engine's own buffers are written again by the next run
        found[number] = {name: np.array(request.get_tensor(name).data, dtype=np.float32) for name in names}

    queue.set_callback(keep)

    def run(inputs: Iterable[Arrays]) -> list[Arrays]:
        found: dict[int, Arrays] = {}
        for number, one in enumerate(inputs):
            queue.start_async(dict(one), (found, number))
        queue.wait_all()
        return [found[number] for number in sorted(found)]

    return Graph(path, "openvino", version, text, run, compute)


@cache
def _core() -> Any:
    """One for the whole process, never given up: with the last one OpenVINO unmaps the stack that it has given to
    signal handlers, and when that happens in another thread than the first's, the next signal ends the process."""
    import openvino

    return openvino.Core()


def _says(model: object) -> bool:
    return bool(model.has_rt_info(["framework", INFO_KEY]))  # type: ignore[attr-defined]
