"""`imltool` in separate processes that start at once, forked from a server that has imported everything.

A normal start imports for seconds, which would dominate the time of tests that need processes. All xdist workers of
a test run use the same server.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imltool.errors import EXIT_INTERRUPTED

_SERVER = """
import ctypes, gc, json, os, resource, selectors, shutil, signal, socket, sys

def child(order):
    for held in (0, *sockets):
        os.close(held)
    for number in (1, 2):
        os.dup2(os.open(order["files"][number - 1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(order["environment"])
    if order["folder"]:
        os.chdir(order["folder"])
    if order["session"]:
        os.setsid()
    if order["ordinary"]:
        no_capabilities = (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), no_capabilities) == 0
    if order["room"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["room"], order["room"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes would ignore it
    gc.enable()
    with interrupted_by_sigterm():
        code = run(order["arguments"])
    sys.stdout.flush()
    os._exit(code)

def answer(order):
    if "poll" not in order:
        return os.fork() or child(order)
    ended, status = os.waitpid(order["poll"], os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None

listening = socket.socket(fileno=int(sys.argv[1]))
sockets = {listening.fileno()}
waiting = selectors.DefaultSelector()
waiting.register(0, selectors.EVENT_READ)
waiting.register(listening, selectors.EVENT_READ)
imported = False
while True:
    for key, _ in waiting.select():
        if key.fileobj == 0:  # the process that started this server has ended
            shutil.rmtree(os.path.dirname(listening.getsockname()))
            os._exit(0)
        if key.fileobj is listening:
            if not imported:
                imported = True
                gc.disable()
                import imltool.annotate.session, imltool.review.session, imltool.scan.report, imltool.scan.runner
                import imltool.study.runner, imltool.synth.forge, imltool.teacher.pseudo, imltool.training.loop
                from imltool.cli.app import command_tree, run
                from imltool.interrupt import interrupted_by_sigterm
                command_tree()
                gc.freeze()
            asking = listening.accept()[0]
            sockets.add(asking.fileno())
            waiting.register(asking, selectors.EVENT_READ, asking.makefile("rw"))
        elif line := key.data.readline():
            print(json.dumps(answer(json.loads(line))), file=key.data, flush=True)
        else:
            waiting.unregister(key.fileobj)
            sockets.discard(key.fileobj.fileno())
            key.data.close()
            key.fileobj.close()
"""


PATIENCE = 300
"""Timeout in seconds of a command on a busy machine; the timeout of a test is shorter."""


class Command:
    """A running command: its process id, and its exit code or the negative signal number that ended it."""

    def __init__(self, server: Forked, pid: int) -> None:
        self.pid, self._server, self._code = pid, server, None

    def poll(self) -> int | None:
        """The exit code; None while the command runs."""
        if self._code is None:
            self._code = self._server.ask({"poll": self.pid})
        return self._code

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the command and return its exit code."""
        limit = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > limit:
                self.send_signal(signal.SIGKILL)
                raise AssertionError(f"still running after {timeout:.0f} s")
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait_for(self, reached: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Poll until `reached` is true, the command has ended, or the timeout has passed."""
        limit = time.monotonic() + timeout
        while not reached() and self.poll() is None and time.monotonic() < limit:
            time.sleep(0.001)


class Forked:
    """Start commands.

    Args:
        address: the socket of a server.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._lines = self._socket.makefile("rw")

    def start(
        self,
        *arguments: object,
        stdout: Path | str = os.devnull,
        stderr: Path | str = os.devnull,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        session: bool = False,
        ordinary: bool = False,
        room: int = 0,
    ) -> Command:
        """Start a command.

        Args:
            session: it leads a new process group, so that signals can be sent to all its child processes.
            ordinary: file permissions apply to it, even if the tests are run by root.
            room: maximum size in bytes of files it writes, to simulate a full disk.
        """
        words, files = [str(argument) for argument in arguments], [str(stdout), str(stderr)]
        order = {"arguments": words, "files": files, "environment": dict(environment or {}), "session": session}
        return Command(self, self.ask(order | {"folder": folder and str(folder), "ordinary": ordinary, "room": room}))

    def stop_midway(
        self, how: signal.Signals, reached: Callable[[], object], out: Path, *arguments: object, **options: Any
    ) -> int:
        """Start a command that writes into `out`, send it a signal as soon as `reached`, and return its exit code.

        On a busy machine the command may end before the signal is sent: it is then started again.
        """
        for _ in range(6):
            command = self.start(*arguments, **options)
            command.wait_for(reached)
            command.send_signal(how)
            if (code := command.wait()) in (-how, EXIT_INTERRUPTED):
                return code
            shutil.rmtree(out)
        raise AssertionError(f"every attempt ended with {code} before the signal")

    def ask(self, order: dict[str, Any]) -> Any:
        print(json.dumps(order), file=self._lines, flush=True)
        return json.loads(self._lines.readline())


_ADDRESS = "IMLTOOL_TESTS_FORK_FROM"
"""Environment variable with the socket of the server, started by the first process of a run."""


@functools.cache
def serve() -> str:
    """The socket of the server of this run. A new server imports nothing before the first request, and ends with the
    process that started it.
    """
    if _ADDRESS not in os.environ:
        os.environ[_ADDRESS] = f"{tempfile.mkdtemp(prefix='forks-')}/socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.environ[_ADDRESS])
            listening.listen()
            # commands in tests find only bundled weights: no user cache, no network
            offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(Path(tempfile.gettempdir(), "no-hub"))}
            number = listening.fileno()
            command = [sys.executable, "-c", _SERVER, str(number)]
            _SERVERS.append(subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[number], env=offline))
    return os.environ[_ADDRESS]


_SERVERS: list[subprocess.Popen[bytes]] = []
"""Kept open, because the server ends when its stdin is closed."""


@functools.cache
def forks() -> Forked:
    """The client of this process."""
    return Forked(serve())
