"""How to interpret a score: the share of authentic pictures that score higher, and the share of pictures with such a
score that were edited.

Both come from the checkpoint's calibration, which `run.json` holds. A score is not the probability that a picture was
edited: that also depends on how common edited pictures are at its source (the base rate).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imltool.student.header import ReliabilityBin
from imltool.student.operating_points import KindRate

LONGEST_SCALE = 200.0
"""End of the bar: one in this many authentic pictures scores higher (our choice)."""
TICKS = (5, 20, 100)
"""Marks of the bar: one in this many authentic pictures scores higher."""


@dataclass(frozen=True)
class ScoreReading:
    """The calibration's interpretation of one score.

    Attributes:
        authentic: the kind of authentic pictures with the largest share that scores higher; None without calibration.
        bin: the score's bin of the reliability curve: (lowest score, highest score, pictures, edited ones); None
            without one.
        base_rate: share of all calibration pictures that were edited; None without a curve.
    """

    authentic: KindRate | None
    bin: tuple[float, float, int, int] | None
    base_rate: float | None = None

    @property
    def position(self) -> float | None:
        """Place on the bar, 0 to 1; None without calibration."""
        return None if self.authentic is None else scale_position(1 / self.authentic.rate)

    @property
    def one_in(self) -> str:
        """The rate in short: `about 1 in 20 authentic pictures scores higher`; "" without calibration."""
        if self.authentic is None:
            return ""
        if self.authentic.exceeding == 0:
            return f"fewer than 1 in {self.authentic.pictures} authentic pictures score higher"
        share = 1 / self.authentic.rate
        if share < 1.5:
            return "most authentic pictures score higher"
        return f"about 1 in {share:.0f} authentic pictures scores higher"

    @property
    def rarity(self) -> str:
        """The same for a column: `1 in 20`, `< 1 in 62`, `common`; "" without calibration."""
        if self.authentic is None:
            return ""
        if self.authentic.exceeding == 0:
            return f"< 1 in {self.authentic.pictures}"
        share = 1 / self.authentic.rate
        return "common" if share < 1.5 else f"1 in {share:.0f}"

    def sentences(self) -> list[str]:
        """Everything that the calibration says about the score, one sentence each."""
        said = []
        if self.authentic is not None:
            low, high = self.authentic.interval
            said.append(
                f"{self.authentic.exceeding} of the {self.authentic.pictures} authentic calibration pictures of the "
                f"set {self.authentic.name} scored higher: about {_percent(self.authentic.rate)} of such pictures "
                f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)."
            )
        if self.bin is not None and self.base_rate is not None:
            lowest, highest, pictures, tampered = self.bin
            said.append(
                f"Of {pictures} calibration pictures that scored from {lowest:.3f} to {highest:.3f}, {tampered} were "
                f"edited. Of all calibration pictures {_percent(self.base_rate)} were: where edits are rarer, fewer "
                "of the pictures that score this high are edited."
            )
        return said or ["The checkpoint is not calibrated: the score only puts pictures in order."]


def _percent(share: float) -> str:
    """A share without decimals, small ones with one: a rate that is not 0 is never given as 0 %."""
    return "less than 0.1 %" if 0 < share < 0.001 else f"{100 * share:.{1 if share < 0.02 else 0}f} %"


class ScoreScale:
    """Reads scores by a calibration.

    Args:
        authentic_scores: image scores of authentic pictures by set name.
        reliability: the reliability curve.
    """

    def __init__(self, authentic_scores: Mapping[str, Sequence[float]], reliability: Sequence[ReliabilityBin]) -> None:
        self._authentic, self._bins = authentic_scores, reliability
        self.base_rate = (
            sum(part.tampered for part in self._bins) / pictures
            if (pictures := sum(part.pictures for part in self._bins))
            else None
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether scores of authentic pictures are known."""
        return any(self._authentic.values())

    def read(self, score: float) -> ScoreReading:
        """The reading of an image score in [0,1]."""
        kinds = [
            KindRate(name, len(scores), sum(other > score for other in scores))
            for name, scores in self._authentic.items()
            if scores
        ]
        inside = [part for part in self._bins if part.low <= score <= part.high]
        return ScoreReading(
            max(kinds, key=lambda kind: kind.rate, default=None),
            (inside[-1].low, inside[-1].high, inside[-1].pictures, inside[-1].tampered) if inside else None,
            self.base_rate,
        )


def scale_position(one_in: float) -> float:
    """Place on the bar, 0 to 1, of a score that one of `one_in` authentic pictures exceeds, on a logarithmic scale."""
    return min(1.0, max(0.0, math.log(max(one_in, 1.0)) / math.log(LONGEST_SCALE)))
