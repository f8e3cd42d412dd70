"""What a scan is asked to do with each picture."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.scan.verdicts import Verdicts


@dataclass(frozen=True)
class ScanSettings:
    """The choices that a picture's row depends on, beside the checkpoint.

    Attributes:
        threshold: map values above it are tampered.
        verdicts: from a score to a word.
        stability: whether every picture is scored again under `stability.CHANGES`.
        companions: names of `companions.COMPANIONS` to draw.
        tiles: whether large pictures are seen in tiles too, see `imltool.student.tiles`.
    """

    threshold: float
    verdicts: Verdicts
    stability: bool = False
    companions: tuple[str, ...] = ()
    tiles: bool = False
