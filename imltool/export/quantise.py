"""Quantise a student's graph to 8-bit integers with ONNX Runtime's static quantisation."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imltool.engines.graph import Arrays
from imltool.engines.graph_info import PIXELS, TRACES_INPUT
from imltool.engines.network import normalise
from imltool.errors import DataError
from imltool.files import walk_images
from imltool.inference.localizer import resize_input
from imltool.pictures.images import read_rgb
from imltool.student.header import CheckpointHeader
from imltool.traces.stack import picture_traces

CALIBRATED_WITH = 64
"""Greatest number of pictures used to find the ranges of values (our choice)."""
_BATCH = 4
_QUANTISED = ("Conv", "MatMul", "Gemm")


def choose_pictures(folder: Path) -> list[Path]:
    """Up to `CALIBRATED_WITH` pictures, evenly spaced among all under a folder. Raises `DataError` if there is none."""
    found = walk_images(folder)
    if not found:
        raise DataError(f"{folder} holds no picture to calibrate with", "give a folder of photos, as they will be seen")
    step = max(1, len(found) // CALIBRATED_WITH)
    return found[::step][:CALIBRATED_WITH]


def quantise(model: Any, pictures: Sequence[Path], header: CheckpointHeader) -> Any:
    """Quantise weights and inputs of a graph's convolutions and linear layers to 8-bit integers.

    Weights have a scale for each output channel. Inputs have one for each layer, from the lowest and highest value that
    occurs with the pictures. Products of attention stay in float32, because both factors depend on the picture and
    their ranges do not hold for other pictures (our choice: quantising them changed scores more and was slower).

    Args:
        model: an ONNX model in float32; it is not changed.

    Raises `DataError` for a picture that cannot be read.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = _feeds(pictures, header)

        def get_next(self) -> Arrays | None:
            return next(self.feeds, None)

    onnxruntime.set_default_logger_severity(3)  # its warnings concern the graph, not the user
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as place:
            given, folded, made = (Path(place) / name for name in ("given.onnx", "folded.onnx", "made.onnx"))
            onnx.save(model, given)
            quant_pre_process(str(given), str(folded), skip_symbolic_shape=True)
            quantize_static(
                str(folded),
                str(made),
                Reader(),
                op_types_to_quantize=list(_QUANTISED),
                nodes_to_exclude=_without_weights(onnx.load(folded)),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return onnx.load(made)
    finally:
        logging.disable(logging.NOTSET)


def _feeds(pictures: Sequence[Path], header: CheckpointHeader) -> Iterator[Arrays]:
    for first in range(0, len(pictures), _BATCH):
        images = [read_rgb(path) for path in pictures[first : first + _BATCH]]
        views = np.stack([resize_input(image, header.input_size) for image in images])
        feeds = {PIXELS: normalise(views, header.mean, header.std)}
        if header.architecture.traces:
            grid = header.architecture.trace_grid(header.input_size)
            feeds[TRACES_INPUT] = np.stack([picture_traces(image, grid) for image in images]).astype(np.float32)
        yield feeds


def _without_weights(model: Any) -> list[str]:
    stored = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name for node in model.graph.node if node.op_type in _QUANTISED and not stored.intersection(node.input)
    ]
