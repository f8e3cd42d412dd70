"""What an evaluation reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.evaluation.rows import ImageRow


@dataclass(frozen=True)
class Started:
    """A stretch of work begins; `total` `Advanced` or `Scored` events follow."""

    what: str
    total: int


@dataclass(frozen=True)
class Advanced:
    """One step of the work that was started last is done."""


@dataclass(frozen=True)
class Scored:
    """One method has scored one picture, or has failed to."""

    method: str
    set: str
    row: ImageRow


@dataclass(frozen=True)
class Said:
    """A message for the user, one line; an error loses a part of the work, not all of it."""

    text: str
    warning: bool = False
    error: bool = False


Event = Started | Advanced | Scored | Said
