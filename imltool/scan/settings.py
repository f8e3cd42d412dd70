"""What a scan is asked to do with each picture."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.errors import UsageError
from imltool.scan.verdicts import Verdicts

LARGEST_BATCH = 1024


@dataclass(frozen=True)
class ScanSettings:
    """The choices that a picture's row depends on, beside the checkpoint.

    Attributes:
        threshold: map values above it are tampered.
        verdicts: from a score to a word.
        stability: whether every picture is scored again under `stability.CHANGES`.
        companions: names of `companions.COMPANIONS` to draw.
        tiles: whether large pictures are seen in tiles too, see `imltool.inference.tiles`.
    """

    threshold: float
    verdicts: Verdicts
    stability: bool = False
    companions: tuple[str, ...] = ()
    tiles: bool = False


def require_batch(batch: int) -> None:
    """Raises `UsageError` for a batch size outside 1 to `LARGEST_BATCH`."""
    if not isinstance(batch, int) or not 1 <= batch <= LARGEST_BATCH:
        raise UsageError(f"batch {batch}", f"give a number from 1 to {LARGEST_BATCH}")
