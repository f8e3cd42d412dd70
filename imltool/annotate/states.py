"""What a person has said about a picture: one immutable state for each change, checked wherever it comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imltool.data.rle import Rle

Verdict = Literal["tampered", "authentic", "unsure", "skipped"]
Origin = Literal["drawn", "suggested", "imported"]
Choice = Literal["mask", "box"]

LIMIT = 1_000_000.0
"""No picture is wider: bounds coordinates that come from a browser."""
MOST_BOXES = 500
"""Boxes of one picture, at most."""
Coordinate = Annotated[float, Field(ge=-LIMIT, le=LIMIT, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Click(_Strict):
    """A place that belongs to the edit (`inside`) or does not, in pixels of the upright picture."""

    x: Coordinate
    y: Coordinate
    inside: bool


class DrawnBox(_Strict):
    """One box.

    Attributes:
        box: XYXY in continuous pixels of the upright picture, positive size.
        clicks: they refine the teacher's mask.
        accepted: the label the person chose: the teacher's `mask`, the filled `box`, None for neither.
        origin: `suggested` when it was the student's box, however much it was changed since: suggestions bias.
        mask: what was accepted, at the picture's size; present exactly when `accepted` is `mask`. Only the server
            sets it.
    """

    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    clicks: Annotated[tuple[Click, ...], Field(max_length=200)] = ()
    accepted: Choice | None = None
    origin: Origin = "drawn"
    mask: Rle | None = None

    @model_validator(mode="after")
    def _positive(self) -> DrawnBox:
        x1, y1, x2, y2 = self.box
        if x2 <= x1 or y2 <= y1:
            raise ValueError("a box needs a positive size")
        return self

    def same_prompt(self, other: DrawnBox) -> bool:
        """Whether a teacher would answer both with the same mask."""
        return self.box == other.box and self.clicks == other.clicks


class Content(_Strict):
    """What is said about a picture; `verdict` is None until the person has judged it (imported boxes alone)."""

    verdict: Verdict | None = None
    boxes: Annotated[tuple[DrawnBox, ...], Field(max_length=MOST_BOXES)] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Content:
        if self.boxes and self.verdict == "authentic":
            raise ValueError("an authentic picture has no box")
        if not self.boxes and self.verdict == "tampered":
            raise ValueError("a tampered picture needs a box")
        return self


class State(_Strict):
    """One row of the journal that changes a picture.

    Attributes:
        annotator, image: whose word on which picture.
        revision: counts this annotator's changes of this picture from 1.
        action: `change`, `undo`, `redo` or `import`.
        time: UTC, ISO 8601 with microseconds.
        sha256, width, height: of the picture as it was seen.
        suggested: whether suggestions of the student had been shown for it by then.
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


class Spent(_Strict):
    """One row of the journal that adds time: `seconds` an annotator was at work on a picture, idle time left out."""

    event: Literal["time"] = "time"
    annotator: str
    image: str
    time: str
    seconds: Seconds


class Sitting(_Strict):
    """The first row of every journal: who, with what, on which folder."""

    event: Literal["sitting"] = "sitting"
    annotator: str
    time: str
    tool_version: str
    root: str
    teacher: str
    weights_sha256: str | None
    suggestions: str | None
    """SHA-256 of the student whose suggestions can be shown; None when they are off."""
