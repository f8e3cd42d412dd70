"""Whether a verdict outlives what happens to pictures on their way: saved once more, or scaled a little."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from imltool.pictures.images import RGB
from imltool.pictures.pixels import jpeg, resize, scaled
from imltool.scan.verdicts import INCONCLUSIVE, INDICATION, Verdicts


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
"""Name → change of a uint8 RGB [H,W,3] (our choice): JPEG by Pillow, 4:2:0; both sides scaled, by area averaging where
it shrinks and bicubic where it grows. OSError where an encoder refuses a picture."""


def settle(verdicts: Verdicts, score: float, changed: Mapping[str, float | None]) -> dict[str, Any]:
    """The verdict of a picture in the light of its scores after `CHANGES`.

    A verdict flips when a change takes an indication away or brings one about; it is then inconclusive.

    Args:
        score: of the picture as it is, in [0,1].
        changed: the score after each change, None where it could not be had; empty when none was asked for.

    Returns `verdict`, `verdict_reason` and `stability` of the row.
    """
    word, reason = verdicts.word(score), verdicts.reason
    words = {name: None if value is None else verdicts.word(value) for name, value in changed.items()}
    flipped = [name for name, other in words.items() if other and (other == INDICATION) != (word == INDICATION)]
    if flipped and word != INCONCLUSIVE:
        flips = "the indication is lost" if word == INDICATION else "it becomes an indication"
        word, reason = INCONCLUSIVE, f"unstable: {flips} under {', '.join(flipped)}"
    told = [{"change": name, "score": value, "verdict": words[name]} for name, value in changed.items()]
    return {"verdict": word, "verdict_reason": reason, "stability": told or None}
