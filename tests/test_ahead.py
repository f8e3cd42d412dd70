"""Working ahead in threads: order, window and budget for items of any cost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imltool.ahead import Ahead, ahead


class Load:
    """Track the total cost of items in progress or not yet released."""

    def __init__(self) -> None:
        self.lock, self.now, self.most, self.asked = threading.Lock(), 0, 0, 0

    def cost(self, item: int) -> int:
        self.asked += 1
        return item

    def begin(self, item: int) -> int:
        with self.lock:
            self.now += item
            self.most = max(self.most, self.now)
        time.sleep(0.001 * (item % 3))
        return -item


@pytest.mark.parametrize("budget", [1, 10, 25, 1000])
def test_results_are_in_order_and_within_the_budget(budget: int) -> None:
    items = [3, 1, 12, 0, 7, 7, 7, 30, 1, 1, 0, 5]
    load = Load()
    found = []
    for result in ahead(items, load.begin, 4, 3, load.cost, budget):
        found.append(result)
        with load.lock:
            load.now += result
    assert found == [-item for item in items]
    assert load.most <= max(budget, *items), "an item above the budget runs alone"
    assert load.asked == len(items), "each cost is looked up once"


def test_at_most_one_window_of_items_is_started_before_results_are_taken() -> None:
    begun: list[int] = []
    results = ahead(range(100), lambda item: begun.append(item) or item, 5, 2)  # type: ignore[func-returns-value]
    assert next(results) == 0
    limit = time.monotonic() + 60
    while len(begun) < 5 and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(0.05)  # time in which further items would be started by mistake
    assert sorted(begun) == [0, 1, 2, 3, 4]
    results.close()
    assert len(begun) <= 5, "nothing is started after the iterator is closed"


def test_error_is_raised_at_the_position_of_its_item() -> None:
    results = ahead([1, 0, 2], lambda item: 1 / item, 3, 3)
    assert next(results) == 1.0
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_items_are_taken_when_ready_or_in_full_groups() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        work = Ahead(pool, range(6), lambda item: item if item != 2 else gate.wait(60) and item, 4)
        taken: list[int] = []
        while len(taken) < 2:
            taken += [one.item for one in work.take(4)]
        assert taken == [0, 1], "item 2 is not ready yet"
        assert work.take(4) == []
        gate.set()
        rest = work.take(4, full=True)
        assert [begun.result.result() for begun in rest] == [2, 3, 4, 5] and not work.left


def test_missing_item_does_not_block_later_items() -> None:
    with ThreadPoolExecutor(2) as pool:
        work: Ahead[int, int] = Ahead(pool, iter([1, None, 2, None, 3]), lambda item: item, 4)
        taken = []
        while work.left:
            taken += [begun.result.result() for begun in work.take(4)]
        assert taken == [1, 2, 3]
        work = Ahead(pool, iter([1, None, 2]), lambda item: item, 4)
        assert work.take(2, full=True) == [], "a second item may still follow"
        assert [begun.item for begun in work.take(2, full=True)] == [1, 2]


def test_full_group_waits_for_freed_budget() -> None:
    with ThreadPoolExecutor(2) as pool:
        work = Ahead(pool, [4, 4, 4, 4], lambda item: item, 4, lambda item: item, 8)
        first = work.take(2, full=True)
        assert len(first) == 2 and work.take(2, full=True) == [], "the whole budget is in use"
        work.free(4)
        assert work.take(2, full=True) == [], "the budget allows one item"
        work.free(4)
        assert len(work.take(2, full=True)) == 2 and not work.left
