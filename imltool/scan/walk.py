"""The pictures below a folder of a disk or a store: recognised by their extension or else by their first bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

from imltool.files import named_like_picture, walk_images
from imltool.pictures.images import looks_like_picture
from imltool.scan.stores import Stored, read_head
from imltool.texts import printable

LOOKERS = 8
"""Objects read at once (our choice)."""


Others = list[tuple[Path, str]]
"""The files of a folder that were passed over, each with its kind."""
NO_FILE, NO_ENDING, CLOSED = "not a file", "no extension", "cannot be opened"


def walk_pictures(root: Path, on_error: Callable[[OSError], None], others: Others) -> list[Path]:
    """As `walk_images`, and also files with other names that begin like a picture: evidence is often named so.

    Hidden folders are searched too: pictures may be hidden there. A file with a picture extension is included whatever
    it holds, so that a damaged one is reported. A file with another name that cannot be opened is left out.

    Args:
        others: the files that are left out are appended here.
    """
    return walk_images(root, on_error, partial(_is_picture, others=others), hidden=True)


def _is_picture(path: Path, others: Others) -> bool:
    if named_like_picture(path):
        return True
    # opening a pipe could block for ever, so only regular files are opened; Path.is_file raises without permission
    regular = os.path.isfile(path)
    if regular and looks_like_picture(path):
        return True
    readable = regular and os.access(path, os.R_OK)
    others.append((path, kind_of(path.name) if readable else CLOSED if regular else NO_FILE))
    return False


def kind_of(name: str) -> str:
    """The kind of a file that is no picture: its extension in lower case."""
    ending = PurePosixPath(name).suffix.lower()
    return printable(ending) if 1 < len(ending) <= 12 else NO_ENDING


def choose_pictures(objects: Sequence[Stored]) -> list[Stored]:
    """The objects of a store that `walk_pictures` would include as files, in their order.

    A few kB are fetched of every object without a picture extension. Raises `StoreError` when a store does not answer.
    """
    with ThreadPoolExecutor(LOOKERS, thread_name_prefix="imltool-look") as pool:
        return [stored for stored, wanted in zip(objects, pool.map(_is_stored_picture, objects), strict=True) if wanted]


def _is_stored_picture(stored: Stored) -> bool:
    if named_like_picture(Path(stored.name)):
        return True
    head = read_head(stored)
    # not NamedTemporaryFile: Windows refuses to open such a file a second time
    with tempfile.TemporaryDirectory(prefix="imltool-") as folder:
        copy = Path(folder) / "head"
        copy.write_bytes(head)
        return looks_like_picture(copy)
