"""Events that an evaluation reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.evaluation.rows import ImageRow


@dataclass(frozen=True)
class Started:
    """A stage of work begins; `total` `Advanced` or `Scored` events follow."""

    what: str
    total: int


@dataclass(frozen=True)
class Advanced:
    """A step of the current stage is done."""


@dataclass(frozen=True)
class Scored:
    """A method has scored a picture, or has failed to."""

    method: str
    set: str
    row: ImageRow


@dataclass(frozen=True)
class Said:
    """A message for the user, one line; an error means that a part of the work is lost, not all of it."""

    text: str
    warning: bool = False
    error: bool = False


Event = Started | Advanced | Scored | Said
