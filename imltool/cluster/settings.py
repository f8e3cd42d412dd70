"""Which cluster a command runs on, and the interface that a command sees of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.scan.inputs import Input
    from imltool.scan.pipeline import Row
    from imltool.scan.settings import ScanSettings
    from imltool.student.localizer import Localizer
    from imltool.teacher.pseudo import PseudoSettings, Unlabelled
    from imltool.teacher.registry import Teacher


class Cluster(Protocol):
    """Workers that do a command's work on pictures.

    What they make has the bytes that it has on one machine. Work raises `OutputError`, and `ClusterError` when there
    are no workers, when they are not set up alike or do not see the files, or when a task's worker died again and
    again.
    """

    def describe(self) -> dict[str, Any]:
        """What `run.json` tells of them: `engine`, its `version`, `address`, and how many `workers`."""
        ...

    def analyse(
        self, inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = 8
    ) -> Iterator[Row]:
        """As `imltool.scan.pipeline.analyse`: rows in the order of `inputs`, each after its outputs are on disk."""
        ...

    def label(self, todo: Sequence[Unlabelled], teacher: Teacher, settings: PseudoSettings, out: Path) -> Iterator[Row]:
        """As `imltool.teacher.pseudo.label`: rows in the order of `todo`, each after its mask is on disk."""
        ...


def _open_ray(address: str | None, workers: int | None) -> Cluster:
    from imltool.cluster.ray_cluster import RayCluster

    return RayCluster(address, workers)


CLUSTERS: dict[str, Callable[[str | None, int | None], Cluster]] = {"ray": _open_ray}
"""What `--engine-cluster` takes → what opens it, given `--cluster-address` and `--cluster-workers`."""
_PACKAGES = {"ray": ("ray", "pyarrow", "pandas")}
"""What each needs, all of it in the extra of its name."""


def choose_cluster(name: str | None, address: str | None = None, workers: int | None = None) -> Cluster | None:
    """The cluster asked for, which nothing was started of yet; None where the command is to do all itself.

    Args:
        name: of `CLUSTERS`.
        address: of a cluster that runs; None starts one on this machine for as long as the command takes.
        workers: processes; None takes one a CPU, or with CUDA one a GPU.

    Raises `UsageError` for a name that is not known, a package that is missing, an address without a name, and less
    than one process.
    """
    if name is None:
        if address is not None or workers is not None:
            raise UsageError("--cluster-address and --cluster-workers need a cluster", "give --engine-cluster ray too")
        return None
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} processes", "give at least one")
    if name not in CLUSTERS:
        raise UsageError(f"unknown cluster engine {name!r}", f"choose one of {', '.join(CLUSTERS)}")
    if any(importlib.util.find_spec(package) is None for package in _PACKAGES[name]):
        raise UsageError(f"cluster engine {name} is not installed", f"pip install 'imltool[{name}]'")
    return CLUSTERS[name](address, workers)
