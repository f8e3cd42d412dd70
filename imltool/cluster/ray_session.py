"""The connection to Ray for one command: to a running cluster, or to one on this machine that ends with the command."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from imltool.errors import ClusterError
from imltool.files import temporary_folder
from imltool.interrupt import deferred_interrupt
from imltool.texts import clean

STORE = 512 * 1024 * 1024
"""Bytes of shared memory for data between workers and command, on a local cluster (our choice)."""

_QUIET = {"RAY_DEDUP_LOGS": "1", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""Settings without which messages of Ray's processes would reach stdout, which is for data."""


def is_connected() -> bool:
    """Whether this program is connected to Ray."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


@contextmanager
def connected(address: str | None, cpus: int | None = None) -> Iterator[Any]:
    """Connect to Ray, or start it on this machine; yields the module `ray`, and disconnects at the end.

    A local cluster has no dashboard, sends no usage statistics and listens on 127.0.0.1 only. Connections need a random
    token made by this process. Its files, and those of workers, are in a temporary folder that is removed at the end.

    A program can be connected to only one cluster. If it already is, that cluster is used and stays connected.

    Args:
        address: `host:port` of a running cluster, or `ray://host:port`; None starts a local one.
        cpus: CPUs of the local one.

    Raises `ClusterError` when it is unavailable.
    """
    if is_connected():
        if address is not None:
            raise ClusterError(
                "this program is connected to Ray already", "leave the address out to use that cluster, or disconnect"
            )
        yield _import()
        return
    if address is None and "ray" in sys.modules and not _token.cache_info().currsize:
        # Ray reads the token once, when it is imported: its cluster would not require one
        raise ClusterError(
            "this program has imported Ray already, so a local cluster could not be protected by a token",
            "import it later, or connect to the cluster to use with ray.init()",
        )
    with ExitStack() as ends:
        # an interrupted start or shutdown of Ray would leave processes and files behind
        with deferred_interrupt() as asked:
            ray = _begin(ends, address, cpus)
        if asked():
            raise KeyboardInterrupt
        try:
            yield ray
        finally:
            with deferred_interrupt() as asked:
                ends.close()
            if asked():
                raise KeyboardInterrupt


def _begin(ends: ExitStack, address: str | None, cpus: int | None) -> Any:
    """Start or connect to Ray for `connected`; returns the module `ray`. Clean-up is added to `ends`."""
    folder = str(ends.enter_context(temporary_folder("iml-ray-")))
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    ends.enter_context(_environment(_QUIET))
    if address is None:
        ends.enter_context(_environment(_local_settings(folder)))
        options |= {"address": "local", "include_dashboard": False, "num_cpus": cpus, "object_store_memory": STORE}
    else:
        _require_server(address)
        options["address"] = address
    ray = _import()
    ends.callback(ray.shutdown)
    try:
        ray.init(**options)
    except Exception as error:  # the type depends on which part of Ray did not start
        where = address or "on this machine"
        raise ClusterError(
            f"no Ray cluster {where}: {clean(str(error).partition(chr(10))[0]) or type(error).__name__}",
            "check --cluster-address, and that the cluster runs this version of Ray"
            if address
            else "run without --engine-cluster, or check that the machine has enough free memory",
        ) from error
    # a generator that is never closed, as in a program that ends before its scan, would be ended too late
    atexit.register(ends.close)
    ends.callback(atexit.unregister, ends.close)
    return ray


def _local_settings(folder: str) -> dict[str, str]:
    """Environment variables that Ray reads when it is imported, and in the processes that it starts."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all servers listen on the loopback interface, on Linux too
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
        "RAY_TMPDIR": folder,
        "TMPDIR": folder,
    }


def _require_server(address: str) -> None:
    """Raise `ClusterError` when nothing answers at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # for instance "auto", which Ray resolves
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster {address}: {clean(error)}", "check --cluster-address, and that the cluster runs"
        ) from error


@cache
def _token() -> str:
    """The token, one per process: Ray reads it only the first time."""
    return secrets.token_hex(32)


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _import() -> Any:
    import ray

    logger = logging.getLogger("ray")  # its messages are not for users of a command
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
    return ray
