"""The adapted student against the one it started from, on pictures that neither has learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imltool.config import Frozen
from imltool.data.folder import PLAIN
from imltool.data.masks import MaskRule, read_truth
from imltool.evaluation.bootstrap import mean_estimate
from imltool.evaluation.counts import count_pixels
from imltool.evaluation.metrics import f1
from imltool.inference.localizer import Localizer, image_score
from imltool.pictures.images import Map, read_rgb

GREATEST_LOSS = 0.02
"""Loss of mean F1 on known kinds, and rise of the false-alarm rate, above which an adaptation is not recommended."""
GREATEST_FALSE_ALARMS = 0.05


class Change(Frozen):
    """A mean over pictures before and after, the paired difference, and its 95 % interval (None for one picture)."""

    pictures: int
    before: float
    after: float
    difference: float
    interval: tuple[float, float] | None


class Comparison(Frozen):
    """What an adaptation changed.

    Attributes:
        new_f1: pixel F1 at 0.5 on held-out pictures of the new kind.
        new_flagged: share of them above the operating point.
        known_f1: pixel F1 on forgeries of known kinds; None without any, nor authentic pictures to make them from.
        false_alarms: share of authentic pictures above the operating point; None without any.
    """

    new_f1: Change
    new_flagged: Change
    known_f1: Change | None = None
    false_alarms: Change | None = None

    @property
    def recommended(self) -> bool:
        """Whether it is significantly better on the new kind, without a loss elsewhere that matters."""
        better = self.new_f1.interval is not None and self.new_f1.interval[0] > 0
        return better and not self.losses()

    def losses(self) -> list[str]:
        """What the adapted student does worse than before, in words."""
        against = []
        if self.known_f1 is not None and self.known_f1.difference < -GREATEST_LOSS:
            against.append(f"known kinds lose {-self.known_f1.difference:.3f} F1")
        alarms = self.false_alarms
        if alarms is not None and alarms.after > max(GREATEST_FALSE_ALARMS, alarms.before):
            against.append(f"{alarms.after:.0%} of authentic pictures are flagged, {alarms.before:.0%} before")
        return against

    def conclusion(self) -> str:
        """The conclusion for the user, one sentence."""
        change = self.new_f1
        shown = f"F1 {change.before:.3f} → {change.after:.3f} on {change.pictures} held-out pictures"
        if change.interval is not None:
            shown += f" (change {change.difference:+.3f}, 95 % {change.interval[0]:+.3f} to {change.interval[1]:+.3f})"
        if self.recommended:
            return f"The adapted student is better at the new kind: {shown}. Nothing else that was measured got worse."
        if change.interval is not None and change.interval[0] > 0:
            return f"The adapted student is better at the new kind, {shown}, but {' and '.join(self.losses())}."
        reasons = [f"an improvement is not shown: {shown}", *self.losses()]
        return f"Not recommended: {'; '.join(reasons)}. Keep the student before, or draw more boxes."


@dataclass(frozen=True)
class Case:
    """A picture and its label: a mask file, or None for an authentic picture; and the rule to read the mask."""

    image: Path
    mask: Path | None
    rule: MaskRule = PLAIN


def f1_of(probabilities: Map, case: Case) -> float:
    """Pixel F1 at 0.5 of a map, float32 [H,W] in [0,1], of a case with a mask."""
    assert case.mask is not None
    return float(f1(count_pixels(probabilities, read_truth(case.mask, case.rule, case.image))))


def compare(
    before: Localizer, after: Localizer, new: Sequence[Case], known: Sequence[Case], authentic: Sequence[Case]
) -> Iterator[Comparison | str]:
    """Measure both students on the same pictures; yields each picture's name, at the end the `Comparison`."""
    f1s: list[list[list[float]]] = []  # of each set, of each picture: before and after
    flagged: list[list[list[float]]] = []
    for cases in (new, known, authentic):
        f1s.append([])
        flagged.append([])
        for case in cases:
            rgb = read_rgb(case.image)
            maps = [student.maps([rgb])[0] for student in (before, after)]
            pairs = zip(maps, (before, after), strict=True)
            flagged[-1].append([float(image_score(found) > one.header.score_threshold) for found, one in pairs])
            if case.mask is not None:
                f1s[-1].append([f1_of(found, case) for found in maps])
            yield case.image.name
    yield Comparison(
        new_f1=_change(f1s[0]),
        new_flagged=_change(flagged[0]),
        known_f1=_change(f1s[1]) if known else None,
        false_alarms=_change(flagged[2]) if authentic else None,
    )


def _change(pairs: Sequence[Sequence[float]]) -> Change:
    """From (before, after) of each picture."""
    first, second = np.array(pairs).T
    difference, interval = mean_estimate(second - first, seed=0)
    return Change(
        pictures=len(first),
        before=float(first.mean()),
        after=float(second.mean()),
        difference=difference,
        interval=interval,
    )
