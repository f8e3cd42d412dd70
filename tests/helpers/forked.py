"""`imltool` in processes of its own that start at once: forked from one that has imported everything already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_SERVER = """
import ctypes, json, os, signal, sys
import imltool.scan.report, imltool.scan.runner
from imltool.cli.app import run

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        os.close(0)
        for number in (1, 2):
            os.dup2(os.open(order["files"][number - 1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        if order["ordinary"]:
            no_capabilities = (ctypes.c_uint32 * 6)()
            assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), no_capabilities) == 0
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background would ignore
        code = run(order["arguments"])
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forked:
    """One command at a time: `start` gives its process id, `wait` its exit code, or minus the signal that ended it."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _SERVER]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(
        self,
        *arguments: object,
        stdout: Path | str = os.devnull,
        stderr: Path | str = os.devnull,
        ordinary: bool = False,
    ) -> int:
        """Start a command; an `ordinary` one may not read what modes forbid, even when the tests are run by root."""
        assert self._server.stdin and self._server.stdout
        words, files = [str(argument) for argument in arguments], [str(stdout), str(stderr)]
        order = {"arguments": words, "files": files, "ordinary": ordinary}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def wait(self) -> int:
        assert self._server.stdout
        return int(self._server.stdout.readline())

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait()
