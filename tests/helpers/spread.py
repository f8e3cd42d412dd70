"""Commands that distribute their work over Ray."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs imltool[ray]")


class Spread:
    """A scan over two Ray workers, in a separate process."""

    journal_name = "results.jsonl"

    def __init__(self, place: Path, out: Path, *arguments: str) -> None:
        self.place, self.journal = place, out / self.journal_name
        command = [sys.executable, "-m", "imltool", *arguments, "--out", str(out)]
        self.process = subprocess.Popen(
            [*command, "--engine-cluster", "ray", "--cluster-workers", "2"],
            env={**os.environ, "TMPDIR": str(place)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ctrl_c(self) -> None:
        """Interrupt the command and all its child processes, like a terminal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def rows(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def at_work(self) -> set[int]:
        """Workers that run a task: they have a folder for it."""
        return {int(path.name.split("-")[2]) for path in self.place.glob("iml-ray-*/imltool-worker-*")}

    def listens_on(self) -> set[str]:
        """Addresses on which processes of this scan listen, as written by the kernel."""
        sockets = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if str(self.place).encode() in (process / "environ").read_bytes():
                    sockets |= {os.readlink(file) for file in (process / "fd").iterdir()}
        lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
        return {line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}

    def wait_for(self, reached: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 600
        while not (found := reached()) and self.process.poll() is None and time.monotonic() < limit:
            time.sleep(0.002)
        return found

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=600)
        assert "Traceback" not in out + err
        return self.process.returncode, out, err
