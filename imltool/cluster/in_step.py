"""What workers made, checked against what was asked for and written by the command alone, in order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from imltool.errors import ClusterError
from imltool.files import write_bytes
from imltool.texts import printable


@dataclass(frozen=True)
class Made:
    """What a worker made of one picture.

    Attributes:
        name: what the command calls the picture.
        row: its line of the journal.
        files: path relative to the output folder → content.
        unseen: there is no such file on the worker's machine; False for an object of a store.
    """

    name: str
    row: dict[str, Any]
    files: Mapping[str, bytes]
    unseen: bool


MadeT = TypeVar("MadeT", bound=Made)


def in_step(made: Iterator[tuple[int, MadeT]], asked: Iterable[tuple[str, Path | None]], out: Path) -> Iterator[MadeT]:
    """Yield what comes, each after its files are written below `out`, when it is what was asked for, once, in order.

    Args:
        made: the number of a task and a piece of it.
        asked: name of every picture, and its path where it is a file.

    Raises `ClusterError` at the first that is another, or whose picture its worker did not see and the command does,
    and `OutputError`.
    """
    expected = iter(asked)
    for _, one in made:
        item = next(expected, None)
        if item is None or item[0] != one.name:
            raise _out_of_step()
        path = item[1]
        if one.unseen and path is not None and os.path.lexists(path):
            raise ClusterError(
                f"a worker does not see {printable(str(path))}",
                "put the pictures where all machines of the cluster find them under the same path",
            )
        for file, data in one.files.items():
            write_bytes(out / file, data)
        yield one
    if next(expected, None) is not None:
        raise _out_of_step()


def _out_of_step() -> ClusterError:
    return ClusterError(
        "the cluster gave other rows than were asked for", "what was finished is kept: the same command goes on with it"
    )
