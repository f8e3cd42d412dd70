"""Save annotations: a change is in the journal before it is confirmed, and in the boxes file shortly after.

The page sends the revision it has changed. If another tab or server has changed the picture since, the change is
refused with the newer state, so that no unseen change is overwritten.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from imltool.annotate.coco import boxes_file, write_results
from imltool.annotate.pictures import PictureFolder
from imltool.annotate.records import (
    Content,
    History,
    Records,
    SessionStart,
    Spent,
    State,
    Verdict,
    journal_folder,
)
from imltool.errors import DataError, OutputError, ResumeError
from imltool.files import folder_lock
from imltool.journal import Journal, utc_now

OTHERS_EVERY = 2.0
"""Seconds between reads of other servers' journals."""
SETTLING = 0.25
"""Seconds from a change to writing the boxes file, in which a drag, its mask and its time report are collected."""


class Conflict(Exception):
    """The picture was changed elsewhere after the state from which a change started."""


class NothingLeft(Exception):
    """Nothing is left to undo or redo."""


@dataclass(frozen=True)
class Progress:
    """How far an annotator is.

    Attributes:
        done: number of judged pictures.
        median_seconds: per judged picture; None without a time.
        fault: of the last attempt to write the boxes file.
        rows: number of rows read so far: of two values, the one with more rows is later.
    """

    done: int
    median_seconds: float | None
    fault: str | None
    rows: int


@dataclass(frozen=True)
class Overview:
    """An annotator's verdicts by picture (None: boxes not yet judged), numbers of boxes, and progress."""

    verdicts: dict[str, Verdict | None]
    boxes: dict[str, int]
    progress: Progress


