"""The pictures below a folder, of a disk or a store: known by the name's ending or else by their first bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imltool.files import named_like_picture, walk_images
from imltool.pictures.images import looks_like_picture
from imltool.scan.stores import Stored, read_head

LOOKERS = 8
"""Objects looked at at once (our choice)."""


def walk_pictures(root: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """As `walk_images`, and files of other names that begin like a picture: evidence is often named so.

    Hidden folders are looked into: whoever hides pictures puts them there. A file named like a picture is there
    whatever it holds, so that a damaged one is told and not passed over. One of another name that cannot be opened is
    left out.
    """
    return walk_images(root, on_error, _is_picture, hidden=True)


def _is_picture(path: Path) -> bool:
    # opening a pipe could wait for ever, so only regular files are; Path.is_file raises where it may not look
    return named_like_picture(path) or (os.path.isfile(path) and looks_like_picture(path))


def choose_pictures(objects: Sequence[Stored]) -> list[Stored]:
    """Those of a store's objects that `walk_pictures` would take as files, in their order.

    A few kB are fetched of every object of another name. Raises `StoreError` when the store does not answer.
    """
    with ThreadPoolExecutor(LOOKERS, thread_name_prefix="imltool-look") as pool:
        return [stored for stored, wanted in zip(objects, pool.map(_is_stored_picture, objects), strict=True) if wanted]


def _is_stored_picture(stored: Stored) -> bool:
    if named_like_picture(Path(stored.name)):
        return True
    head = read_head(stored)
    with tempfile.NamedTemporaryFile(prefix="imltool-") as file:
        file.write(head)
        file.flush()
        return looks_like_picture(Path(file.name))
