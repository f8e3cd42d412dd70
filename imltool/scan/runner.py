"""A scan from start to end: claim the folder, go on from the journal, keep the record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imltool.errors import DataError
from imltool.journal import Journal
from imltool.scan import record
from imltool.scan.inputs import Plan, readable
from imltool.scan.pipeline import Row, analyse
from imltool.student.localizer import Localizer


def scan(
    plan: Plan,
    localizer: Localizer,
    out: Path,
    *,
    threshold: float | None = None,
    batch: int = 8,
    restart: bool = False,
    command_line: Sequence[str] = (),
) -> Iterator[Row]:
    """Analyse the files of a plan into `out`; yield a row a file once it is on disk, in the plan's order.

    Args:
        plan: from `plan_inputs`.
        localizer: the student; its checkpoint gives the score threshold of the verdict.
        out: output folder. Rows of an earlier scan with the same parameters are kept and yielded first.
        threshold: map values above it are tampered; None takes the checkpoint's `pixel_threshold`.
        batch: pictures analysed at once, at most. Another size can change the last of a map's 65535 steps.
        restart: discard what an earlier scan left in `out`.
        command_line: for `run.json`.

    A row has `path`, `sha256`, `size_bytes`, `status` ("ok" or "failed"), `reason` (None when ok), `width`, `height`
    (pixels, EXIF orientation applied), `score` (in [0,1], see `image_score`), `verdict` ("indication" when the score is
    above the checkpoint's threshold, else "no indication"), `tampered_area` (share of pixels above `threshold`),
    `regions` (see `find_regions`), `map`, `mask`, `overlay` (paths relative to `out`, forward slashes). All figures
    derive from the map as stored in its file. What a failed file does not have is None, its regions are empty.

    A file that cannot be analysed is a failed row and never ends the scan. After the last row `results.csv` and
    `run.json` are written; the report is made apart, by `write_report`.

    Raises `UsageError`, `ResumeError` (see `open_folder`) and `OutputError`; what was yielded before is safe on disk.
    """
    threshold = localizer.header.pixel_threshold if threshold is None else threshold
    record.open_folder(out, record.parameters(plan, localizer, threshold), restart)
    session: dict[str, Any] = {
        "started": record.utc_now(),
        "finished": None,
        "command_line": [readable(argument) for argument in command_line],
        "device": str(localizer.device),
        "batch": batch,
        "kept": 0,
        "made": 0,
    }
    sessions = [*record.past_sessions(out), session]
    with Journal(out / record.RESULTS) as journal:
        session["kept"] = len(journal.rows)
        record.write_record(out, plan, localizer, threshold, journal.rows, sessions)
        yield from [*journal.rows]
        done = {row["path"] for row in journal.rows}
        todo = [item for item in plan.inputs if item.name not in done]
        for row in analyse(todo, localizer, out, threshold, _even(len(plan.inputs), batch)):
            journal.append(row)
            session["made"] += 1
            yield row
        session["finished"] = record.utc_now()
        record.write_table(out, journal.rows)
        record.write_record(out, plan, localizer, threshold, journal.rows, sessions)


def _even(count: int, batch: int) -> int:
    """The batch size that leaves the last batch least short: 9 files by 8 at most → 5."""
    return math.ceil(count / math.ceil(count / batch)) if count else batch


def require_analysed(counts: dict[str, int], out: Path) -> None:
    """Raise `DataError` when not one file of a finished scan could be analysed."""
    if not counts["analysed"]:
        raise DataError(
            f"none of the {counts['files']} files could be analysed"
            if counts["files"] > 1
            else "the file could not be analysed",
            f"the reasons are in {out / record.TABLE}",
        )
