"""Checks that a worker has the same versions as the command: other versions could write other bytes."""

from __future__ import annotations

import platform

from imltool.errors import ClusterError
from imltool.versions import __version__

REMEDY = "install the same version on all machines of the cluster"


def require_version(tool_version: str) -> None:
    """Raise `ClusterError` when imltool on this machine has another version than the command's."""
    if tool_version != __version__:
        raise ClusterError(f"{platform.node()} has imltool {__version__}, the command has {tool_version}", REMEDY)


def require_engine(engine: str | None, commands: str | None) -> None:
    """Raise `ClusterError` when the engine on this machine, with its version, is not the command's."""
    if engine != commands:
        raise ClusterError(
            f"{platform.node()} has {engine}, the command has {commands}", f"{REMEDY}, or choose another --engine"
        )
