"""Whether a verdict holds after mild changes that pictures undergo in transit: another JPEG save, slight scaling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from imltool.pictures.images import RGB
from imltool.pictures.pixels import jpeg, resize, scaled
from imltool.scan.results import ChangedScore
from imltool.scan.verdicts import INCONCLUSIVE, INDICATION, Verdicts, Word


def _save(rgb: RGB, quality: int) -> RGB:
    return jpeg(rgb, quality, subsampling=2)


def _scale(rgb: RGB, factor: float) -> RGB:
    return resize(rgb, scaled(rgb.shape, factor))


CHANGES: dict[str, Callable[[RGB], RGB]] = {
    "jpeg 95": partial(_save, quality=95),
    "jpeg 85": partial(_save, quality=85),
    "resize 0.9": partial(_scale, factor=0.9),
    "resize 1.1": partial(_scale, factor=1.1),
}
"""Name → change of a uint8 RGB [H,W,3] (our choice): JPEG by Pillow, 4:2:0; both sides scaled, by area averaging to
shrink and bicubic to enlarge. Raises OSError when an encoder refuses a picture."""


@dataclass(frozen=True)
class Settled:
    """The verdict of a picture, the reason if it is inconclusive despite its score, and its scores after changes."""

    verdict: Word
    reason: str | None
    stability: tuple[ChangedScore, ...] | None


def settle(verdicts: Verdicts, score: float, changed: Mapping[str, float | None]) -> Settled:
    """The verdict of a picture that takes its scores after `CHANGES` into account.

    A verdict flips when a change removes an indication or causes one; it is then inconclusive, or stays so, and the
    reason names the change.

    Args:
        score: of the unchanged picture, in [0,1].
        changed: the score after each change, None where it could not be scored; empty when not requested.
    """
    word, reason = verdicts.word(score), verdicts.reason
    words = {name: None if value is None else verdicts.word(value) for name, value in changed.items()}
    flipped = [name for name, other in words.items() if other and (other == INDICATION) != (word == INDICATION)]
    if flipped:
        flips = "the indication is lost" if word == INDICATION else "it becomes an indication"
        word, reason = INCONCLUSIVE, f"unstable: {flips} under {', '.join(flipped)}"
    scores = tuple(ChangedScore(change=name, score=value, verdict=words[name]) for name, value in changed.items())
    return Settled(word, reason, scores or None)
