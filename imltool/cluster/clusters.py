"""Choice of the cluster on which a command runs."""

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
"""Value of `--engine-cluster` → function of `--cluster-address` and `--cluster-workers` that opens it."""
_PACKAGES = {"ray": ("ray",)}
"""Packages that each needs, all of them in the extra with its name."""


def choose_cluster(name: str | None, address: str | None = None, workers: int | None = None) -> RayCluster | None:
    """The requested cluster, not yet started; None if the command does the work itself.

    Args:
        name: of `CLUSTERS`.
        address: of a running cluster; None starts one on this machine, which ends with the command.
        workers: processes; None takes one per CPU, or with CUDA one per GPU.

    Raises `UsageError` for an unknown name, a missing package, an address or workers without a name, and fewer than one
    process.
    """
    if name is None:
        if address is not None or workers is not None:
            raise UsageError("--cluster-address and --cluster-workers need a cluster", "give --engine-cluster ray too")
        return None
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} worker processes are too few", "give at least one")
    if name not in CLUSTERS:
        raise UsageError(f"unknown cluster engine {name!r}", f"choose one of {', '.join(CLUSTERS)}")
    if any(importlib.util.find_spec(package) is None for package in _PACKAGES[name]):
        raise UsageError(f"cluster engine {name} is not installed", f"pip install 'imltool[{name}]'")
    return CLUSTERS[name](address, workers)
