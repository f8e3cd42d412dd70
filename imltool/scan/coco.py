"""The masks of a scan as COCO JSON, for programs that annotate or measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from imltool.data.coco_masks import write_masks
from imltool.scan.results import ScanResult
from imltool.scan.run_record import COCO, RunRecord
from imltool.scan.selection import Selection


def write_coco(
    out: Path, run: RunRecord, results: Sequence[ScanResult], selection: Selection | None = None
) -> Iterator[ScanResult]:
    """Write `masks.coco.json`: every analysed picture with its mask as run lengths. Yields the results.

    Raises `ImageError` when a mask cannot be read, and `OutputError`.
    """
    analysed = [(one.path, out / one.mask) for one in results if one.status == "ok" and one.mask is not None]
    write_masks(out / COCO, analysed, "masks of imltool scan")
    yield from results
