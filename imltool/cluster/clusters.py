"""Which cluster a command runs on."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.cluster.ray_cluster import RayCluster


def _open_ray(address: str | None, workers: int | None) -> RayCluster:
    from imltool.cluster.ray_cluster import RayCluster

    return RayCluster(address, workers)


CLUSTERS: dict[str, Callable[[str | None, int | None], RayCluster]] = {"ray": _open_ray}
"""What `--engine-cluster` takes → what opens it, given `--cluster-address` and `--cluster-workers`."""
_PACKAGES = {"ray": ("ray",)}
"""What each needs, all of it in the extra of its name."""


def choose_cluster(name: str | None, address: str | None = None, workers: int | None = None) -> RayCluster | None:
    """The cluster asked for, not yet started; None where the command does the work itself.

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
