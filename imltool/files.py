"""File-system functions that all commands share: hashes, atomic writes, locks and walks."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imltool.errors import DataError, OutputError, UsageError

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jif",
        ".mpo",
        ".png",
        ".apng",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".webp",
        ".gif",
    }
    | {".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".heic", ".heif", ".hif", ".heics", ".avif", ".avifs"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Extensions of the formats that are read."""
PARTIAL = re.compile(r"\..+\.[0-9a-f]{12}\.part")
"""Names of the temporary files of `atomic`."""
LOCK = ".imltool.lock"
"""Name of the empty file in an output folder that a command locks while it writes there. It is never removed."""


def sha256_file(path: Path, chunk: int = 1 << 20) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hex digits. Raises OSError when unreadable."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(chunk):
            digest.update(block)
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes as 64 lower-case hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def what_happened(path: Path, sha256: str) -> str:
    """The change of a file that had the hash `sha256`: "vanished", "changed", "became unreadable"; "" for none."""
    try:
        # opening a pipe could block for ever
        same = stat.S_ISREG(path.stat().st_mode) and sha256_file(path) == sha256
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no file can have such a name
        return "vanished"
    except OSError:
        return "became unreadable"
    return "" if same else "changed"


def _explain(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no space left to write {path}", "free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return OutputError(f"no permission to write {path}", "allow writing there, or choose another folder")
    return OutputError(f"cannot write {path}: {error.strerror or error}", "check the output folder")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing `path` into an `OutputError` with its remedy."""
    try:
        yield
    except OSError as error:
        raise _explain(path, error) from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step.

    A kill or a full disk therefore leaves either the old file or none, never part of one. The temporary name is random,
    so that threads, processes and hosts that write the same file do not write into each other's temporary file.
    Raises `OutputError` when the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")  # must match `PARTIAL`
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove temporary files of killed writers in a folder and its subfolders. Raises `OutputError`."""
    with writing(folder):
        for path in folder.rglob(".*.part"):
            if PARTIAL.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, with its line feeds: the bytes are hashed and compared, on Windows too."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def make_folder(path: Path) -> Path:
    """Create a folder and its parents. Raises `OutputError` when that is impossible."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def folder_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on an existing folder; it is also released when the process dies.

    Args:
        wait: wait until another command releases its lock, instead of raising an error.

    Raises `UsageError` when another command holds the lock, and `OutputError` when the lock cannot be made.
    """
    # not bound to a thread: a generator that holds the lock may be closed by another thread
    lock = FileLock(folder / LOCK, timeout=-1 if wait else 0, thread_local=False)
    with writing(folder):
        try:
            lock.acquire()
        except Timeout:  # before `writing` handles it: it is an OSError
            raise UsageError(f"another command is writing into {folder}", "wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


def named_like_picture(path: Path) -> bool:
    """Whether a file has a picture extension."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def walk_images(
    root: Path,
    on_error: Callable[[OSError], None] | None = None,
    wanted: Callable[[Path], bool] = named_like_picture,
    hidden: bool = False,
) -> list[Path]:
    """Every picture file under `root`, sorted by its path relative to `root`.

    Symbolic links to folders are followed once (loops end), and folders may be as deep as the system allows.
    A single file is returned whatever its name is; for a folder that does not exist, the list is empty.

    Args:
        on_error: called for each folder that cannot be read (its path is the error's `filename`), which is then left
            out.
        wanted: whether a file is a picture.
        hidden: include hidden folders and files (macOS leaves `._a.jpg` beside `a.jpg` in archives).

    Raises `DataError` for a folder that cannot be read when there is no `on_error`: no part of a set may be lost
    silently.
    """
    if root.is_file():
        return [root]
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [str(root)]  # before Python 3.12 os.walk is recursive, and folders can be deeper than the recursion limit
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116 plain strings: faster over many folders
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            with os.scandir(folder) as entries:
                shown = sorted((entry.name, _is_folder(entry)) for entry in entries)
        except OSError as error:
            _unreadable(on_error, error)
            continue
        seen.add(identity)
        shown = [(name, below) for name, below in shown if hidden or not name.startswith(".")]
        waiting += [f"{folder}/{name}" for name, below in reversed(shown) if below]
        found += [path for name, below in shown if not below and wanted(path := Path(folder, name))]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for instance a link to itself
        return False


def _unreadable(on_error: Callable[[OSError], None] | None, error: OSError) -> None:
    if isinstance(error, FileNotFoundError):
        return
    if on_error is None:
        denied = isinstance(error, PermissionError)
        reason = "no permission to read it" if denied else error.strerror or type(error).__name__
        raise DataError(f"folder {error.filename} cannot be read: {reason}", "make it readable or move it away")
    on_error(error)


def human_size(count: float) -> str:
    """A number of bytes in the largest fitting decimal unit: 9_830_400 → '9.8 MB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder in the system's temporary folder, readable by this user only, and removed at the end.

    A lock file beside it is held while the block runs. Folders with the same prefix whose lock is free were left by
    killed processes, and are removed first. Raises OSError when no folder can be made.
    """
    place = Path(tempfile.gettempdir())
    _remove_abandoned(place, prefix)
    folder = place / f"{prefix}{secrets.token_hex(4)}"  # short: paths of Ray's sockets in it are limited to 107 bytes
    lock = _lock_beside(folder)
    try:
        with lock:  # before the folder exists: other processes must never see it without its lock
            try:
                folder.mkdir(mode=0o700)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)


def _lock_beside(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0, thread_local=False)


def _remove_abandoned(place: Path, prefix: str) -> None:
    for path in place.glob(f"{prefix}*"):
        lock = _lock_beside(path)
        if path.is_symlink() or not Path(lock.lock_file).is_file():
            continue
        with suppress(OSError), lock:  # a process holds the lock (Timeout is an OSError), or another user owns it
            shutil.rmtree(path, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