class AnnotationStore:
    """An annotator's session. Thread-safe.

    Opening it reads the journals of all earlier and present sessions and rewrites the boxes file.

    Args:
        boxes: the COCO file to write.
        session: annotator, teacher and folder.

    Raises `ResumeError` when `boxes` is not a file of this command or is for other pictures, `DataError` when a journal
    is damaged, `OutputError` when a file cannot be written.
    """

    def __init__(self, boxes: Path, pictures: PictureFolder, session: SessionStart) -> None:
        self.boxes, self.pictures, self.annotator = boxes, pictures, session.annotator
        self._records = Records(boxes)
        self._lock = threading.RLock()
        self._changed = threading.Event()
        self._closed = False
        self.fault: str | None = None
        if boxes.exists() and not journal_folder(boxes).is_dir():
            raise ResumeError(
                f"{boxes} was not made by imltool annotate", "correct it with --boxes, and give another --out"
            )
        self._records.refresh()
        self._check_root()
        stamp = re.sub(r"[^0-9A-Za-z]+", "", session.time)
        who = re.sub(r"[^0-9A-Za-z]+", "-", session.annotator).strip("-")[:40] or "annotator"
        # the random part distinguishes sessions of several machines on a shared drive
        self._path = journal_folder(boxes) / f"{stamp}-{who}-{secrets.token_hex(3)}.jsonl"
        self._journal: Journal | None = None
        self._append(session)
        write_results(boxes, boxes_file(self._records), pictures.root)
        self._writer = threading.Thread(target=self._write_results, name="imltool-annotate-writer", daemon=True)
        self._writer.start()

    def _check_root(self) -> None:
        """Check that names still refer to the same pictures, as the folder may have been moved."""
        root = str(self.pictures.root)
        earlier = [session.root for session in self._records.sessions]
        if not earlier or root in earlier:
            return
        for image in self._records.by_picture():
            if not (self.pictures.root / image).is_file():
                raise ResumeError(
                    f"{self.boxes} holds annotations of pictures in {earlier[-1]}, and {root} has no {image}",
                    "give the same PATH as before, or another --out",
                )

    def _alone(self) -> AbstractContextManager[None]:
        """Keep other servers from saving between reading the newest revision and writing the next."""
        return folder_lock(journal_folder(self.boxes), wait=True)

    def _append(self, row: State | Spent | SessionStart) -> None:
        try:
            if self._journal is None:
                self._journal = Journal(self._path)  # drops a partial line left by a full disk
            self._journal.append(row.model_dump(mode="json"))
            self._journal.rows.clear()
        except OutputError:
            if self._journal is not None:
                self._journal.close()
            self._journal = None
            raise
        self._refresh()

    def _refresh(self) -> None:
        if self._records.refresh():
            self._changed.set()

    def history(self, image: str) -> History:
        """This annotator's history of a picture, including changes by other servers; callers must not change it."""
        with self._lock:
            self._refresh()
            return self._records.histories[self.annotator, image]

    def save(
        self,
        image: str,
        base: int,
        content: Content,
        facts: tuple[str, int, int],
        suggested: bool = False,
        action: Literal["change", "import"] = "change",
    ) -> State:
        """Journal a change; it is on disk when this returns.

        Args:
            base: revision from which the change started.
            facts: SHA-256, width and height of the annotated picture.
            suggested: whether suggestions were shown; once True, it stays True.

        Raises `Conflict` when `base` is not the present revision, `OutputError` when it cannot be written.
        """
        with self._lock, self._alone():
            history = self.history(image)
            if base != history.revision:
                raise Conflict
            return self._record(image, history, content, facts, suggested, action)

    def step(self, image: str, base: int, direction: Literal["undo", "redo"], facts: tuple[str, int, int]) -> State:
        """Undo or redo the last change. Raises `Conflict` as `save` does, `NothingLeft`, `OutputError`."""
        with self._lock, self._alone():
            history = self.history(image)
            if base != history.revision:
                raise Conflict
            waiting = history.past if direction == "undo" else history.future
            if not waiting:
                raise NothingLeft
            return self._record(image, history, waiting[-1], facts, False, direction)

    def _record(
        self,
        image: str,
        history: History,
        content: Content,
        facts: tuple[str, int, int],
        suggested: bool,
        action: Literal["change", "undo", "redo", "import"],
    ) -> State:
        sha256, width, height = facts
        state = State(
            annotator=self.annotator,
            image=image,
            revision=history.revision + 1,
            action=action,
            time=utc_now(),
            sha256=sha256,
            width=width,
            height=height,
            suggested=suggested or bool(history.present and history.present.suggested),
            content=content,
        )
        self._append(state)
        return state

    def spend(self, image: str, seconds: float) -> None:
        """Add working time on a picture. Raises `OutputError`."""
        with self._lock:
            self._append(Spent(annotator=self.annotator, image=image, time=utc_now(), seconds=round(seconds, 2)))

    def overview(self) -> Overview:
        """This annotator's annotations, including changes by other servers."""
        with self._lock:
            self._refresh()
            rows = self._records.rows
            wanted = set(self.pictures.names)
            mine = {
                image: history
                for (annotator, image), history in self._records.histories.items()
                if annotator == self.annotator and image in wanted and history.present
            }
        judged = [history for history in mine.values() if history.judged]
        seconds = [history.seconds for history in judged if history.seconds]
        return Overview(
            {image: history.content.verdict for image, history in mine.items()},
            {image: len(history.content.boxes) for image, history in mine.items()},
            Progress(len(judged), round(median(seconds), 1) if seconds else None, self.fault, rows),
        )

    def _write_results(self) -> None:
        while not self._closed:
            if self._changed.wait(OTHERS_EVERY):
                time.sleep(SETTLING)
            try:
                with self._lock:
                    self._refresh()
                    if self._closed or not self._changed.is_set():
                        continue
                    self._changed.clear()
                    content = boxes_file(self._records)
                write_results(self.boxes, content, self.pictures.root)
                self.fault = None
            except (OutputError, DataError) as error:  # shown in the page; the journals are complete
                self.fault = str(error)
                self._changed.set()  # tried again

    def close(self) -> None:
        """Write the boxes file for the last time. Raises `OutputError`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._journal is not None:
                self._journal.close()
        self._changed.set()
        self._writer.join()  # it may still be writing an older state
        with self._lock:
            self._records.refresh()
            while True:
                write_results(self.boxes, boxes_file(self._records), self.pictures.root)
                if not self._records.refresh():  # otherwise another server wrote meanwhile, and may have ended
                    break

    def __enter__(self) -> AnnotationStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
