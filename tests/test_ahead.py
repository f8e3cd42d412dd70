"""Work ahead in threads: the order, the window and the budget, whatever items cost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imltool.ahead import Ahead, ahead


class Load:
    """Counts what is worked on, or waits to be given back, at once."""

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
def test_results_come_in_order_within_the_budget(budget: int) -> None:
    items = [3, 1, 12, 0, 7, 7, 7, 30, 1, 1, 0, 5]
    load = Load()
    found = []
    for result in ahead(items, load.begin, 4, 3, load.cost, budget):
        found.append(result)
        with load.lock:
            load.now += result
    assert found == [-item for item in items]
    assert load.most <= max(budget, *items), "one that costs more goes alone"
    assert load.asked == len(items), "each cost is looked up once"


def test_no_more_than_the_window_is_begun_before_anything_is_taken() -> None:
    begun: list[int] = []
    results = ahead(range(100), lambda item: begun.append(item) or item, 5, 2)  # type: ignore[func-returns-value]
    assert next(results) == 0
    limit = time.monotonic() + 60
    while len(begun) < 5 and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(0.05)  # for more that may be begun, and must not
    assert sorted(begun) == [0, 1, 2, 3, 4]
    results.close()
    assert len(begun) <= 5, "nothing is begun once nobody asks"


def test_an_error_is_raised_in_its_place() -> None:
    results = ahead([1, 0, 2], lambda item: 1 / item, 3, 3)
    assert next(results) == 1.0
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_items_are_taken_as_soon_as_they_are_there_or_in_full_groups() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        work = Ahead(pool, range(6), lambda item: item if item != 2 else gate.wait(60) and item, 4)
        taken: list[int] = []
        while len(taken) < 2:
            taken += [one.item for one in work.take(4)]
        assert taken == [0, 1], "2 is not there yet"
        assert work.take(4) == []
        gate.set()
        rest = work.take(4, full=True)
        assert [begun.result.result() for begun in rest] == [2, 3, 4, 5] and not work.left


def test_an_item_that_is_not_there_yet_holds_nothing_up() -> None:
    with ThreadPoolExecutor(2) as pool:
        work: Ahead[int, int] = Ahead(pool, iter([1, None, 2, None, 3]), lambda item: item, 4)
        taken = []
        while work.left:
            taken += [begun.result.result() for begun in work.take(4)]
        assert taken == [1, 2, 3]
        work = Ahead(pool, iter([1, None, 2]), lambda item: item, 4)
        assert work.take(2, full=True) == [], "the second may still come"
        assert [begun.item for begun in work.take(2, full=True)] == [1, 2]


def test_a_full_group_waits_for_what_others_give_back() -> None:
    with ThreadPoolExecutor(2) as pool:
        work = Ahead(pool, [4, 4, 4, 4], lambda item: item, 4, lambda item: item, 8)
        first = work.take(2, full=True)
        assert len(first) == 2 and work.take(2, full=True) == [], "all the room is taken"
        work.free(4)
        assert work.take(2, full=True) == [], "there is room for one"
        work.free(4)
        assert len(work.take(2, full=True)) == 2 and not work.left
