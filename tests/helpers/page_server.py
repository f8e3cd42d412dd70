"""A server of `imltool annotate` or `review` in a process of its own, for the tests that ask it or look at its page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class Serving:
    """`imltool COMMAND ARGUMENTS`, started; `address` is what it printed."""

    def __init__(self, name: str, *arguments: object, wait: bool = True) -> None:
        command = [sys.executable, "-m", "imltool", name, *map(str, arguments), "--no-browser"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )
        self.address = ""
        if wait:
            assert self.process.stdout is not None
            self.address = self.process.stdout.readline().strip()
            assert self.address.startswith("http://127.0.0.1:"), self.end()

    def end(self, how: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; exit code and stderr."""
        self.process.send_signal(how)
        _, stderr = self.process.communicate(timeout=60)
        return self.process.returncode, stderr

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, address: str | None = None
    ) -> tuple[int, Any]:
        """Status and answer: parsed when it is JSON, else bytes."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = ({"Content-Type": "application/json"} if data is not None else {}) | (headers or {})
        try:
            with urlopen(Request((address or self.address) + path, data, sent), timeout=300) as reply:
                return reply.status, _parsed(reply.read(), reply.headers["content-type"])
        except HTTPError as error:
            return error.code, _parsed(error.read(), error.headers["content-type"])


class Annotating(Serving):
    """`imltool annotate ARGUMENTS`."""

    def __init__(self, *arguments: object, wait: bool = True) -> None:
        super().__init__("annotate", *arguments, "--device", "cpu", wait=wait)

    def change(self, index: int, base: int, verdict: str | None, *boxes: dict[str, Any]) -> tuple[int, Any]:
        content = {"verdict": verdict, "boxes": list(boxes)}
        return self.ask(f"api/pictures/{index}/change", {"base": base, "content": content})


class Reviewing(Serving):
    """`imltool review ARGUMENTS`."""

    def __init__(self, *arguments: object, wait: bool = True) -> None:
        super().__init__("review", *arguments, wait=wait)

    def decide(self, index: int, base: int, **opinion: Any) -> tuple[int, Any]:
        return self.ask(f"api/pictures/{index}/decision", {"base": base, "opinion": opinion})


def _parsed(data: bytes, kind: str | None) -> Any:
    return json.loads(data) if kind and "json" in kind else data
