"""The embedding worker: scheduling and waiting, with the real teacher."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pictures import forged, photo, write_rgb
from PIL import Image

from imltool.annotate import embedding_worker
from imltool.annotate.embedding_worker import EmbeddingWorker, Superseded
from imltool.annotate.pictures import find_pictures
from imltool.annotate.records import DrawnBox
from imltool.errors import ImageError
from imltool.pictures.images import RGB, read_rgb
from imltool.teacher.sam import SamTeacher

Slow = Callable[[Path, Callable[[], None]], AbstractContextManager[None]]
BOX = DrawnBox(box=(20, 12, 76, 54))
PATIENCE = 240.0
"""Timeout in seconds on a busy machine; an embedding normally takes one second."""


@pytest.fixture(scope="module")
def teacher(mobile_sam: SamTeacher) -> SamTeacher:
    return mobile_sam


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(6):
        write_rgb(tmp_path / "set" / f"{index}.png", forged(index)[0])
    return tmp_path / "set"


class SlowReading:
    """Read pictures normally, except that reading one file blocks until `released` is set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started, self.released = threading.Event(), threading.Event()

    def __call__(self, path: Path) -> RGB:
        if path == self.path:
            self.started.set()
            assert self.released.wait(PATIENCE)
        return read_rgb(path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    @contextmanager
    def reading(path: Path, want: Callable[[], None]) -> Iterator[None]:
        """Keep the worker reading the picture, after `want` requests it, until the end of the block."""
        read = SlowReading(path)
        monkeypatch.setattr(embedding_worker, "read_rgb", read)
        want()
        assert read.started.wait(PATIENCE)
        try:
            yield
        finally:
            read.released.set()

    return reading


@pytest.fixture
def worker(folder: Path, teacher: SamTeacher) -> Iterator[EmbeddingWorker]:
    made = EmbeddingWorker(find_pictures([folder], folder.parent / "boxes.json"), teacher)
    yield made
    made.close()


class BackgroundCall(threading.Thread):
    """A call in its own thread, as the server makes it; `answer` is its result or its exception."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.ask, self.answer = ask, None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self.ask()
        except Exception as error:
            self.answer = error  # type: ignore[assignment]

    def wait(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive(), "the call does not return"
        return self.answer


def test_pictures_are_embedded_ahead_and_damage_is_reported(folder: Path, worker: EmbeddingWorker) -> None:
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:300])
    worker.want(["0.png", "1.png", "2.png"])
    call = BackgroundCall(lambda: worker.mask("2.png", BOX).mask)  # answered without moving to the front of the queue
    assert call.wait().shape == (64, 96) and worker.ready("0.png", 0.0) and worker.ready("1.png", 0.0)
    with pytest.raises(ImageError, match="damaged"):
        worker.mask("1.png", BOX)


def test_requests_for_an_abandoned_picture_are_superseded(folder: Path, worker: EmbeddingWorker, slow: Slow) -> None:
    with slow(folder / "0.png", lambda: worker.want(["0.png"])):
        left = [
            BackgroundCall(lambda: worker.mask("0.png", BOX)),
            BackgroundCall(lambda: worker.ready("0.png", PATIENCE)),
        ]
        deadline = time.monotonic() + PATIENCE
        while any(call.is_alive() for call in left) and time.monotonic() < deadline:
            worker.want(["2.png", "3.png"])  # repeated: the calls may not have been queued yet
            time.sleep(0.05)
        mask, ready = (call.wait() for call in left)
    assert isinstance(mask, Superseded) and ready is False
    assert worker.mask("2.png", BOX).mask.any()


@pytest.mark.slow
def test_pictures_of_two_tabs_are_both_embedded(worker: EmbeddingWorker) -> None:
    # no other test has pictures 4 and 5 embedded
    worker.want(["4.png"])
    worker.want(["5.png"])  # the other tab
    assert worker.ready("4.png", PATIENCE) and worker.ready("5.png", PATIENCE)


def test_mask_does_not_wait_for_reading_another_picture(folder: Path, worker: EmbeddingWorker, slow: Slow) -> None:
    assert worker.view("0.png").facts[1:] == (96, 64)
    worker.want(["0.png"])
    assert worker.ready("0.png", PATIENCE)
    with slow(folder / "1.png", lambda: worker.want(["0.png", "1.png"])):
        size = BackgroundCall(lambda: worker.view("0.png").facts[1:]).wait()
        mask = BackgroundCall(lambda: worker.mask("0.png", BOX).mask).wait()
    assert size == (96, 64) and np.any(mask)


def test_large_picture_is_shown_downscaled_with_a_full_size_mask(tmp_path: Path, teacher: SamTeacher) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(photo(5, 600, 300)).resize((3000, 1500)).save(tmp_path / "set/wide.jpg")
    worker = EmbeddingWorker(find_pictures([tmp_path / "set"], tmp_path / "boxes.json"), teacher)
    box = DrawnBox(box=(500, 250, 2000, 1250))
    assert worker.mask("wide.jpg", box).mask.shape == (512, 1024)
    assert worker.full_mask("wide.jpg", box).shape == (1500, 3000)
    worker.close()
