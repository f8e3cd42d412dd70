"""The journals beside a boxes file: every annotator's current annotation of every picture, its history, and times.

Each session appends to its own journal in `NAME.journal/` (for `NAME.json`), so that two servers never write to the
same file; readers merge them. Nothing is ever removed from a journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from imltool.config import Frozen
from imltool.data.rle import Rle
from imltool.errors import DataError
from imltool.journal import appended_lines

Verdict = Literal["tampered", "authentic", "unsure", "skipped"]
Origin = Literal["drawn", "suggested", "imported"]
Choice = Literal["mask", "box"]
Kind = Literal["spliced", "copied", "removed", "retouched", "text", "generated", "other"]
"""The kind of edit inside a box, as far as the annotator knows (our choice of categories)."""

LIMIT = 1_000_000.0
"""Limit of coordinates received from a browser; no picture is wider."""
MOST_BOXES = 500
"""Greatest number of boxes of a picture."""
Coordinate = Annotated[float, Field(ge=-LIMIT, le=LIMIT, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class Click(Frozen):
    """A point inside or outside of the edit (`inside`), in pixels of the upright picture."""

    x: Coordinate
    y: Coordinate
    inside: bool


class DrawnBox(Frozen):
    """One box.

    Attributes:
        box: XYXY in continuous pixels of the upright picture, of positive size.
        clicks: clicks that refine the teacher's mask.
        accepted: the label the person chose: the teacher's `mask`, the filled `box`, or None for neither.
        origin: `suggested` if it started as the student's box, however much it was changed, because suggestions bias.
        kind: the kind of edit, None if not given.
        comment: free text.
        mask: the accepted mask at the picture's size; present if and only if `accepted` is `mask`. Only the server
            sets it.
    """

    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    clicks: Annotated[tuple[Click, ...], Field(max_length=200)] = ()
    accepted: Choice | None = None
    origin: Origin = "drawn"
    kind: Kind | None = None
    comment: Annotated[str, Field(max_length=1000)] = ""
    mask: Rle | None = None

    @model_validator(mode="after")
    def _positive(self) -> DrawnBox:
        x1, y1, x2, y2 = self.box
        if x2 <= x1 or y2 <= y1:
            raise ValueError("a box needs a positive size")
        return self

    def same_prompt(self, other: DrawnBox) -> bool:
        """Whether a teacher would give the same mask for both."""
        return self.box == other.box and self.clicks == other.clicks


class Content(Frozen):
    """The annotation of a picture; `verdict` is None until the person has judged it (only imported boxes)."""

    verdict: Verdict | None = None
    boxes: Annotated[tuple[DrawnBox, ...], Field(max_length=MOST_BOXES)] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Content:
        if self.boxes and self.verdict == "authentic":
            raise ValueError("an authentic picture has no box")
        if not self.boxes and self.verdict == "tampered":
            raise ValueError("a tampered picture needs a box")
        return self


class State(Frozen):
    """A row of the journal that changes a picture's annotation.

    Attributes:
        annotator, image: the annotator and the picture.
        revision: number of this annotator's change of this picture, from 1.
        action: `change`, `undo`, `redo` or `import`.
        time: UTC, ISO 8601 with microseconds.
        sha256, width, height: of the picture when it was annotated.
        suggested: whether suggestions of the student had been shown before.
    """

    event: Literal["state"] = "state"
    annotator: str
    image: str
    revision: int = Field(ge=1)
    action: Literal["change", "undo", "redo", "import"]
    time: str
    sha256: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    suggested: bool = False
    content: Content


class Spent(Frozen):
    """A row of the journal that adds time: `seconds` that an annotator worked on a picture, without idle time."""

    event: Literal["time"] = "time"
    annotator: str
    image: str
    time: str
    seconds: Seconds


class SessionStart(Frozen):
    """The first row of every journal: annotator, teacher and folder."""

    event: Literal["session"] = "session"
    annotator: str
    time: str
    tool_version: str
    root: str
    teacher: str
    weights_sha256: str | None
    suggestions: str | None
    """SHA-256 of the student that makes suggestions; None if they are off."""


UNDO_STEPS = 100
"""Number of changes of a picture that can be undone (our choice)."""

Key = tuple[str, str]
"""Annotator and picture."""

_ROW: TypeAdapter[SessionStart | State | Spent] = TypeAdapter(SessionStart | State | Spent)


def journal_folder(boxes: Path) -> Path:
    """Folder of the journals of a boxes file: `DIR/boxes.journal` for `DIR/boxes.json`."""
    return boxes.with_name(f"{boxes.stem}.journal")


def is_judged(verdict: Verdict | None) -> bool:
    """Whether the annotator has given a verdict; a skipped picture does not have one."""
    return verdict not in (None, "skipped")


@dataclass
class History:
    """The changes of a picture by one annotator; `present` is None before the first."""

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
        """See `is_judged`."""
        return is_judged(self.content.verdict)

    def apply(self, state: State) -> None:
        """Apply a later state, and update the states for undo and redo."""
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
        """Whether `state` is later than the present one. Two servers of one annotator may use the same number."""
        return self.present is None or (state.revision, state.time) > (self.present.revision, self.present.time)


class Records:
    """The journals of a boxes file; `refresh` reads new rows.

    Attributes:
        histories: histories by annotator and picture.
        sessions: first rows of the journals, in the order in which they were read.
        rows: number of rows read.
    """

    def __init__(self, boxes: Path) -> None:
        self.folder = journal_folder(boxes)
        self.histories: dict[Key, History] = defaultdict(History)
        self.sessions: list[SessionStart] = []
        self.rows = 0
        self._read: dict[Path, int] = {}

    def refresh(self) -> bool:
        """Read the rows that any session has appended since the last call; returns True if there were any.

        Raises `DataError` when a journal cannot be read or is damaged; all new rows are then left for the next call.
        """
        rows: list[SessionStart | State | Spent] = []
        read = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            grown, read[path] = self._grown(path)
            rows += grown
        self._read |= read
        self.add(rows)
        return bool(rows)

    def add(self, rows: Iterable[SessionStart | State | Spent]) -> None:
        """Add rows in any order; states are applied in the order of their revisions."""
        states = []
        for row in rows:
            self.rows += 1
            if isinstance(row, State):
                states.append(row)
            elif isinstance(row, Spent):
                self.histories[row.annotator, row.image].seconds += row.seconds
            else:
                self.sessions.append(row)
        for state in sorted(states, key=lambda state: (state.revision, state.time)):
            history = self.histories[state.annotator, state.image]
            if history.follows(state):
                history.apply(state)

    def _grown(self, path: Path) -> tuple[list[SessionStart | State | Spent], int]:
        """The rows added to a journal, and the total of bytes read from it."""
        start = self._read.get(path, 0)
        data = appended_lines(path, start)
        rows = []
        for number, line in enumerate(data.splitlines(), 1):
            try:
                rows.append(_ROW.validate_json(line))
            except ValidationError as error:
                where = f"{path} is damaged: line {number} after byte {start}"
                raise DataError(where, "move the file away; the other journals stay valid") from error
        return rows, start + len(data)

    def by_picture(self) -> dict[str, list[State]]:
        """The present states of every annotated picture, the latest first."""
        found: dict[str, list[State]] = defaultdict(list)
        for (_, image), history in self.histories.items():
            if history.present and (history.content.verdict or history.content.boxes):
                found[image].append(history.present)
        for states in found.values():
            states.sort(key=lambda state: state.time, reverse=True)
        return dict(found)

    def seconds(self, annotator: str, image: str) -> float:
        """Seconds that an annotator worked on a picture."""
        history = self.histories.get((annotator, image))
        return history.seconds if history else 0.0
