"""Settings of a scan that apply to each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imltool.errors import UsageError
from imltool.scan.companions import choose_companions
from imltool.scan.verdicts import Sensitivity, Verdicts, choose_verdicts
from imltool.student.header import CheckpointHeader

BATCH = 8
LARGEST_BATCH = 1024


@dataclass(frozen=True)
class ScanSettings:
    """The settings that determine a picture's row, together with the checkpoint.

    Attributes:
        threshold: map values above it are tampered.
        verdicts: the mapping from scores to verdicts.
        stability: whether every picture is scored again after each of `stability.CHANGES`.
        companions: names of `companions.COMPANIONS` to draw.
        tiles: whether large pictures are also predicted in tiles, see `imltool.inference.tiles`.
    """

    threshold: float
    verdicts: Verdicts
    stability: bool = False
    companions: tuple[str, ...] = ()
    tiles: bool = False

    @classmethod
    def of(
        cls,
        header: CheckpointHeader,
        *,
        threshold: float | None = None,
        sensitivity: Sensitivity = "medium",
        stability: bool = False,
        companions: Sequence[str] = (),
        tiles: bool = False,
    ) -> ScanSettings:
        """The settings of a scan with a checkpoint.

        Args:
            threshold: in [0,1]; None takes the checkpoint's `pixel_threshold`.
            sensitivity: "low", "medium" or "high", see `imltool.scan.verdicts`.

        Raises `UsageError` for values out of range, and for a sensitivity that the checkpoint has no scores for.
        """
        if not 0.0 <= (threshold or 0.0) <= 1.0:
            raise UsageError(f"threshold {threshold} is out of range", "give one in [0,1]")
        return cls(
            header.pixel_threshold if threshold is None else threshold,
            choose_verdicts(header, sensitivity),
            stability,
            choose_companions(companions),
            tiles,
        )


def require_batch(batch: int) -> int:
    """The batch size, from 1 to `LARGEST_BATCH`. Raises `UsageError` for any other."""
    if not 1 <= batch <= LARGEST_BATCH:
        raise UsageError(f"batch size {batch} is out of range", f"give one from 1 to {LARGEST_BATCH}")
    return batch
