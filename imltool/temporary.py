"""Temporary folders that do not pile up: what a killed process could not remove, the next one removes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none: there nothing is known of other processes, and nothing of theirs removed
    fcntl = None  # type: ignore[assignment]


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder below the system's for temporary files, readable for this user alone, and gone in the end.

    It is locked for as long as the block takes: folders of this user with the same prefix that nobody holds were left
    by processes that were killed, and are removed before. Raises OSError when none can be made.
    """
    _remove_abandoned(prefix)
    folder = Path(tempfile.mkdtemp(prefix="imltool-new-"))
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if handle is not None:
            with suppress(OSError):  # a file system without locks: nobody can lock, and so remove, it either
                fcntl.flock(handle, fcntl.LOCK_EX)
        # others find it by this name, so it has it from the moment it is locked
        folder = folder.rename(folder.with_name(folder.name.replace("imltool-new-", prefix, 1)))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _remove_abandoned(prefix: str) -> None:
    if fcntl is None:
        return
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # among them: another process holds it, has just removed it, or it is a link
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.getuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)
