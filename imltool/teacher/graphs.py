"""The teacher as two exported graphs: where they lie, what they say of themselves, and a network over both."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imltool.config import Settings
from imltool.engines.graph import Graph, Precision
from imltool.engines.network import normalise
from imltool.engines.registry import GRAPH_ENGINES, choose_graphs, foreign_graph
from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file
from imltool.pictures.images import RGB
from imltool.student.settings import MEAN, STD
from imltool.teacher.network import INPUT_SIZE, TorchSam
from imltool.versions import __version__

Part = Literal["encoder", "decoder"]
EXPORTABLE = "mobile-sam"
"""The one teacher that has graphs."""
PARTS: tuple[Part, ...] = ("encoder", "decoder")
PIXELS, FEATURES, POINTS, LABELS, LOGITS, QUALITY = "pixels", "features", "points", "labels", "logits", "quality"


class TeacherGraphInfo(Settings):
    """What half a teacher says of itself, so that any program can run it.

    Attributes:
        part: `encoder`, which takes `pixels` float32 [1,3,S,S], RGB in [0,1] minus `mean` over `std`, the longer side
            S pixels and zeros below or right of the picture, and gives `features` float32 [1,256,64,64]; or `decoder`,
            which takes these features, `points` float32 [n,p,2] XY in pixels of S and `labels` float32 [n,p] (−1
            nothing, 0 outside, 1 inside, 2 and 3 a box's corners), and gives `logits` float32 [n,4,256,256] of the
            square, the single mask first, and `quality` [n,4], SAM's estimate of their IoU.
        weights_sha256: of the file it was exported from.
        input_size: S.
        mask_threshold: logits above it are the object.
        precision: fp32; or fp16, weights stored in half precision and computed with in float32.
        max_difference, mean_difference: of the features, or of the logits, to torch's on a trial picture.
        mask_iou: least IoU of a box's mask with torch's there, when both graphs made it.
    """

    format: Literal[1] = 1
    name: str
    part: Part
    weights_sha256: str
    input_size: int = INPUT_SIZE
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    mask_threshold: float = 0.0
    precision: Precision = "fp32"
    opset: int
    max_difference: float = 0.0
    mean_difference: float = 0.0
    mask_iou: float = 0.0
    tool_version: str = __version__
    torch_version: str


class GraphSam:
    """Segment Anything as two exported graphs; see `SamNetwork`.

    Raises `WeightsError` when they are not the halves of one teacher.
    """

    layers = ()

    def __init__(self, graphs: list[Graph]) -> None:
        encoder, decoder = graphs
        self.infos = [_info(encoder, "encoder"), _info(decoder, "decoder")]
        if self.infos[0].weights_sha256 != self.infos[1].weights_sha256:
            raise foreign_graph(decoder.path, encoder.path)
        self.engine, self.version = encoder.engine, encoder.version
        self._encoder, self._decoder = encoder, decoder

    def encode(self, view: RGB) -> Tensor:
        info = self.infos[0]
        pixels = np.zeros((1, 3, info.input_size, info.input_size), np.float32)
        pixels[:, :, : view.shape[0], : view.shape[1]] = normalise(view[None], info.mean, info.std)
        return torch.from_numpy(self._encoder.outputs({PIXELS: pixels})[FEATURES])

    def decode(
        self, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        return _decode(self._decoder, features, points, labels)


class SteppableSam:
    """Segment Anything with torch's encoder, whose layers can be stepped into, and an exported decoder.

    See `SamNetwork`. It goes by torch's name, because embeddings are torch's. Safe to decode with from several threads.

    Raises `WeightsError` when the graph is not a decoder.
    """

    def __init__(self, encoder: TorchSam, decoder: Graph) -> None:
        self.info = _info(decoder, "decoder")
        self.engine, self.version, self.layers = encoder.engine, encoder.version, encoder.layers
        self._encoder, self._decoder = encoder, decoder
        self._turn = threading.Lock()

    def encode(self, view: RGB) -> Tensor:
        return self._encoder.encode(view)

    def decode(
        self, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        with self._turn:
            return _decode(self._decoder, features, points, labels)


def _info(graph: Graph, part: Part) -> TeacherGraphInfo:
    info = graph.info(TeacherGraphInfo)
    if info.part != part:
        raise WeightsError(f"{graph.path} is a teacher's {info.part}, not its {part}", "export it anew")
    return info


def _decode(
    decoder: Graph, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
) -> tuple[Tensor, Tensor]:
    found = decoder.outputs({FEATURES: features.numpy(), POINTS: points, LABELS: labels})
    return torch.from_numpy(found[LOGITS]), torch.from_numpy(found[QUALITY])


def graphs_of(weights: Path, folder: Path | None = None) -> list[Path]:
    """Where the exported encoder and decoder of a teacher lie: beside its weights, or in `folder`."""
    return [(folder or weights.parent) / f"{weights.stem}.{part}.onnx" for part in PARTS]


def choose_graph_sam(name: str, weights: Path, engine: str, on_cpu: bool) -> GraphSam | None:
    """The exported graphs of a teacher in the engine asked for; None where torch is to run it.

    Raises as `choose_graphs` does.
    """
    if name != EXPORTABLE:
        if engine in GRAPH_ENGINES:
            raise UsageError(f"teacher {name} is run by torch alone", f"leave --engine out, or choose {EXPORTABLE}")
        engine = "torch"

    def accept(graphs: list[Graph]) -> GraphSam:
        network = GraphSam(graphs)
        if network.infos[0].weights_sha256 != sha256_file(weights):
            raise foreign_graph(graphs[0].path, weights)
        return network

    remedy = f"imltool export --teacher {name} --weights {weights}"
    return choose_graphs(weights, graphs_of(weights), engine, on_cpu, accept, remedy)


def with_graph_decoder(name: str, weights: Path, encoder: TorchSam) -> SteppableSam | None:
    """Torch's encoder with the exported decoder in the fastest engine; None where there is no sound one, or no CPU."""
    if name != EXPORTABLE:
        return None

    def accept(graphs: list[Graph]) -> SteppableSam:
        network = SteppableSam(encoder, graphs[0])
        if network.info.weights_sha256 != sha256_file(weights):
            raise foreign_graph(graphs[0].path, weights)
        return network

    return choose_graphs(weights, graphs_of(weights)[1:], "auto", encoder.device.type == "cpu", accept, "")
