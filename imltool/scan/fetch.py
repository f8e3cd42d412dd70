"""Inputs as files of this machine: objects of stores fetched to temporary copies, ahead of who asks for them."""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from imltool.errors import ObjectError, ObjectGone
from imltool.files import temporary_folder, what_happened, writing
from imltool.scan.inputs import Input
from imltool.scan.stores import LARGEST, Stored, fetch

FETCHERS = 8
"""Objects fetched at once (our choice)."""
AHEAD = 64
"""Copies that exist at once at most (our choice)."""
BYTES_AHEAD = 1_000_000_000
"""Bytes of these copies at most, by the sizes that were listed (our choice). A larger object goes alone."""


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with ExitStack() as stack:
        with writing(Path(tempfile.gettempdir())):
            folder = stack.enter_context(temporary_folder("imltool-fetch-"))
        yield folder


@contextmanager
def at_hand(place: Path | Stored) -> Iterator[Path]:
    """A file of this machine as it is; of an object a copy, for as long as the block takes.

    Raises what `stores.fetch` raises.
    """
    if isinstance(place, Path):
        yield place
        return
    with _temporary_folder() as folder:
        yield fetch(place, folder, "object")


def fate(place: Path | Stored, sha256: str) -> str:
    """`files.what_happened` of a file or an object, which is fetched for it. Raises `StoreError` and `OutputError`."""
    try:
        with at_hand(place) as path:
            return what_happened(path, sha256)
    except ObjectGone:
        return "vanished"
    except ObjectError:
        return "became unreadable"


class FetchAhead:
    """The files of a scan's inputs, in their order; objects are fetched in threads before they are asked for.

    No thread, folder or package is needed for inputs that are files of this machine. Each copy stays until it is
    released, and the copies' number and bytes are bounded, so that fetching waits for decoding.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._waiting = deque(item for item in inputs if isinstance(item.path, Stored))
        self._copies: dict[str, Future[Path]] = {}
        self._sizes: dict[str, int] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._begun = 0
        self._exit = ExitStack()

    def __enter__(self) -> FetchAhead:
        if self._waiting:
            self._folder = self._exit.enter_context(_temporary_folder())
            self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="imltool-fetch")
            self._exit.callback(self._pool.shutdown, wait=True, cancel_futures=True)
            self._exit.callback(self._stop.set)
            with self._changed:
                self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def file(self, item: Input) -> Path | str:
        """The file of an input, or why there is none; waits for an object that is being fetched.

        Inputs are asked for in their order, any number of times until they are released. Raises `StoreError` and
        `OutputError`, after which no other object can be had either.
        """
        if item.fault:
            return item.fault
        if isinstance(item.path, Path):
            return item.path
        with self._changed:
            self._changed.wait_for(lambda: item.name in self._copies)
        try:
            return self._copies[item.name].result()
        except ObjectError as error:
            return error.message

    def release(self, item: Input) -> None:
        """Delete the copy of an input that is no longer needed; a file of this machine stays. For any thread."""
        if isinstance(item.path, Path):
            return
        copy = self._copies[item.name]
        if copy.exception() is None:
            copy.result().unlink(missing_ok=True)
        with self._changed:
            del self._copies[item.name], self._sizes[item.name]
            self._begin()

    def _begin(self) -> None:
        """Have as many objects fetched as there is room for; the condition is held."""
        while self._waiting and not self._stop.is_set():
            item = self._waiting[0]
            assert isinstance(item.path, Stored)
            size = LARGEST if item.path.size is None else item.path.size
            if self._copies and (len(self._copies) >= AHEAD or sum(self._sizes.values()) + size > BYTES_AHEAD):
                break
            self._waiting.popleft()
            self._begun += 1
            self._sizes[item.name] = size
            self._copies[item.name] = self._pool.submit(fetch, item.path, self._folder, str(self._begun), self._stop)
        self._changed.notify_all()
