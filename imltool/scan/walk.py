"""The pictures below a folder: known by the name's ending or, whatever the name, by their first bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from imltool.files import named_like_picture, walk_images
from imltool.images import looks_like_picture


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
