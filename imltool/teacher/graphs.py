"""The teacher as two exported graphs: their paths, their metadata, and a network that runs both."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imltool.config import Settings
from imltool.engines.graph import Graph, read_info
from imltool.engines.graph_info import Precision
from imltool.engines.network import normalise
from imltool.engines.registry import foreign_graph, load_graphs
from imltool.errors import WeightsError
from imltool.files import sha256_file
from imltool.pictures.images import RGB
from imltool.student.settings import MEAN, STD
from imltool.teacher.network import INPUT_SIZE, TorchSam
from imltool.versions import __version__

Part = Literal["encoder", "decoder"]
EXPORTABLE = "mobile-sam"
"""The only teacher with exported graphs."""
PARTS: tuple[Part, ...] = ("encoder", "decoder")
PIXELS, FEATURES, POINTS, LABELS, LOGITS, QUALITY = "pixels", "features", "points", "labels", "logits", "quality"


class TeacherGraphInfo(Settings):
    """The metadata of a teacher's encoder or decoder, with all that a program needs to run it.

    Attributes:
        part: `encoder` or `decoder`. The encoder takes `pixels` float32 [1,3,S,S], RGB in [0,1] minus `mean`, divided
            by `std`, with a longer side of S pixels and zeros below or right of the picture, and returns `features`
            float32 [1,256,64,64]. The decoder takes these features, `points` float32 [n,p,2] XY in pixels of S and
            `labels` float32 [n,p] (−1 nothing, 0 outside, 1 inside, 2 and 3 a box's corners), and returns `logits`
            float32 [n,4,256,256] of the square, the single mask first, and `quality` [n,4], SAM's estimate of their
            IoU.
        weights_sha256: SHA-256 of the file it was exported from.
        input_size: S.
        mask_threshold: logits above it are the object.
        precision: fp32; or fp16 for weights in half precision and computation in float32.
        max_difference, mean_difference: difference of the features or the logits to torch's on a trial picture.
        mask_iou: lowest IoU of a box's mask with torch's on that picture, with both graphs in use.
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

    Raises `WeightsError` when they are not the encoder and decoder of one teacher.
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
        return torch.from_numpy(self._encoder.run([{PIXELS: pixels}])[0][FEATURES])

    def decode(
        self, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        return _decode(self._decoder, features, points, labels)


class SteppableSam:
    """Segment Anything with torch's encoder, whose layers can be stepped through, and an exported decoder.

    See `SamNetwork`. Its engine is reported as torch, because embeddings are torch's. Decoding is thread-safe.

    Raises `WeightsError` when the graph is not a decoder.
    """

    def __init__(self, encoder: TorchSam, decoder: Graph) -> None:
        self.infos = [_info(decoder, "decoder")]
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
    info = read_info(graph, TeacherGraphInfo)
    if info.part != part:
        raise WeightsError(f"{graph.path} is a teacher's {info.part}, not its {part}", "export it again")
    return info


def _decode(
    decoder: Graph, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
) -> tuple[Tensor, Tensor]:
    (found,) = decoder.run([{FEATURES: features.numpy(), POINTS: points, LABELS: labels}])
    return torch.from_numpy(found[LOGITS]), torch.from_numpy(found[QUALITY])


def graphs_of(weights: Path, folder: Path | None = None) -> list[Path]:
    """Paths of a teacher's exported encoder and decoder: beside its weights, or in `folder`."""
    return [(folder or weights.parent) / f"{weights.stem}.{part}.onnx" for part in PARTS]


def load_graph_sam(weights: Path, engine: str, encoder: TorchSam | None = None) -> GraphSam | SteppableSam:
    """Load the exported graphs beside a teacher's weights with `engine`, a key of `GRAPH_ENGINES`.

    Args:
        encoder: load only the decoder, for torch's encoder.

    Raises `WeightsError` when they are missing, damaged or made from other weights.
    """
    files = graphs_of(weights)[1:] if encoder else graphs_of(weights)
    graphs = load_graphs(weights, files, engine, f"imltool export --teacher {EXPORTABLE} --weights {weights}")
    network = SteppableSam(encoder, graphs[0]) if encoder else GraphSam(graphs)
    if network.infos[0].weights_sha256 != sha256_file(weights):
        raise foreign_graph(files[0], weights)
    return network
