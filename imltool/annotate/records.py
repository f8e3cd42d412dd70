"""What the journals beside a boxes file say: every annotator's present word on every picture, its history, the time.

Each sitting appends to a journal of its own in `NAME.journal/` (for `NAME.json`), so that two servers never write into
one file; reading means joining them. Nothing is ever removed from a journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from imltool.annotate.states import Content, Sitting, Spent, State
from imltool.errors import DataError

UNDO_STEPS = 100
"""Changes of one picture that can be undone (our choice)."""

Key = tuple[str, str]
"""Annotator and picture."""

_ROW: TypeAdapter[Sitting | State | Spent] = TypeAdapter(Sitting | State | Spent)


def journal_folder(boxes: Path) -> Path:
    """Where the journals of a boxes file lie: `DIR/boxes.journal` for `DIR/boxes.json`."""
    return boxes.with_name(f"{boxes.stem}.journal")


@dataclass
class History:
    """The changes one annotator made to one picture; `present` is None before the first."""

    present: State | None = None
    past: list[Content] = field(default_factory=list)
    future: list[Content] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def revision(self) -> int:
        return self.present.revision if self.present else 0

    @property
    def content(self) -> Content:
        return self.present.content if self.present else Content()

    @property
    def judged(self) -> bool:
        """Whether the annotator came to a verdict; skipping is none."""
        return self.content.verdict not in (None, "skipped")

    def apply(self, state: State) -> None:
        """Take over a later state, and what can be undone and redone with it."""
        if state.action == "undo" and self.past:
            self.future.append(self.content)
            self.past.pop()
        elif state.action == "redo" and self.future:
            self.past.append(self.content)
            self.future.pop()
        elif state.action == "import":
            self.past, self.future = [], []
        else:
            self.past = [*self.past, self.content][-UNDO_STEPS:]
            self.future = []
        self.present = state

    def follows(self, state: State) -> bool:
        """Whether `state` is later than the present one. Two servers of one annotator may give one number twice."""
        return self.present is None or (state.revision, state.time) > (self.present.revision, self.present.time)


class Records:
    """The journals of a boxes file, read again as far as they have grown.

    Attributes:
        histories: by annotator and picture.
        sittings: first rows of the journals, in the order read.
        rows: how many rows were taken in.
    """

    def __init__(self, boxes: Path) -> None:
        self.folder = journal_folder(boxes)
        self.histories: dict[Key, History] = defaultdict(History)
        self.sittings: list[Sitting] = []
        self.rows = 0
        self._read: dict[Path, int] = {}

    def refresh(self) -> bool:
        """Take in the rows appended since the last call, by whomever; True when there were any.

        Raises `DataError` when a journal cannot be read or is damaged; the rows of all are then left for the next call.
        """
        rows: list[Sitting | State | Spent] = []
        read = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            grown, read[path] = self._grown(path)
            rows += grown
        self._read |= read
        self.add(rows)
        return bool(rows)

    def add(self, rows: Iterable[Sitting | State | Spent]) -> None:
        """Take in rows; states in the order of their revisions, whatever order they come in."""
        states = []
        for row in rows:
            self.rows += 1
            if isinstance(row, State):
                states.append(row)
            elif isinstance(row, Spent):
                self.histories[row.annotator, row.image].seconds += row.seconds
            else:
                self.sittings.append(row)
        for state in sorted(states, key=lambda state: (state.revision, state.time)):
            history = self.histories[state.annotator, state.image]
            if history.follows(state):
                history.apply(state)

    def _grown(self, path: Path) -> tuple[list[Sitting | State | Spent], int]:
        """The rows a journal has won, and the bytes read by then."""
        start = self._read.get(path, 0)
        try:
            if path.stat().st_size <= start:
                return [], start
            with path.open("rb") as handle:
                handle.seek(start)
                data = handle.read()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        whole = data[: data.rfind(b"\n") + 1]  # a torn last line: being written, or its writer was killed
        rows = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                rows.append(_ROW.validate_json(line))
            except ValidationError as error:
                where = f"{path} is damaged: line {number} after byte {start}"
                raise DataError(where, "move the file away; the other journals stay valid") from error
        return rows, start + len(whole)

    def by_picture(self) -> dict[str, list[State]]:
        """The present states of every picture that anyone said something about, the latest first."""
        found: dict[str, list[State]] = defaultdict(list)
        for (_, image), history in self.histories.items():
            if history.present and (history.content.verdict or history.content.boxes):
                found[image].append(history.present)
        for states in found.values():
            states.sort(key=lambda state: state.time, reverse=True)
        return dict(found)

    def seconds(self, annotator: str, image: str) -> float:
        """Seconds an annotator was at work on a picture."""
        history = self.histories.get((annotator, image))
        return history.seconds if history else 0.0
