"""Exported graphs: what a file says of itself, and a network over any engine that runs one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from imltool.config import Settings
from imltool.engines.network import MIRRORS, Compute, Probabilities, Stacks, Views, normalise
from imltool.errors import WeightsError
from imltool.student.settings import MEAN, STD, STRIDE
from imltool.versions import __version__

INFO_KEY = "imltool"
"""Under this name the graph's metadata holds its `GraphInfo` as JSON."""
SUFFIX = ".onnx"
PIXELS, TRACES_INPUT, PROBABILITY = "pixels", "traces", "probability"

Precision = Literal["fp32", "fp16", "int8"]
Size = int | Literal["dynamic"]
"""What a graph is to take: squares of that side in pixels, or any height and width."""
Arrays = Mapping[str, NDArray[np.float32]]
"""What goes into a graph, or comes out, by name."""
_OUT_OF_MEMORY = ("allocat", "out of memory", "bad_alloc")


class F1Check(Settings):
    """The headline F1 of a graph and of torch on the tampered pictures of a labelled set.

    Attributes:
        pictures: how many.
        f1, torch: means over them at a threshold of 0.5, at the pictures' own resolution.
    """

    name: str
    pictures: int
    f1: float
    torch: float

    @property
    def lost(self) -> float:
        """By how much the graph is worse."""
        return self.torch - self.f1


class GraphInfo(Settings):
    """What an exported student says of itself, so that any program can run it and know what came out.

    Attributes:
        weights_sha256: of the checkpoint it was exported from.
        input_size: S. The graph takes `pixels` float32 [B,3,S,S], RGB in [0,1] minus `mean` over `std`, and, for a
            student that sees them, `traces` float32 [B,len(TRACES),GRID,GRID]; it gives `probability` float32 [B,S,S]
            in [0,1] of one look, without mirror images.
        free_size: the least and greatest height and width of a graph that takes any, in multiples of `STRIDE`: then
            `pixels` are [B,3,H,W], `probability` is [B,H,W], and S is the checkpoint's; None where S alone goes in.
        trained_size: the checkpoint's input size, for which its thresholds were fitted; None in graphs that do not
            tell, whose S it is.
        mirrors: over how many mirror images a map is to be averaged, see `MIRRORS`.
        pixel_threshold, score_threshold: those of the checkpoint's calibration, for averaged maps.
        precision: fp32; or fp16, weights stored in half precision and computed with in float32; or int8, weights and
            inputs of its layers in 8-bit integers.
        max_difference, mean_difference: of the probabilities to torch's, over `checked` pictures, when it was exported.
        f1_checks: what they do to F1, on the sets it was measured on.
    """

    format: Literal[1] = 1
    name: str
    weights_sha256: str
    input_size: int
    free_size: tuple[int, int] | None = None
    trained_size: int | None = None
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    traces: bool = False
    trace_version: int = 1
    mirrors: Literal[1, 2, 4] = 1
    pixel_threshold: float = 0.5
    score_threshold: float = 0.5
    precision: Precision = "fp32"
    opset: int
    max_difference: float
    mean_difference: float
    checked: int
    f1_checks: tuple[F1Check, ...] = ()
    tool_version: str = __version__
    torch_version: str

    def takes(self, side: int) -> bool:
        """Whether a square picture of `side` pixels goes in."""
        if self.free_size is None:
            return side == self.input_size
        return side % STRIDE == 0 and self.free_size[0] <= side <= self.free_size[1]


InfoT = TypeVar("InfoT", bound=Settings)


@dataclass(frozen=True)
class Graph:
    """A graph that an engine has opened.

    Attributes:
        text: what its metadata says under `INFO_KEY`; None for a graph of someone else's.
        run: inputs → outputs of several runs, in their order, which are the caller's to keep. As many go side by side
            as the graph was opened for.
        compute: what the engine was told to compute in, where the graph does not say int8.
    """

    path: Path
    engine: str
    version: str
    text: str | None
    run: Callable[[Iterable[Arrays]], list[Arrays]]
    compute: Compute = "fp32"

    def info(self, kind: type[InfoT]) -> InfoT:
        """What the graph says of itself. Raises `WeightsError` when that is not what `kind` holds."""
        if self.text is None:
            raise WeightsError(f"{self.path} is not a graph that imltool has exported", "make one with imltool export")
        try:
            return kind.model_validate_json(self.text)
        except ValidationError as error:
            detail = str(error).splitlines()[0]
            raise WeightsError(
                f"{self.path} is not a graph this imltool reads: {detail}", "make one with imltool export"
            ) from error

    def outputs(self, inputs: Arrays) -> Arrays:
        """Run the graph once. Raises MemoryError when memory does not suffice."""
        return self.outputs_of([inputs])[0]

    def outputs_of(self, inputs: Iterable[Arrays]) -> list[Arrays]:
        """Run the graph on each of `inputs`. Raises MemoryError when memory does not suffice."""
        try:
            return self.run(inputs)
        except Exception as error:  # the engines raise classes of their own
            if any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from error
            raise


class GraphNetwork:
    """A student's exported graph; see `Network`. Raises `WeightsError` when it is not one."""

    joint = False

    def __init__(self, graph: Graph) -> None:
        self.engine, self.version, self.info = graph.engine, graph.version, graph.info(GraphInfo)
        self.compute: Compute = "int8" if self.info.precision == "int8" else graph.compute
        self._graph = graph

    def probabilities(self, views: Views, traces: Stacks | None) -> Probabilities:
        feeds = {PIXELS: normalise(views, self.info.mean, self.info.std)}
        if self.info.traces and traces is not None:
            feeds[TRACES_INPUT] = traces.astype(np.float32)
        sides = MIRRORS[self.info.mirrors]
        found = self._graph.outputs_of(_looks(feeds, sides))
        total = np.zeros((len(views), *views.shape[1:3]), np.float32)
        for number, axes in enumerate(sides):
            seen = np.concatenate([one[PROBABILITY] for one in found[number * len(views) : (number + 1) * len(views)]])
            total += np.flip(seen, tuple(axis - 1 for axis in axes))
        return np.asarray(total / np.float32(len(sides)), dtype=np.float32)


def _looks(feeds: Arrays, sides: Iterable[tuple[int, ...]]) -> Iterator[Arrays]:
    """Every picture of a batch by itself, in every mirror image.

    Pictures side by side, a thread each, take less than all threads on one picture after the other: threads that share
    one wait for each other, the more so while others decode and write. It changes no bit of what comes out.
    """
    for axes in sides:
        for index in range(len(feeds[PIXELS])):
            part = slice(index, index + 1)
            yield {name: np.ascontiguousarray(np.flip(feed[part], axes)) for name, feed in feeds.items()}
