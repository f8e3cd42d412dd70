"""Ray, started and stopped for one command: on this machine out of anyone's reach, or a cluster that runs already."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from imltool.errors import ClusterError
from imltool.files import temporary_folder
from imltool.interrupt import deferred_interrupt
from imltool.texts import clean

STORE = 512 * 1024 * 1024
"""Bytes of shared memory for what lies between workers and command, on a local cluster (our choice): at a quarter of it
Ray Data begins no further task."""
PATIENCE = 60.0
"""Seconds that one of Ray Data's threads is waited for in the end (our choice); mostly it takes less than one."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # a worker of a local cluster is as urgent as the command, not less
    # messages of Ray's processes would reach stdout, which is for data
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
# Ray's name for it is of other systems: off, all its servers listen on the loopback interface alone
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def is_connected() -> bool:
    """Whether this program is connected to Ray."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


@contextmanager
def connected(address: str | None, cpus: int | None = None) -> Iterator[Any]:
    """Connect to Ray, or start it on this machine; gives the module `ray`, and lets go of it in the end.

    A local one has no dashboard, sends no usage statistics, listens on 127.0.0.1 alone, asks who connects for a token
    drawn by this process, and keeps its files, and those of workers, in a temporary folder that goes with it.

    A program that is connected to Ray already has one cluster at a time, and keeps it: that is taken and left as it is.

    Args:
        address: `host:port` of a cluster that runs, or `ray://host:port`; None starts a local one.
        cpus: of the local one.

    Raises `ClusterError` when it cannot be had.
    """
    if is_connected():
        if address is not None:
            raise ClusterError(
                "this program is connected to Ray already", "leave the address out to use that cluster, or let go of it"
            )
        yield _import()
        return
    if address is None and "ray" in sys.modules and not _token.cache_info().currsize:
        # read once, when it was imported: its cluster would ask nobody for a token
        raise ClusterError(
            "this program has imported Ray, which can be told no longer to keep its cluster out of others' reach",
            "import it later, or connect with ray.init() to the cluster that is to be used",
        )
    # half started, or half ended, Ray would leave processes and files behind
    with deferred_interrupt() as asked:
        ray, ends = _begin(address, cpus)
    try:
        _heed(asked)
        yield ray
    finally:
        with deferred_interrupt() as asked:
            ends.close()
            atexit.unregister(ends.close)
        _heed(asked)


def _begin(address: str | None, cpus: int | None) -> tuple[Any, ExitStack]:
    """See `connected`: `ray`, and what ends it."""
    with ExitStack() as begun:
        folder = begun.enter_context(temporary_folder("imltool-ray-"))
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        told = dict(_SETTINGS)
        if address is None:
            told |= {
                _LOOPBACK: "0",
                "TMPDIR": str(folder),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": _token(),
            }
            options |= {"address": "local", "include_dashboard": False, "num_cpus": cpus, "_temp_dir": str(folder)}
            options |= {"object_store_memory": STORE, "_node_ip_address": "127.0.0.1"}
        else:
            _require_server(address)
            options["address"] = address
        begun.enter_context(_environment(told))
        ray = _import()
        begun.callback(_end, ray)
        try:
            with _unheard(folder):
                ray.init(**options)
        except Exception as error:  # what Ray raises depends on which of its parts did not start
            where = address or "on this machine"
            raise ClusterError(
                f"no Ray cluster {where}: {clean(str(error).partition(chr(10))[0]) or type(error).__name__}",
                "check --cluster-address, and that the cluster runs this version of Ray"
                if address
                else "run without --engine-cluster, or see whether the machine has memory to spare",
            ) from error
        ends = begun.pop_all()
        # a generator that nobody closed, as after a Ctrl-C outside it, is ended too late: Ray has let go by then
        atexit.register(ends.close)
        return ray, ends


def _end(ray: Any) -> None:
    """Let go of Ray, once none of Ray Data's threads asks it for anything.

    Now and then a command that was stopped by Ctrl-C after a worker had died ended with code 1 and without a word.
    Ray's native part ends a program so when it is asked after it was let go; that this was why is likely, not proven.
    """
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            thread.shutdown(force=False)
            thread.join(PATIENCE)
    ray.shutdown()


def _heed(asked: Callable[[], bool]) -> None:
    """Raise `KeyboardInterrupt` for a Ctrl-C that was put off."""
    if asked():
        raise KeyboardInterrupt


def _require_server(address: str) -> None:
    """Raise `ClusterError` when nobody answers at `host:port`: Ray itself would go on asking for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # such as "auto", which Ray resolves
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster {address}: {clean(error)}", "check --cluster-address, and that the cluster runs"
        ) from error


@cache
def _token() -> str:
    """One a process: Ray's native part reads it the first time only."""
    return secrets.token_hex(32)


@contextmanager
def _environment(told: dict[str, str]) -> Iterator[None]:
    """Variables that Ray reads when it is imported and when it starts processes; what was there comes back."""
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
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
    import ray.data

    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
    return ray


@contextmanager
def _unheard(folder: Path) -> Iterator[None]:
    """Send stderr into a file: Ray's native part writes there, past Python, how much it is going to log."""
    kept = os.dup(2)
    try:
        with (folder / "started.log").open("wb") as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
