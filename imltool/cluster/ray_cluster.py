"""A scan over Ray: workers make rows and files, this process writes them in order, as on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from imltool.cluster.ray_map import ordered_map
from imltool.cluster.ray_session import connected
from imltool.cluster.scan_worker import Made, ScanWorker, Student
from imltool.errors import ClusterError
from imltool.files import write_bytes
from imltool.scan.inputs import Input
from imltool.scan.pipeline import Row
from imltool.scan.settings import ScanSettings
from imltool.student.localizer import Localizer
from imltool.texts import printable

BATCHES_A_TASK = 2
"""A worker is given so many batches at a time (our choice): reading the second goes on beside localizing the first, and
not much is lost with a worker."""


class RayCluster:
    """See `settings.Cluster`.

    Args:
        address: see `ray_session.connected`.
        workers: processes; None takes one a CPU of the cluster, or, with CUDA, one a GPU.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address, self.workers = address, workers
        self._version: str | None = None

    def describe(self) -> dict[str, Any]:
        return {"engine": "ray", "version": self._version, "address": self.address, "workers": self.workers}

    def analyse(
        self, inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = 8
    ) -> Iterator[Row]:
        """Rows in the order of `inputs`, with the bytes that `pipeline.analyse` gives on one machine.

        Raises `OutputError`, and `ClusterError` when there are no workers, when they are not set up alike or do not
        see the files, or when a task's worker died again and again.
        """
        if not inputs:
            return
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with connected(self.address, max(cores, self.workers or 1)) as ray:
            self._version = str(ray.__version__)
            gpus = 1.0 if localizer.device.startswith("cuda") else 0.0
            held = ray.cluster_resources()
            if self.workers is None:
                self.workers = max(1, int(held.get("GPU" if gpus else "CPU", 1)))
            cpus = max(1, cores // self.workers) if self.address is None else 1
            share = BATCHES_A_TASK * batch
            tasks = [inputs[first : first + share] for first in range(0, len(inputs), share)]
            make = partial(ScanWorker, Student.of(ray, localizer), settings, batch)
            yield from in_step(ordered_map(ray, make, tasks, self.workers, cpus, gpus), inputs, out)


def in_step(made: Iterator[tuple[int, Made]], inputs: Sequence[Input], out: Path) -> Iterator[Row]:
    """Write the files of each row and yield it, when all that comes is what was asked for, each once, in order."""
    expected = iter(inputs)
    for _, one in made:
        item = next(expected, None)
        if item is None or item.name != one.row["path"]:
            raise _out_of_step()
        if one.unseen and os.path.lexists(item.file):
            raise ClusterError(
                f"a worker does not see {printable(str(item.path))}",
                "put the pictures where all machines of the cluster find them under the same path",
            )
        for name, data in one.files.items():
            write_bytes(out / name, data)
        yield one.row
    if next(expected, None) is not None:
        raise _out_of_step()


def _out_of_step() -> ClusterError:
    return ClusterError(
        "the cluster gave other rows than were asked for", "what was finished is kept: the same command goes on with it"
    )
