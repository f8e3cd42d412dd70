"""What a scan is asked to do with each picture."""

from __future__ import annotations

from dataclasses import dataclass

from imltool.errors import UsageError
from imltool.scan.verdicts import Verdicts

LARGEST_BATCH = 1024
AUTO = "auto"


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


def read_batch(wanted: int | str) -> int | None:
    """Pictures to analyse at once, 1 to `LARGEST_BATCH`, from a number or its text; None for `AUTO`: to be probed.

    Raises `UsageError` for anything else.
    """
    if wanted == AUTO:
        return None
    try:
        batch = int(wanted)
    except ValueError:
        batch = 0
    if not 1 <= batch <= LARGEST_BATCH:
        raise UsageError(f"--batch {wanted}", f"give a number from 1 to {LARGEST_BATCH}, or {AUTO}")
    return batch
