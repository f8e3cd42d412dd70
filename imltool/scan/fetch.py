"""Inputs as local files: objects of stores are copied to a temporary folder, some ahead of the analysis."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imltool.ahead import Ahead
from imltool.errors import ObjectError, ObjectGone
from imltool.files import temporary_folder, what_happened, writing
from imltool.scan.inputs import Input
from imltool.scan.stores import LARGEST, Stored, fetch

FETCHERS = 8
"""Objects fetched at once (our choice)."""
AHEAD = 16
"""Copies fetched or being fetched ahead at most, besides those that the analysis is reading (our choice)."""
BYTES_AHEAD = 1_000_000_000
"""Bytes of these copies at most, by their listed sizes (our choice). A larger object is fetched alone."""


@dataclass(frozen=True)
class LocalFile:
    """An input with its local file, or the reason why there is none (`path` is then a text)."""

    item: Input
    path: Path | str

    def release(self) -> None:
        """Delete the copy of an object. A file that is no copy is kept."""
        if isinstance(self.item.path, Stored) and isinstance(self.path, Path):
            self.path.unlink(missing_ok=True)


class LocalFiles:
    """Iterates over the files of a scan's inputs, in order; yields None while the next object is still being fetched.

    Threads and a folder are only made when an input is an object. The iterator raises `StoreError` when a store does
    not answer, and `OutputError` when a copy cannot be written.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self._stop = threading.Event()
        self._fetching: Ahead[tuple[int, Input], LocalFile] | None = None
        self._exit = ExitStack()

    def __enter__(self) -> LocalFiles:
        if any(isinstance(item.path, Stored) for item in self._inputs):
            self._folder = self._exit.enter_context(_temporary_folder())
            pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="imltool-fetch")
            self._exit.callback(pool.shutdown, wait=True, cancel_futures=True)
            self._exit.callback(self._stop.set)
            numbered = enumerate(self._inputs)
            self._fetching = Ahead(pool, numbered, self._get, AHEAD, lambda one: _size(one[1]), BYTES_AHEAD)
        else:
            self._local = map(_local, self._inputs)
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    @property
    def first(self) -> Future[LocalFile] | None:
        """The next object, while it is being fetched."""
        return self._fetching.first if self._fetching else None

    def __iter__(self) -> LocalFiles:
        return self

    def __next__(self) -> LocalFile | None:
        if self._fetching is None:
            return next(self._local)
        for begun in self._fetching.take(1):
            self._fetching.free(begun.cost)
            return begun.result.result()
        if not self._fetching.left:
            raise StopIteration
        return None

    def _get(self, numbered: tuple[int, Input]) -> LocalFile:
        number, item = numbered
        if isinstance(item.path, Path) or item.fault:
            return _local(item)
        try:
            return LocalFile(item, fetch(item.path, self._folder, str(number), self._stop))
        except ObjectError as error:
            return LocalFile(item, error.message)


def _local(item: Input) -> LocalFile:
    return LocalFile(item, item.fault or item.file)


def _size(item: Input) -> int:
    if isinstance(item.path, Path):
        return 0
    return LARGEST if item.path.size is None else item.path.size


@contextmanager
def local_copy(place: Path | Stored) -> Iterator[Path]:
    """A local file itself, or a copy of an object that exists while the block runs.

    Raises what `stores.fetch` raises.
    """
    if isinstance(place, Path):
        yield place
        return
    with _temporary_folder() as folder:
        yield fetch(place, folder, "object")


def compare_with_hash(place: Path | Stored, sha256: str) -> str:
    """`files.what_happened` for a file or an object, which is fetched first. Raises `StoreError` and `OutputError`."""
    try:
        with local_copy(place) as path:
            return what_happened(path, sha256)
    except ObjectGone:
        return "vanished"
    except ObjectError:
        return "became unreadable"


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with ExitStack() as stack:
        with writing(Path(tempfile.gettempdir())):
            folder = stack.enter_context(temporary_folder("imltool-fetch-"))
        yield folder
