"""Resumable outputs: a parameter file that refuses to mix runs, and an append-only JSONL journal."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from imltool.errors import DataError, ResumeError, UsageError
from imltool.files import folder_lock, make_folder, remove_partial_files, write_text, writing

PARAMETERS = "parameters.json"


def dump_json(value: Any) -> str:
    """One line of JSON with sorted keys and non-ASCII characters unescaped. Raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def utc_now(timespec: str = "microseconds") -> str:
    """The present time in UTC, in an ISO 8601 form that sorts as text: `2026-01-31T12:00:00.000000Z`."""
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


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


def holds_run(out: Path, marker: str, what: str, command: str | None = None) -> bool:
    """Whether `out` holds an earlier run, whose parameter file is `marker`; False when it is new or empty.

    Hidden files do not count: file managers leave them, and so does a kill before the marker was written.

    Args:
        what: the kind of run, for the message.
        command: the `command` that the parameters must name; None for a marker that no other command writes.

    Raises `UsageError` when `out` is a file, or holds files but no such run: results never mix with evidence, a data
    set or another command's results.
    """
    with writing(out):
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file", "give --out a folder")
        if not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir()):
            return False
    path = out / marker
    if not path.is_file() or (command is not None and _read_parameters(path).get("command") != command):
        raise UsageError(f"{out} is not empty and holds no {what}", "give --out a new or an empty folder")
    return True


@contextmanager
def output_folder(
    out: Path,
    parameters: dict[str, Any],
    marker: str = PARAMETERS,
    what: str = "run of this command",
    *,
    written: Sequence[str] = (),
    restart: bool = False,
) -> Iterator[bool]:
    """Hold `out` as the output folder of a run with `parameters`: lock and claim it, and remove partial files.

    Every command that writes a folder holds it this way while it writes. Yields True when the run resumes an earlier
    one.

    Args:
        marker: name of the file that holds the parameters.
        what: the kind of run, for messages.
        written: names of the files and folders that a run writes into `out`, besides the marker.
        restart: first remove these files and folders of an earlier run, and nothing else.

    Raises `UsageError` for a folder of something else (see `holds_run`) and while another command writes there, and
    `ResumeError` when it holds a run with other parameters, naming the first that differs.
    """
    command = parameters.get("command")
    holds_run(out, marker, what, command)  # before a lock file is made in a foreign folder
    with folder_lock(make_folder(out)):
        if holds_run(out, marker, what, command) and restart:
            with writing(out):
                for path in (out / name for name in (*written, marker)):  # the marker last
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink(missing_ok=True)
        try:
            resumed = keep_parameters(out / marker, parameters)
        except ResumeError as error:
            discard = "; --restart discards the earlier results" if written else ""
            raise ResumeError(error.message, error.remedy + discard) from None
        remove_partial_files(out)
        yield resumed


def keep_parameters(path: Path, parameters: dict[str, Any]) -> bool:
    """Write the parameters of a run, or compare them with existing ones; True in the second case.

    Raises `ResumeError` when they differ, naming the first difference.
    """
    make_folder(path.parent)
    wanted = json.loads(dump_json(parameters))
    if not path.exists():
        write_text(path, json.dumps(wanted, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        return False
    before, now = flatten(_read_parameters(path)), flatten(wanted)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ResumeError(
                f"{path.parent} holds a run with other parameters: {key} was {before.get(key)!r}, now {now.get(key)!r}",
                "choose another --out, or repeat the command with the earlier parameters",
            )
    return True


def _read_parameters(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ResumeError(f"{path} cannot be read: {error}", "choose another --out or delete the folder") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The complete rows of a journal. A partial last line, which a running writer may leave, is ignored.

    Raises `DataError` when the file is missing, unreadable or damaged in a complete line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "give the output folder of the command") from error
    return _parse(path, data)[0]


def _parse(path: Path, data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The complete rows, and their length in bytes. A kill in the middle of a write leaves a line without its end."""
    rows, keep = [], 0
    for line in data.split(b"\n")[:-1]:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            raise DataError(f"{path} is damaged at byte {keep}", "move it away and run the command again") from None
        keep += len(line) + 1
    return rows, keep


def appended_lines(path: Path, start: int) -> bytes:
    """The complete lines after the first `start` bytes of a journal that grows; none while there is no such file.

    A partial last line is being written, or was left. Raises `DataError` when the file cannot be read.
    """
    try:
        if not path.exists() or path.stat().st_size <= start:
            return b""
        with path.open("rb") as handle:
            handle.seek(start)
            data = handle.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return data[: data.rfind(b"\n") + 1]


RowT = TypeVar("RowT")


def typed_rows(path: Path, rows: Iterable[Any], read: Callable[[Any], RowT]) -> list[RowT]:
    """Rows of the journal `path` as typed values. Raises `DataError` when `read` raises ValueError for one."""
    try:
        return [read(row) for row in rows]
    except ValueError as error:  # a pydantic ValidationError is one
        raise DataError(
            f"{path} is not in the form that this version of imltool writes", "run the command with a new folder"
        ) from error


JournalT = TypeVar("JournalT", bound="Journal")


class Journal:
    """An append-only JSONL file: a row is on disk when `append` returns.

    Opening it drops a partial last line (left by a kill or a full disk), so that the row is made again.

    Attributes:
        rows: the complete rows found on opening, in order, then the appended ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        make_folder(path.parent)
        if path.exists():
            self._recover()
        with writing(path):
            # unbuffered: when the disk was full, closing has nothing left to write
            self._handle = path.open("ab", buffering=0)

    def _recover(self) -> None:
        with writing(self.path):
            data = self.path.read_bytes()
        self.rows, keep = _parse(self.path, data)
        if keep < len(data):
            with writing(self.path):
                os.truncate(self.path, keep)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it. Raises `OutputError` when it cannot be written."""
        line = (dump_json(row) + "\n").encode()
        with writing(self.path):
            written = self._handle.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.rows.append(row)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self: JournalT) -> JournalT:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
