"""Events that a study reports while it runs, in addition to those of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imltool.evaluation import events
from imltool.evaluation.roles import Role


@dataclass(frozen=True)
class Run:
    """A row of the study and one of its seeds."""

    row: str
    seed: int

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


@dataclass(frozen=True)
class Trained:
    """An event of a run's training, see `training.loop`."""

    run: Run
    event: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """A run was measured on a set, and the result is in the journal."""

    run: Run
    set: str
    role: Role
    pixel_f1: float | None


Event = events.Event | Trained | Measured
