"""A scan from start to end: claim the folder, go on from the journal, keep the record."""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imltool.errors import DataError, ResumeError
from imltool.files import sha256_file
from imltool.journal import Journal
from imltool.scan import record
from imltool.scan.inputs import Input, Plan, printable, readable
from imltool.scan.pipeline import WORKERS, Row, analyse
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
    `regions` (see `find_regions`), `map`, `mask`, `overlay` (paths relative to `out`, forward slashes), `context` (see
    `picture_context`) and `remarks` (see `make_remarks`). All figures derive from the map as stored in its file. What a
    failed file does not have is None, its regions are empty; its context is there when the file could be read at all.

    A file that cannot be analysed is a failed row and never ends the scan. After the last row `results.csv` and
    `run.json` are written; the report is made apart, by `write_report`.

    Files of kept rows are hashed again before anything is analysed. Raises `ResumeError` when one changed or vanished,
    and for another scan's folder (see `open_folder`), `UsageError` and `OutputError`; what was yielded before is safe
    on disk.
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
        yield from _unchanged(plan, [*journal.rows])
        record.write_record(out, plan, localizer, threshold, journal.rows, sessions)
        done = {row["path"] for row in journal.rows}
        todo = [item for item in plan.inputs if item.name not in done]
        for row in analyse(todo, localizer, out, threshold, _even(len(plan.inputs), batch)):
            journal.append(row)
            session["made"] += 1
            yield row
        session["finished"] = record.utc_now()
        record.write_table(out, journal.rows)
        record.write_record(out, plan, localizer, threshold, journal.rows, sessions)


def _unchanged(plan: Plan, rows: Sequence[Row]) -> Iterator[Row]:
    """Yield kept rows whose files still are what was analysed. Raises `ResumeError` at the first that is not.

    A file that could not be read has no hash; its row stays until the scan is restarted.
    """
    items = {item.name: item for item in plan.inputs}
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-resume")
    try:
        for row, change in zip(rows, pool.map(lambda row: _change(items.get(row["path"]), row), rows), strict=True):
            if change:
                raise ResumeError(
                    f"{printable(row['path'])} {change} since this scan began",
                    "choose another --out; --restart discards the earlier results",
                )
            yield row
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _change(item: Input | None, row: Row) -> str:
    """What happened to the file of a row: "vanished", "changed", "became unreadable", or "" for nothing."""
    if row["sha256"] is None:
        return "" if item else "changed"
    if item is None:
        return "vanished"
    try:
        # opening a pipe could wait for ever
        same = stat.S_ISREG(item.path.stat().st_mode) and sha256_file(item.path) == row["sha256"]
    except FileNotFoundError:
        return "vanished"
    except OSError:
        return "became unreadable"
    return "" if same else "changed"


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
