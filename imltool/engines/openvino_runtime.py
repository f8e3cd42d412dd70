"""Graphs run by OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imltool.engines.graph import INFO_KEY, Arrays, Graph
from imltool.engines.network import threads
from imltool.errors import WeightsError


def open_openvino(path: Path) -> Graph:
    """A graph by OpenVINO in float32. Raises `WeightsError` when the file is none that it knows."""
    import openvino

    version = str(openvino.__version__).partition("-")[0]  # without the build
    core = openvino.Core()
    try:
        model = core.read_model(path)
        text = model.get_rt_info(["framework", INFO_KEY]).astype(str) if _says(model) else None
        # float32 whatever the processor could do: a map must not depend on the machine that made it
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads(),
        }
        compiled = core.compile_model(model, "CPU", hints)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} is not a graph that OpenVINO {version} runs: {' '.join(str(error).split())[:200]}",
            "make it anew with imltool export",
        ) from error
    request = compiled.create_infer_request()
    names = [output.any_name for output in compiled.outputs]

    def run(inputs: Arrays) -> Arrays:
        found = request.infer(dict(inputs))
        # the engine's own buffers are written again by the next run
        return {name: np.array(found[name], dtype=np.float32) for name in names}

    return Graph(path, "openvino", version, text, run)


def _says(model: object) -> bool:
    return bool(model.has_rt_info(["framework", INFO_KEY]))  # type: ignore[attr-defined]
