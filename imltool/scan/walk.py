"""The pictures below a folder: known by the name's ending or, whatever the name, by their first bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from imltool.files import IMAGE_SUFFIXES
from imltool.images import looks_like_picture

SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif", ".hif", ".avif", ".j2k", ".jpx"}
"""A file whose name ends so is looked at whatever it holds: a damaged picture must be told, not passed over."""


def walk_pictures(root: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """Every picture under a folder, sorted by its path relative to `root`.

    Files of other names are opened and taken when they begin like a picture; what cannot be opened is then left out.
    Symbolic links to folders are followed once (loops end), hidden folders are skipped.

    Args:
        on_error: called for each folder that cannot be read (its path is the error's `filename`), which is left out.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, onerror=on_error, followlinks=True):
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            subfolders.clear()
            continue
        seen.add(identity)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [path for name in names if _wanted(path := Path(folder, name))]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _wanted(path: Path) -> bool:
    # opening a pipe could wait for ever, so only regular files are
    return path.suffix.lower() in SUFFIXES or (path.is_file() and looks_like_picture(path))
