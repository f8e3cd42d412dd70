"""How many pictures at once: found by trying, here by a clock that stands but for what a machine would take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from imltool.engines.network import Compute, Probabilities, Stacks, Views
from imltool.inference import batch_size
from imltool.inference.batch_size import MOST, USUAL, fastest_batch
from imltool.student.settings import StudentSettings

SETTINGS = StudentSettings(input_size=64)


class Machine:
    """Takes `start` seconds a batch and one a picture beyond `wide` at once; has no memory for more than `room`."""

    engine, version = "none", "0"
    compute: Compute = "fp32"

    def __init__(self, start: float, wide: int, room: int = 10**6, joint: bool = True) -> None:
        self.start, self.wide, self.room, self.joint = start, wide, room, joint
        self.now = 0.0
        self.seen: list[int] = []

    def probabilities(self, views: Views, traces: Stacks | None) -> Probabilities:
        self.seen.append(len(views))
        if len(views) > self.room:
            raise RuntimeError("out of memory")
        # the first batch of a size takes longer, as with engines that prepare themselves for it
        self.now += self.start + max(0, len(views) - self.wide) + (100 if self.seen.count(len(views)) == 1 else 0)
        return np.zeros(views.shape[:3], np.float32)


@pytest.mark.parametrize(
    ("start", "wide", "room", "expected"),
    [(1e-9, 0, 10**6, 1), (1, 1, 10**6, 1), (1, 16, 10**6, 16), (1, 10**6, 10**6, MOST), (1, 10**6, 5, 4)],
)
def test_the_smallest_of_the_fastest_sizes_is_found(
    monkeypatch: pytest.MonkeyPatch, start: float, wide: int, room: int, expected: int
) -> None:
    machine = Machine(start, wide, room)
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: machine.now))
    assert fastest_batch(machine, SETTINGS) == expected
    assert max(machine.seen) <= min(MOST, 2 * expected)


def test_one_picture_too_large_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="memory"):
        fastest_batch(Machine(1, 1, room=0), SETTINGS)


def test_pictures_seen_one_by_one_need_no_probe() -> None:
    machine = Machine(1, 1, joint=False)
    assert fastest_batch(machine, SETTINGS) == USUAL and not machine.seen
