"""A server of `imltool annotate` or `review` in a separate process, for tests of its API and its page."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from helpers.forked import forks


class Serving:
    """A started `imltool COMMAND ARGUMENTS`; `address` is the URL it printed."""

    def __init__(self, name: str, *arguments: object, wait: bool = True) -> None:
        folder = Path(tempfile.mkdtemp(prefix="serving-"))
        stdout, self._stderr = folder / "stdout", folder / "stderr"
        self.process = forks().start(name, *arguments, "--no-browser", stdout=stdout, stderr=self._stderr)
        self.address = ""
        if wait:
            self.process.wait_for(lambda: stdout.exists() and "\n" in stdout.read_text())
            self.address = stdout.read_text().strip()
            assert self.address.startswith("http://127.0.0.1:"), self.end()

    def end(self, how: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; return the exit code and stderr."""
        self.process.send_signal(how)
        code, stderr = self.process.wait(), self._stderr.read_text()
        shutil.rmtree(self._stderr.parent)
        return code, stderr

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, address: str | None = None
    ) -> tuple[int, Any]:
        """Return the status and the response: parsed if it is JSON, otherwise bytes."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = ({"Content-Type": "application/json"} if data is not None else {}) | (headers or {})
        try:
            with urlopen(Request((address or self.address) + path, data, sent), timeout=300) as reply:
                return reply.status, _parsed(reply.read(), reply.headers["content-type"])
        except HTTPError as error:
            return error.code, _parsed(error.read(), error.headers["content-type"])


class Annotating(Serving):
    """`imltool annotate ARGUMENTS`."""

    embeddings: Path
    """Shared embedding cache: many servers open the same pictures, and each takes seconds to embed."""

    def __init__(self, *arguments: object, wait: bool = True) -> None:
        kept = ("--embeddings", self.embeddings)
        super().__init__("annotate", *arguments, *kept, "--device", "cpu", wait=wait)

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
