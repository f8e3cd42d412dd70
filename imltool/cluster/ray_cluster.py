"""Work over Ray: workers make rows and files, and this process writes them in order, as on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imltool.cluster.check_order import ordered
from imltool.cluster.ray_map import Worker, ordered_map
from imltool.cluster.ray_session import connected, is_connected
from imltool.errors import ClusterError
from imltool.scan.run_record import ClusterRecord

if TYPE_CHECKING:
    from imltool.inference.localizer import Localizer
    from imltool.scan.inputs import Input
    from imltool.scan.results import ScanResult
    from imltool.scan.settings import ScanSettings
    from imltool.teacher.pseudo import PseudoSettings, Unlabelled
    from imltool.teacher.pseudo_rows import FailedPicture, PseudoRow
    from imltool.teacher.teacher import Teacher

BATCHES_A_TASK = 2
"""Batches of a scan per task (our choice): a worker reads the second while it predicts the first, and little work is
lost when a worker dies."""
PICTURES_A_TASK = 2
"""Pictures per task for the teacher, which takes a second or more per picture (our choice): little work is lost when a
worker dies, and all workers end at about the same time."""

ItemT = TypeVar("ItemT")


class RayCluster:
    """Satisfies `scan.runner.ScanWorkers` and `teacher.pseudo.LabelWorkers`.

    Args:
        address: see `ray_session.connected`.
        workers: processes; None takes one per CPU of the cluster, or with CUDA one per GPU.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self.address, self.workers = address, workers
        self._wanted = workers
        self._version: str | None = None

    def describe(self) -> ClusterRecord:
        return ClusterRecord(engine="ray", version=self._version, address=self.address, workers=self.workers)

    def analyse(
        self, inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = 8
    ) -> Iterator[ScanResult]:
        from imltool.cluster.scan_worker import ScanWorker, SentStudent

        def prepare(ray: Any) -> Callable[[], Worker]:
            return partial(ScanWorker, SentStudent.of(ray, localizer), settings, batch)

        asked = ((item.name, item.path if isinstance(item.path, Path) else None) for item in inputs)
        made = self._spread(prepare, _tasks(inputs, BATCHES_A_TASK * batch), localizer.device)
        for one in ordered(made, asked, out):
            yield one.row

    def label(
        self, todo: Sequence[Unlabelled], teacher: Teacher, settings: PseudoSettings, out: Path
    ) -> Iterator[PseudoRow | FailedPicture]:
        from imltool.cluster.pseudo_worker import PseudoWorker, SentTeacher

        def prepare(ray: Any) -> Callable[[], Worker]:
            return partial(PseudoWorker, SentTeacher.of(ray, teacher), settings)

        folder = teacher.embeddings
        asked = ((one.item.name, one.item.image) for one in todo)
        tasks = _tasks([one.absolute() for one in todo], PICTURES_A_TASK)
        for one in ordered(self._spread(prepare, tasks, teacher.device), asked, out):
            if folder is not None:
                folder.found += one.found
            yield one.row

    def _spread(
        self, prepare: Callable[[Any], Callable[[], Worker]], tasks: Sequence[Any], device: str
    ) -> Iterator[Any]:
        """The workers' outputs for the tasks, see `ordered_map`.

        Args:
            prepare: given the connected module `ray`, returns the function that makes a worker in its process.
            device: torch's name of the device on which workers compute.
        """
        if not tasks:
            return
        own = self.address is None and not is_connected()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with connected(self.address, max(cores, self._wanted or 1)) as ray:
            self._version = str(ray.__version__)
            kind = "GPU" if device.startswith("cuda") else "CPU"
            there = int(ray.cluster_resources().get(kind, 0))
            self.workers = self._wanted or max(1, there)
            if self.workers > there:
                raise ClusterError(
                    f"the cluster has {there} {kind}s for {self.workers} processes", "give fewer --cluster-workers"
                )
            cpus = max(1, cores // self.workers) if own else 1
            yield from ordered_map(ray, prepare(ray), tasks, self.workers, cpus, 1.0 if kind == "GPU" else 0.0)


def _tasks(items: Sequence[ItemT], share: int) -> list[Sequence[ItemT]]:
    return [items[first : first + share] for first in range(0, len(items), share)]
