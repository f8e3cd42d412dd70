"""The command line in tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Imltool = Callable[..., tuple[int, str, str]]
"""The fixture `imltool`: arguments → exit code, stdout and stderr."""

CONSTANT = ("--weights", "none", "--baseline", "constant")
"""Options of `imltool eval` for the fastest method."""


def scan_words(weights: Path, *arguments: object, batch: int = 2) -> list[str]:
    """Command-line words of a scan on the CPU."""
    return ["scan", *map(str, arguments), "--weights", str(weights), "--device", "cpu", "--batch", str(batch)]
