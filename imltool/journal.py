"""Resumable outputs: a parameter file that refuses to mix runs, and an append-only JSONL journal."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from imltool.errors import DataError, ResumeError
from imltool.files import make_folder, write_text, writing


def dump_json(value: Any) -> str:
    """One line of JSON with sorted keys, UTF-8 kept readable. NaN is refused (ValueError)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists as one dictionary with dotted keys: {"a": {"b": [1]}} → {"a.b.0": 1}."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix.removesuffix("."): value}
    return {key: found for name, item in items for key, found in flatten(item, f"{prefix}{name}.").items()}


def claim_folder(
    out: Path, parameters: dict[str, Any], name: str = "parameters.json", refuse_foreign: bool = True
) -> bool:
    """Make `out` the folder of a run with `parameters`; True when it resumes an earlier one.

    Raises `ResumeError` when the folder holds a run made with other parameters, naming the first that differs, or
    holds files but no run: results never mix with evidence, a data set or another command's results
    (`refuse_foreign`; off for callers that have looked themselves).
    """
    make_folder(out)
    marker = out / name
    wanted = json.loads(dump_json(parameters))
    if not marker.exists():
        if refuse_foreign and any(not path.name.startswith(".") for path in out.iterdir()):
            raise ResumeError(f"{out} is not empty and holds no run of this command", "choose another --out")
        write_text(marker, json.dumps(wanted, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        return False
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(f"{marker} cannot be read: {error}", "choose another --out or delete the folder") from error
    before, now = flatten(found), flatten(wanted)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ResumeError(
                f"{out} holds a run with other parameters: {key} was {before.get(key)!r}, now {now.get(key)!r}",
                "choose another --out, or repeat the command with the earlier parameters",
            )
    return True


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The complete rows of a journal, which is only read: a torn last line, as a running writer has it, is left out.

    Raises `DataError` when the file is absent, unreadable or damaged before its last line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "give the output folder of the command") from error
    return _parse(path, data)[0]


def _parse(path: Path, data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The complete rows, and the number of bytes they take."""
    rows, keep = [], 0
    for line in data.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except ValueError:
            if keep + len(line) < len(data):
                raise DataError(f"{path} is damaged at byte {keep}", "move it away and run the command again") from None
            break
        if not line.endswith(b"\n"):
            break
        keep += len(line)
        rows.append(row)
    return rows, keep


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
            # unbuffered: after a full disk nothing is left to write when it is closed
            self._handle = path.open("ab", buffering=0)

    def _recover(self) -> None:
        data = self.path.read_bytes()
        self.rows, keep = _parse(self.path, data)
        if keep < len(data):
            with writing(self.path):
                os.truncate(self.path, keep)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it. Raises `OutputError` when the disk refuses."""
        line = (dump_json(row) + "\n").encode()
        with writing(self.path):
            written = self._handle.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.rows.append(row)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
