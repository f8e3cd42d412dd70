"""A scan from start to end: claim the folder, go on from the journal, keep the record."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from imltool.errors import DataError, ResumeError
from imltool.files import sha256_file, write_text
from imltool.inference.localizer import Localizer
from imltool.journal import PARAMETERS
from imltool.scan import run_record
from imltool.scan.chain import ChainedJournal
from imltool.scan.fetch import fate
from imltool.scan.inputs import Input, Plan
from imltool.scan.pipeline import WORKERS, Row, analyse
from imltool.scan.settings import ScanSettings
from imltool.scan.stores import Stored
from imltool.scan.verdicts import Sensitivity, choose_verdicts
from imltool.texts import printable, readable, without_secrets


class ScanWorkers(Protocol):
    """Workers that analyse a scan's files elsewhere, with the bytes that one process makes.

    Work raises `OutputError`, and `ClusterError` when there are no workers, when they are not set up alike or do not
    see the files, or when a task's worker died again and again.
    """

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of them: `engine`, its `version`, `address`, and how many `workers`."""
        ...

    def analyse(
        self, inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = 8
    ) -> Iterator[Row]:
        """As `imltool.scan.pipeline.analyse`: rows in the order of `inputs`, each after its outputs are on disk."""
        ...


def scan(
    plan: Plan,
    localizer: Localizer,
    out: Path,
    *,
    threshold: float | None = None,
    sensitivity: Sensitivity = "medium",
    stability: bool = False,
    tiles: bool = False,
    companions: Sequence[str] = (),
    batch: int = 8,
    restart: bool = False,
    case: Mapping[str, str | None] | None = None,
    command_line: Sequence[str] = (),
    cluster: ScanWorkers | None = None,
) -> Generator[Row, None, None]:
    """Analyse the files of a plan into `out`; yield a row a file once it is on disk, in the plan's order.

    Args:
        plan: from `plan_inputs`.
        localizer: the student; its checkpoint gives the operating points of the verdicts.
        out: output folder. Rows of an earlier scan with the same parameters are kept and yielded first.
        threshold: map values above it are tampered; None takes the checkpoint's `pixel_threshold`.
        sensitivity: how much is called an indication, see `choose_verdicts`.
        stability: score every picture again under mild changes, see `imltool.scan.stability`.
        tiles: see large pictures in tiles too, see `imltool.inference.tiles`.
        companions: names of `imltool.scan.companions.COMPANIONS` to draw.
        batch: pictures analysed at once, at most. Another size can change the last of a map's 65535 steps.
        restart: discard what an earlier scan left in `out`.
        case: texts for `run.json`: `id`, `examiner`, `notes`. They are no parameters: what is not told here stays as
            an earlier session told it.
        command_line: for `run.json`.
        cluster: whose workers analyse the files, see `imltool.cluster`; None analyses them in this process. The bytes
            of the results do not depend on it.

    A row has `path`, `sha256`, `size_bytes`, `status` ("ok" or "failed"), `reason` (None when ok), `width`, `height`
    (pixels, EXIF orientation applied), `score` (in [0,1], see `image_score`), `verdict` (a word of `verdicts.WORDS`),
    `verdict_reason` (why it is inconclusive where the score says otherwise, else None), `stability` (None, or what
    `settle` gives), `companions` (name → path relative to `out`), `tampered_area` (share of pixels above `threshold`),
    `regions` (see `find_regions`), `map`, `mask`, `overlay` (paths relative to `out`, forward slashes), `context` (see
    `picture_context`), `remarks` (see `make_remarks`), `outputs_sha256` (path of each file written for it → its hash)
    and `previous_sha256` (see `imltool.scan.chain`). All figures derive from the map as stored in its file. What a
    failed file does not have is None, its regions are empty; its context is there when the file could be read at all.

    A file that cannot be analysed is a failed row and never ends the scan. After the last row `results.csv`,
    `errors.csv` and `run.json` are written; the report is made apart, by `write_report`.

    Before anything is analysed, the chain of kept rows is followed, and their files and what was written for them are
    hashed again. Raises `ResumeError` when something changed or vanished, and for another scan's folder (see
    `run_record.claimed`), `UsageError`, `OutputError`, `StoreError` and `ClusterError`; what was yielded before is safe
    on disk.
    """
    settings = ScanSettings(
        localizer.header.pixel_threshold if threshold is None else threshold,
        choose_verdicts(localizer.header, sensitivity),
        stability,
        tuple(companions),
        tiles,
    )
    with (
        run_record.claimed(out, run_record.parameters(plan, localizer, settings), restart),
        ChainedJournal(out / run_record.RESULTS, sha256_file(out / PARAMETERS)) as journal,
    ):
        session: dict[str, Any] = {
            "started": run_record.utc_now(),
            "finished": None,
            "command_line": [readable(without_secrets(argument)) for argument in command_line],
            "device": str(localizer.device),
            "batch": batch,
            "cluster": cluster and cluster.describe(),
            "kept": len(journal.rows),
            "made": 0,
        }
        earlier = run_record.read_record(out)
        sessions = [*earlier.get("sessions", []), session]
        told = {name: readable(text) for name, text in (case or {}).items() if text is not None}
        about = {**earlier.get("case", {}), **told}
        yield from _unchanged(plan, out, [*journal.rows])
        run_record.write_record(out, plan, localizer, settings, journal, about, sessions)
        done = {row["path"] for row in journal.rows}
        todo = [item for item in plan.inputs if item.name not in done]
        make = cluster.analyse if cluster else analyse
        for row in make(todo, localizer, out, settings, _even(len(plan.inputs), batch)):
            journal.append(row)
            session["made"] += 1
            yield journal.rows[-1]
        session["finished"] = run_record.utc_now()
        session["cluster"] = cluster and cluster.describe()  # it knows its workers now
        for name, text in run_record.TABLES.items():
            write_text(out / name, text(journal.rows))
        run_record.write_record(out, plan, localizer, settings, journal, about, sessions)


def _unchanged(plan: Plan, out: Path, rows: Sequence[Row]) -> Iterator[Row]:
    """Yield kept rows whose files and outputs still are what they were. Raises `ResumeError` at the first that is not.

    A file that could not be read has no hash; its row stays until the scan is restarted.
    """
    items = {item.name: item for item in plan.inputs}
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-resume")
    try:
        changes = pool.map(lambda row: _change(items.get(row["path"]), out, row), rows)
        for row, change in zip(rows, changes, strict=True):
            if change:
                raise ResumeError(
                    f"{printable(change)} since this scan began",
                    "choose another --out; --restart discards the earlier results",
                )
            yield row
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _change(item: Input | None, out: Path, row: Row) -> str:
    """What happened to the file of a row or to an output: "a.jpg vanished", or "" for nothing."""
    if row["sha256"] is None:
        return "" if item else f"{row['path']} changed"
    files: dict[str, tuple[Path | Stored | None, str]] = {row["path"]: (item.path if item else None, row["sha256"])}
    files |= {name: (out / name, digest) for name, digest in row["outputs_sha256"].items()}
    for name, (path, digest) in files.items():
        if change := fate(path, digest) if path else "vanished":
            return f"{name} {change}"
    return ""


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
            f"the reasons are in {out / run_record.TABLE}",
        )
