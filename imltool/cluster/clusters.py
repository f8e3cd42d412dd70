"""Choice of the cluster on which a command runs."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.cluster.ray_cluster import RayCluster


def choose_cluster(name: str | None, address: str | None = None, workers: int | None = None) -> RayCluster | None:
    """The requested cluster, not yet started; None if the command does the work itself.

    Args:
        name: `ray`, the only one; its package is in the extra of that name.
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
    if name != "ray":
        raise UsageError(f"unknown cluster engine {name!r}", "choose one of ray")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("cluster engine ray is not installed", "pip install 'imltool[ray]'")
    from imltool.cluster.ray_cluster import RayCluster

    return RayCluster(address, workers)
