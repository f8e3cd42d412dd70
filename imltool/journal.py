"""Resumable outputs: a parameter file that refuses to mix runs, and an append-only JSONL journal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from imltool.errors import DataError, ResumeError
from imltool.files import make_folder, write_text, writing


def dump_json(value: Any) -> str:
    """One line of JSON with sorted keys, UTF-8 kept readable. NaN is refused (ValueError)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def claim_folder(out: Path, parameters: dict[str, Any], name: str = "parameters.json") -> bool:
    """Make `out` the folder of a run with `parameters`; True when it resumes an earlier one.

    Raises `ResumeError` when the folder holds a run made with other parameters, naming the first that differs.
    """
    make_folder(out)
    marker = out / name
    wanted = json.loads(dump_json(parameters))
    if not marker.exists():
        write_text(marker, json.dumps(wanted, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        return False
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(f"{marker} cannot be read: {error}", "choose another --out or delete the folder") from error
    for key in sorted(set(found) | set(wanted)):
        if found.get(key) != wanted.get(key):
            raise ResumeError(
                f"{out} holds a run with other parameters: {key} was {found.get(key)!r}, now {wanted.get(key)!r}",
                "choose another --out, or repeat the command with the earlier parameters",
            )
    return True


class Journal:
    """An append-only JSONL file: a row is on disk when `append` returns.

    Opening it drops a torn last line (what a kill or a full disk leaves), so that the row is made again.

    Attributes:
        rows: the complete rows found when it was opened, in order, then those appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        make_folder(path.parent)
        if path.exists():
            self._recover()
        with writing(path):
            self._handle: IO[bytes] = path.open("ab")

    def _recover(self) -> None:
        data = self.path.read_bytes()
        keep = 0
        for line in data.splitlines(keepends=True):
            try:
                row = json.loads(line)
            except ValueError:
                if keep + len(line) < len(data):
                    raise DataError(
                        f"{self.path} is damaged at byte {keep}", "move it away and run the command again"
                    ) from None
                break
            if not line.endswith(b"\n"):
                break
            keep += len(line)
            self.rows.append(row)
        if keep < len(data):
            with writing(self.path):
                os.truncate(self.path, keep)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it. Raises `OutputError` when the disk refuses."""
        line = (dump_json(row) + "\n").encode()
        with writing(self.path):
            self._handle.write(line)
            self._handle.flush()
        self.rows.append(row)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
