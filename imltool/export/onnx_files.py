"""ONNX files: a module as a graph with metadata, its weights in half precision or shared with their source file."""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imltool.config import Settings
from imltool.engines.graph import Graph
from imltool.engines.graph_info import INFO_KEY
from imltool.engines.registry import GRAPH_ENGINES
from imltool.errors import UsageError, WeightsError

OPSET = 18
_WORTH_IT = 1024
"""Tensors with fewer values are not worth a cast or a reference to another file."""


def need_exporter() -> None:
    """Raises `UsageError` when the packages that export and check a graph are not installed."""
    missing = [name for name in ("onnx", "onnxscript", "onnx_ir") if importlib.util.find_spec(name) is None]
    if not any(engine.installed for engine in GRAPH_ENGINES.values()):
        missing.append(GRAPH_ENGINES["onnx"].package)
    if missing:
        raise UsageError(f"exporting needs {' and '.join(missing)}", "pip install 'imltool[export]'")


def trace_graph(
    module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], free: tuple[dict[int, Any], ...] | None = None
) -> Any:
    """Export a module in eval mode as an `onnx.ModelProto` in float32.

    Args:
        inputs: trial inputs by input name of the graph, in the order of the module's arguments.
        outputs: names of the module's results.
        free: for every input, its dimensions of variable size, as `torch.export.Dim`; None if all are fixed.

    Raises `WeightsError` for a module that torch cannot export.
    """
    chatty = logging.getLogger("torch.onnx")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=free,
                input_names=list(inputs),
                output_names=outputs,
                opset_version=OPSET,
                optimize=False,  # engines optimise on loading; a norm folded here would exceed half precision
                verbose=False,
            )
    except Exception as error:  # the exporter raises many types for operations that a graph cannot contain
        detail = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"torch cannot export this network as a graph: {detail}", "run it with --engine torch"
        ) from error
    finally:
        chatty.setLevel(level)
    assert program is not None
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateHashedInitializersPass

    # records of each node's origin take a fifth of the file, and a few index tables of attention are stored ten times
    DeduplicateHashedInitializersPass()(program.model)
    ClearMetadataAndDocStringPass()(program.model)
    return program.model_proto


def halve_weights(model: Any) -> None:
    """Store large float32 weights as float16, each followed by a node that casts it back.

    Weights that float16 cannot represent exactly are rounded.
    """
    import onnx
    from onnx import numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _WORTH_IT:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def share_weights(model: Any, weights: Path) -> None:
    """Make a graph refer to a safetensors file beside it for every large tensor that the file contains.

    ONNX calls this external data. Tensors that the file does not contain byte for byte stay in the graph.
    """
    import onnx

    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    held = {}
    for entry in json.loads(data[8:start]).values():
        if "data_offsets" in entry:
            first, end = (start + offset for offset in entry["data_offsets"])
            held[data[first:end]] = first
    for tensor in model.graph.initializer:
        values = tensor.raw_data
        if np.prod(tensor.dims) < _WORTH_IT or values not in held:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", weights.name), ("offset", held[values]), ("length", len(values))):
            tensor.external_data.add(key=key, value=str(value))


def with_info(model: Any, info: Settings) -> bytes:
    """The bytes of the ONNX file, with `info` in its metadata."""
    import onnx

    onnx.helper.set_model_props(model, {INFO_KEY: info.model_dump_json()})
    return bytes(model.SerializeToString())


@contextmanager
def opened_for_trial(models: Sequence[Any], infos: Sequence[Settings]) -> Iterator[list[Graph]]:
    """Models with their metadata, loaded for a trial by the first installed engine from a temporary folder."""
    engine = next(engine for engine in GRAPH_ENGINES.values() if engine.installed)
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / f"{number}.onnx" for number in range(len(models))]
        for file, model, info in zip(files, models, infos, strict=True):
            file.write_bytes(with_info(model, info))
        yield [engine.load(file, 1, "fp32") for file in files]
