"""Verdicts, from the false-positive rates that a checkpoint's calibration supports.

A score above the operating point of the chosen sensitivity is an *indication*. A score between that point and the point
of `INCONCLUSIVE_RATE` is *inconclusive*, and a lower one *no indication*. So *no indication* means the same at every
sensitivity, and a higher sensitivity only turns inconclusive pictures into indications (our choice, as are the rates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from imltool.config import Frozen
from imltool.errors import UsageError
from imltool.student.operating_points import CONFIDENCE, TARGET_FPR, OperatingPoint, operating_point, pictures_needed

if TYPE_CHECKING:
    from imltool.student.header import CheckpointHeader

NO_INDICATION: Final = "no indication"
INCONCLUSIVE: Final = "inconclusive"
INDICATION: Final = "indication"
Word = Literal["no indication", "inconclusive", "indication"]
WORDS: tuple[Word, ...] = get_args(Word)

Sensitivity = Literal["low", "medium", "high"]
SENSITIVITIES: tuple[Sensitivity, ...] = get_args(Sensitivity)
RATES: dict[Sensitivity, float] = {"low": 0.01, "medium": TARGET_FPR, "high": 0.10}
"""Share of authentic pictures that may become an indication, at most."""
INCONCLUSIVE_RATE = 0.20
"""Share of authentic pictures that may become inconclusive or an indication, at most."""
NOT_CALIBRATED = "the checkpoint is not calibrated"

Calibration = Literal["scores", "threshold", "none"]


class KindRecord(Frozen):
    """A `KindRate` in `run.json`."""

    name: str
    pictures: int
    exceeding: int
    rate: float
    interval: tuple[float, float]


class PointRecord(Frozen):
    """An `OperatingPoint` in `run.json`, with rate and interval of its worst kind, or a measured rate alone."""

    threshold: float
    wanted_rate: float
    supported: bool
    rate: float | None
    interval: tuple[float, float] | None
    kinds: tuple[KindRecord, ...]


class VerdictsRecord(Frozen):
    """`Verdicts` in `run.json`, with `notes` as sentences."""

    sensitivity: Sensitivity
    calibration: Calibration
    indication: PointRecord | None
    inconclusive: PointRecord | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Verdicts:
    """The mapping from scores to verdicts.

    Attributes:
        sensitivity: the one chosen.
        calibration: what the checkpoint holds: "scores" of authentic pictures, from which both points are computed;
            only the "threshold" of `TARGET_FPR`, with which nothing is inconclusive; or "none", with which everything
            is inconclusive.
        indication: scores above it are an indication; None without calibration.
        inconclusive: scores above it are at least inconclusive; None if the checkpoint holds no scores.
        measured_fpr: share of the authentic calibration pictures above the threshold, if it holds only that.
    """

    sensitivity: Sensitivity
    calibration: Calibration
    indication: OperatingPoint | None = None
    inconclusive: OperatingPoint | None = None
    measured_fpr: float | None = None

    def word(self, score: float) -> Word:
        """The verdict of an image score in [0,1]: one of `WORDS`."""
        if self.indication is None:
            return INCONCLUSIVE
        if score > self.indication.threshold:
            return INDICATION
        return INCONCLUSIVE if self.inconclusive and score > self.inconclusive.threshold else NO_INDICATION

    @property
    def reason(self) -> str | None:
        """Why every verdict is inconclusive; None when verdicts follow from the scores."""
        return NOT_CALIBRATED if self.indication is None else None

    def describe(self, more: Sequence[str] = ()) -> VerdictsRecord:
        """The operating points and notes for `run.json`, with further notes."""
        return VerdictsRecord(
            sensitivity=self.sensitivity,
            calibration=self.calibration,
            indication=self.indication and _describe(self.indication, self.measured_fpr),
            inconclusive=self.inconclusive and _describe(self.inconclusive),
            notes=(*self._notes(), *more),
        )

    def _notes(self) -> list[str]:
        point = self.indication
        if point is None:
            return [
                f"No false-positive rate is known, because {NOT_CALIBRATED}: every verdict is inconclusive. "
                "The scores still rank the pictures. imltool model calibrate makes a calibrated checkpoint."
            ]
        notes = [f"A score above {point.threshold:.4f} is an indication (sensitivity {self.sensitivity})."]
        if self.inconclusive is None:
            notes.append(
                f"{_percent(self.measured_fpr or 0.0)} of the authentic calibration pictures were above it. This "
                "checkpoint does not hold their scores, so no picture is inconclusive by its score."
            )
        else:
            if not point.supported:
                fewest = min(kind.pictures for kind in point.kinds)
                notes.append(
                    f"The calibration cannot support the {_percent(point.wanted_rate)} that this sensitivity asks for: "
                    f"this takes {pictures_needed(point.wanted_rate)} authentic pictures of each kind, and one kind "
                    f"has only {fewest}. The highest authentic score is used instead."
                )
            notes.append(_promise(point))
            if self.inconclusive.threshold < point.threshold:
                notes.append(
                    f"A score above {self.inconclusive.threshold:.4f} is inconclusive. {_promise(self.inconclusive)}"
                )
        return [*notes, "Pictures of other kinds than those of the calibration may get an indication more often."]


def choose_verdicts(header: CheckpointHeader, sensitivity: Sensitivity = "medium") -> Verdicts:
    """The verdicts of a checkpoint.

    Raises `UsageError` for an unknown sensitivity, and when the checkpoint does not distinguish it from "medium".
    """
    if sensitivity not in RATES:
        raise UsageError(f"unknown sensitivity {sensitivity!r}", f"choose from {', '.join(RATES)}")
    if header.authentic_scores:
        return Verdicts(
            sensitivity,
            "scores",
            operating_point(header.authentic_scores, RATES[sensitivity]),
            operating_point(header.authentic_scores, INCONCLUSIVE_RATE),
        )
    if sensitivity != "medium":
        raise UsageError(
            f"checkpoint {header.name} holds no authentic scores, from which sensitivity {sensitivity} is computed",
            "leave --sensitivity out, or calibrate it with imltool model calibrate",
        )
    if header.score_fpr is None:
        return Verdicts(sensitivity, "none")
    lone = OperatingPoint(header.score_threshold, TARGET_FPR, True, ())
    return Verdicts(sensitivity, "threshold", lone, measured_fpr=header.score_fpr)


def _describe(point: OperatingPoint, measured: float | None = None) -> PointRecord:
    worst = point.worst if point.kinds else None
    return PointRecord(
        threshold=point.threshold,
        wanted_rate=point.wanted_rate,
        supported=point.supported,
        rate=worst.rate if worst else measured,
        interval=worst.interval if worst else None,
        kinds=tuple(KindRecord.model_validate(kind, from_attributes=True) for kind in point.kinds),
    )


def _promise(point: OperatingPoint) -> str:
    worst = point.worst
    low, high = worst.interval
    return (
        f"{_percent(worst.rate)} of authentic pictures like those of the calibration set {worst.name}, which has the "
        f"highest rate, are expected above it ({100 * CONFIDENCE:.0f} % interval {_percent(low)} to {_percent(high)}, "
        f"measured on {worst.pictures})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
