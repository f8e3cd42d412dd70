"""Process a sequence in threads, a bounded number of items ahead of the consumer; results are returned in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Begun(Generic[T, R]):
    """An item that was submitted: its cost, which is held until `Ahead.free`, and its future result."""

    item: T
    cost: int
    result: Future[R]


class Ahead(Generic[T, R]):
    """Results of `work` on `items`, in their order. To be used from one thread.

    Args:
        pool: the threads.
        items: taken one by one, when there is room for the next; None means that the next is not available yet.
        work: called in a thread.
        window: largest number of items that are being processed or wait to be taken.
        cost: of an item, such as its pixels; called once per item.
        budget: largest sum of costs held at once. An item that costs more is processed alone.
    """

    def __init__(
        self,
        pool: Executor,
        items: Iterable[T | None],
        work: Callable[[T], R],
        window: int,
        cost: Callable[[T], int] = lambda item: 0,
        budget: int = 0,
    ) -> None:
        self._pool, self._work, self._window, self._cost, self._budget = pool, work, window, cost, budget
        self._items = iter(items)
        self._waiting: deque[Begun[T, R]] = deque()
        self._held = 0
        self._next: tuple[T, int] | None = None
        self._ended = False
        self._read_next()

    def _read_next(self) -> None:
        if self._next or self._ended:
            return
        try:
            item = next(self._items)
        except StopIteration:
            self._ended = True
            return
        if item is not None:
            self._next = item, self._cost(item)

    def _begin(self) -> None:
        self._read_next()
        while self._next and len(self._waiting) < self._window:
            item, cost = self._next
            if self._held and self._held + cost > self._budget:
                return
            self._held += cost
            self._waiting.append(Begun(item, cost, self._pool.submit(self._work, item)))
            self._next = None
            self._read_next()

    @property
    def left(self) -> bool:
        """Whether there are items that have not been taken."""
        return bool(self._waiting or self._next or not self._ended)

    @property
    def first(self) -> Future[R] | None:
        """The next result to be taken, if its item was submitted."""
        return self._waiting[0].result if self._waiting else None

    def take(self, most: int, full: bool = False) -> list[Begun[T, R]]:
        """The next items whose results are ready, at most `most`.

        Args:
            full: return `most` items whether they are ready or not. Fewer are returned at the end, and when the budget
                is held by these items alone; none when other items have to be freed first, or the next item is not
                available yet.
        """
        self._begin()
        if full:
            others = self._held > sum(begun.cost for begun in self._waiting)
            more = others if self._next else not self._ended
            count = 0 if more and len(self._waiting) < most else most
        else:
            ready = (place for place, begun in enumerate(self._waiting) if not begun.result.done())
            count = min(most, next(ready, len(self._waiting)))
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def free(self, cost: int) -> None:
        """Release the cost of a taken item."""
        self._held -= cost


def ahead(
    items: Iterable[T],
    work: Callable[[T], R],
    window: int,
    workers: int,
    cost: Callable[[T], int] = lambda item: 0,
    budget: int = 0,
) -> Generator[R, None, None]:
    """Results of `work` on `items`, in their order, from `workers` threads; see `Ahead`.

    The cost of an item is released when the next result is requested.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="imltool-ahead")
    try:
        begun = Ahead(pool, items, work, window, cost, budget)
        while group := begun.take(1, full=True):
            yield group[0].result.result()
            begun.free(group[0].cost)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
