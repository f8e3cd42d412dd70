"""The worker that embeds pictures: what waits for what, with the real teacher."""

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
"""Seconds anything here may take on a busy machine; without a fault an embedding is a second."""


@pytest.fixture(scope="module")
def teacher(mobile_sam: SamTeacher) -> SamTeacher:
    return mobile_sam


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(6):
        write_rgb(tmp_path / "set" / f"{index}.png", forged(index)[0])
    return tmp_path / "set"


class SlowReading:
    """Reading pictures as always, except that one file is not read before it is `released`."""

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
        """A picture that the worker, once it is wanted, keeps reading until the end of the block."""
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


class Asking(threading.Thread):
    """A question in a thread of its own, as the server asks; `answer` is what came, or the error."""

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
        assert not self.is_alive(), "it waits for ever"
        return self.answer


def test_pictures_are_embedded_ahead_and_a_damaged_one_is_told(folder: Path, worker: EmbeddingWorker) -> None:
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:300])
    worker.want(["0.png", "1.png", "2.png"])
    asking = Asking(lambda: worker.mask("2.png", BOX).mask)  # its turn comes without moving to the front
    assert asking.wait().shape == (64, 96) and worker.ready("0.png", 0.0) and worker.ready("1.png", 0.0)
    with pytest.raises(ImageError, match="damaged"):
        worker.mask("1.png", BOX)


def test_nobody_waits_for_a_picture_that_was_left(folder: Path, worker: EmbeddingWorker, slow: Slow) -> None:
    with slow(folder / "0.png", lambda: worker.want(["0.png"])):
        left = [Asking(lambda: worker.mask("0.png", BOX)), Asking(lambda: worker.ready("0.png", PATIENCE))]
        deadline = time.monotonic() + PATIENCE
        while any(asking.is_alive() for asking in left) and time.monotonic() < deadline:
            worker.want(["2.png", "3.png"])  # again: the questions may not have been put yet
            time.sleep(0.05)
        mask, ready = (asking.wait() for asking in left)
    assert isinstance(mask, Superseded) and ready is False
    assert worker.mask("2.png", BOX).mask.any()


@pytest.mark.slow
def test_a_second_tab_gets_its_turn(worker: EmbeddingWorker) -> None:
    # no other test has pictures 4 and 5 embedded
    worker.want(["4.png"])
    worker.want(["5.png"])  # the other tab
    assert worker.ready("4.png", PATIENCE) and worker.ready("5.png", PATIENCE)


def test_no_mask_waits_while_another_picture_is_read(folder: Path, worker: EmbeddingWorker, slow: Slow) -> None:
    assert worker.view("0.png").facts[1:] == (96, 64)
    worker.want(["0.png"])
    assert worker.ready("0.png", PATIENCE)
    with slow(folder / "1.png", lambda: worker.want(["0.png", "1.png"])):
        size = Asking(lambda: worker.view("0.png").facts[1:]).wait()
        mask = Asking(lambda: worker.mask("0.png", BOX).mask).wait()
    assert size == (96, 64) and np.any(mask)


def test_a_large_picture_is_shown_small_and_its_full_mask_is_not(tmp_path: Path, teacher: SamTeacher) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(photo(5, 600, 300)).resize((3000, 1500)).save(tmp_path / "set/wide.jpg")
    worker = EmbeddingWorker(find_pictures([tmp_path / "set"], tmp_path / "boxes.json"), teacher)
    box = DrawnBox(box=(500, 250, 2000, 1250))
    assert worker.mask("wide.jpg", box).mask.shape == (512, 1024)
    assert worker.full_mask("wide.jpg", box).shape == (1500, 3000)
    worker.close()
