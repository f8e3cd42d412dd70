"""Exported graphs, and a student's network run by any graph engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from imltool.config import Settings, first_fault
from imltool.engines.graph_info import PIXELS, PROBABILITY, TRACES_INPUT, GraphInfo
from imltool.engines.network import Batch, Compute, Probabilities
from imltool.errors import WeightsError

Arrays = Mapping[str, NDArray[np.float32]]
"""Inputs or outputs of a graph, by name."""


class Graph(Protocol):
    """A graph file that an engine has loaded.

    Attributes:
        engine: the engine's name in `registry.GRAPH_ENGINES`.
        version: the engine's version.
        compute: precision of the engine, unless the graph is in int8.
        metadata: the file's metadata under `INFO_KEY`; None for a graph that imltool did not make.
    """

    path: Path
    engine: str
    version: str
    compute: Compute
    metadata: str | None

    def run(self, inputs: Iterable[Arrays]) -> list[Arrays]:
        """Outputs of several runs, in their order. The arrays belong to the caller.

        Runs are concurrent, up to the number the graph was loaded for. Raises MemoryError when memory does not suffice.
        """
        ...


InfoT = TypeVar("InfoT", bound=Settings)


def read_info(graph: Graph, kind: type[InfoT]) -> InfoT:
    """A graph's metadata. Raises `WeightsError` when they do not have the fields of `kind`."""
    remedy = "make one with imltool export"
    if graph.metadata is None:
        raise WeightsError(f"{graph.path} is not a graph that imltool has exported", remedy)
    try:
        return kind.model_validate_json(graph.metadata)
    except ValidationError as error:
        place, fault = first_fault(error)
        detail = f"{place or 'metadata'}: {fault}"
        raise WeightsError(f"{graph.path} is not a graph this imltool reads ({detail})", remedy) from error


class GraphNetwork:
    """A student's exported graph; see `Network`. Raises `WeightsError` when it is not one.

    Pictures are run one by one, each by one thread: threads that share a picture wait for each other, most of all while
    other threads decode and write. Maps are the same to the last bit.
    """

    batched = False

    def __init__(self, graph: Graph) -> None:
        self.engine, self.version, self.info = graph.engine, graph.version, read_info(graph, GraphInfo)
        self.compute: Compute = "int8" if self.info.precision == "int8" else graph.compute
        self._graph = graph

    def forward(self, batches: Iterable[Batch]) -> list[Probabilities]:
        sizes: list[int] = []
        found = iter(self._graph.run(self._singles(batches, sizes)))
        return [np.concatenate([next(found)[PROBABILITY] for _ in range(size)]) for size in sizes]

    def _singles(self, batches: Iterable[Batch], sizes: list[int]) -> Iterator[Arrays]:
        """Every picture as a separate batch; the sizes of the given batches are appended to `sizes`."""
        for pixels, traces in batches:
            sizes.append(len(pixels))
            for index in range(len(pixels)):
                one = {PIXELS: np.ascontiguousarray(pixels[index : index + 1])}
                if self.info.traces and traces is not None:
                    one[TRACES_INPUT] = np.ascontiguousarray(traces[index : index + 1])
                yield one
