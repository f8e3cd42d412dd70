"""The masks of a scan as COCO JSON, for programs that annotate or measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imltool.data.coco_masks import write_masks
from imltool.scan.inputs import Plan
from imltool.scan.run_record import COCO
from imltool.scan.selection import Selection


def write_coco(
    out: Path, plan: Plan, run: dict[str, Any], rows: Sequence[dict[str, Any]], selection: Selection | None = None
) -> Iterator[dict[str, Any]]:
    """Write `masks.coco.json`: every picture that was analysed, its mask as run lengths. Yields the rows.

    Raises `ImageError` when a mask cannot be read, `OutputError`.
    """
    analysed = [row for row in rows if row["status"] == "ok"]
    write_masks(out / COCO, [(row["path"], out / row["mask"]) for row in analysed], "masks of imltool scan")
    yield from rows
