"""Verdicts, from the false-positive rates that a checkpoint's calibration supports.

A score is an *indication* above the operating point of the chosen sensitivity, and *inconclusive* between the point of
`INCONCLUSIVE_RATE` and that one; below it there is *no indication*. So the last word means the same whatever the
sensitivity is, and a higher one only turns inconclusive pictures into indications (our choice, as are the rates).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

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


@dataclass(frozen=True)
class Verdicts:
    """From a score to a word.

    Attributes:
        sensitivity: the one chosen.
        calibration: what the checkpoint keeps: the authentic "scores", from which every point is computed; only the
            "threshold" of `TARGET_FPR`, which leaves nothing inconclusive; or "none", which leaves everything so.
        indication: scores above it are an indication; None without calibration.
        inconclusive: scores above it are at least inconclusive; None where the scores are not kept.
        measured_fpr: share of the authentic calibration pictures above a lone threshold.
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
        """Why every verdict is inconclusive, None when they follow from the scores."""
        return NOT_CALIBRATED if self.indication is None else None

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of the operating points, as plain values, with `notes` for a person."""
        return {
            "sensitivity": self.sensitivity,
            "calibration": self.calibration,
            "indication": self.indication and _describe(self.indication, self.measured_fpr),
            "inconclusive": self.inconclusive and _describe(self.inconclusive),
            "notes": self._notes(),
        }

    def _notes(self) -> list[str]:
        point = self.indication
        if point is None:
            return [
                f"No false-positive rate is known, because {NOT_CALIBRATED}: every verdict is inconclusive. "
                "The scores still put the pictures in order. imltool model calibrate makes a calibrated checkpoint."
            ]
        notes = [f"A score above {point.threshold:.4f} is an indication (sensitivity {self.sensitivity})."]
        if self.inconclusive is None:
            notes.append(
                f"{_percent(self.measured_fpr or 0.0)} of the authentic calibration pictures were above it. This "
                "checkpoint does not keep their scores, so that nothing is inconclusive by its score."
            )
        else:
            if not point.supported:
                fewest = min(kind.pictures for kind in point.kinds)
                notes.append(
                    f"The calibration cannot support the {_percent(point.wanted_rate)} that this sensitivity asks for: "
                    f"it takes {pictures_needed(point.wanted_rate)} authentic pictures of each kind, and of one there "
                    f"are {fewest}. The highest authentic score is used instead."
                )
            notes.append(_promise(point))
            if self.inconclusive.threshold < point.threshold:
                notes.append(
                    f"A score above {self.inconclusive.threshold:.4f} is inconclusive. {_promise(self.inconclusive)}"
                )
        return [*notes, "Pictures of other kinds than the calibration's may be indicated more often."]


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
            f"checkpoint {header.name} keeps no authentic scores to compute sensitivity {sensitivity} from",
            "leave --sensitivity out, or give it some with imltool model calibrate",
        )
    if header.score_fpr is None:
        return Verdicts(sensitivity, "none")
    lone = OperatingPoint(header.score_threshold, TARGET_FPR, True, ())
    return Verdicts(sensitivity, "threshold", lone, measured_fpr=header.score_fpr)


def _describe(point: OperatingPoint, measured: float | None = None) -> dict[str, Any]:
    worst = point.worst if point.kinds else None
    return {
        "threshold": point.threshold,
        "wanted_rate": point.wanted_rate,
        "supported": point.supported,
        "rate": worst.rate if worst else measured,
        "interval": list(worst.interval) if worst else None,
        "kinds": [
            {
                "name": kind.name,
                "pictures": kind.pictures,
                "exceeding": kind.exceeding,
                "rate": kind.rate,
                "interval": list(kind.interval),
            }
            for kind in point.kinds
        ],
    }


def _promise(point: OperatingPoint) -> str:
    worst = point.worst
    low, high = worst.interval
    return (
        f"Of authentic pictures like the calibration's set {worst.name}, the worst here, {_percent(worst.rate)} are "
        f"expected above it ({100 * CONFIDENCE:.0f} % interval {_percent(low)} to {_percent(high)}, measured on "
        f"{worst.pictures})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
