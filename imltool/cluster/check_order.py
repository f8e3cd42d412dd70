"""Checks the results of workers against the request; only the command writes them, in order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from imltool.errors import ClusterError
from imltool.files import write_bytes
from imltool.texts import printable

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Made(Generic[RowT]):
    """A worker's output for one picture.

    Attributes:
        name: the command's name of the picture.
        row: its result or line of the journal.
        files: path relative to the output folder → content.
        unseen: whether the worker's machine has no such file; False for an object of a store.
    """

    name: str
    row: RowT
    files: Mapping[str, bytes]
    unseen: bool


MadeT = TypeVar("MadeT", bound=Made[Any])


def ordered(made: Iterable[MadeT], asked: Iterable[tuple[str, Path | None]], out: Path) -> Iterator[MadeT]:
    """Yield each result after its files are written below `out`. Every requested picture must come once, in order.

    Args:
        asked: name of every picture, and its path if it is a file.

    Raises `ClusterError` at the first result that is another one, or whose picture exists for the command but not for
    the worker, and `OutputError`.
    """
    expected = iter(asked)
    for one in made:
        item = next(expected, None)
        if item is None or item[0] != one.name:
            raise _out_of_order()
        path = item[1]
        if one.unseen and path is not None and os.path.lexists(path):
            raise ClusterError(
                f"a worker cannot find {printable(str(path))}",
                "put the pictures where all machines of the cluster find them under the same path",
            )
        for file, data in one.files.items():
            write_bytes(out / file, data)
        yield one
    if next(expected, None) is not None:
        raise _out_of_order()


def _out_of_order() -> ClusterError:
    return ClusterError(
        "the cluster returned other rows than were requested", "finished rows are kept: the same command resumes"
    )
