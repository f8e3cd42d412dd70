"""A scan from start to end: claim the folder, resume from the journal, keep the record."""

from __future__ import annotations

import hashlib
import logging
import math
import platform
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol

from imltool.errors import DataError, ResumeError
from imltool.files import sha256_file, write_text, writing
from imltool.inference.localizer import Localizer
from imltool.journal import PARAMETERS, output_folder, utc_now
from imltool.scan import run_record
from imltool.scan.chain import REMEDY, ChainedJournal
from imltool.scan.fetch import compare_with_hash
from imltool.scan.inputs import Input, Plan, Root
from imltool.scan.pipeline import WORKERS, analyse
from imltool.scan.results import RESULTS, ScanResult
from imltool.scan.settings import BATCH, ScanSettings
from imltool.scan.stores import Stored
from imltool.scan.tables import TABLE, TABLES
from imltool.texts import printable, readable, without_secrets
from imltool.versions import installed_versions

log = logging.getLogger("imltool")


class ScanWorkers(Protocol):
    """Workers that analyse a scan's files in other processes. Their results equal those of one process byte by byte.

    Work raises `OutputError`, and `ClusterError` when there are no workers, when their set-up differs or they do not
    see the files, or when the worker of a task died repeatedly.
    """

    def describe(self) -> run_record.ClusterRecord:
        """Their description in `run.json`."""
        ...

    def analyse(
        self, inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = BATCH
    ) -> Iterator[ScanResult]:
        """As `imltool.scan.pipeline.analyse`: results in the order of `inputs`, each after its outputs are on disk."""
        ...


def scan(
    plan: Plan,
    localizer: Localizer,
    out: Path,
    settings: ScanSettings | None = None,
    *,
    batch: int = BATCH,
    restart: bool = False,
    case: Mapping[str, str | None] | None = None,
    command_line: Sequence[str] = (),
    cluster: ScanWorkers | None = None,
) -> Generator[ScanResult, None, None]:
    """Analyse the files of a plan into `out`; yield one result per file once it is on disk, in the plan's order.

    A file that cannot be analysed gives a failed result and never ends the scan. After the last file `results.csv`,
    `errors.csv` and `run.json` are written; `write_report` makes the report separately. All measured values are
    computed from the map as stored in its file.

    Args:
        plan: from `plan_inputs`.
        localizer: the student.
        out: output folder. Results of an earlier scan with the same parameters are kept and yielded first.
        settings: None takes `ScanSettings.of` the student's checkpoint.
        batch: batch size, at most. Another size can change the last of a map's 65535 steps.
        restart: discard what an earlier scan left in `out`.
        case: texts for `run.json`: `id`, `examiner`, `notes`. They are not parameters of the scan: texts that are not
            given keep the value of an earlier session.
        command_line: for `run.json`.
        cluster: the workers that analyse the files, see `imltool.cluster`; None analyses them in this process. The
            bytes of the results do not depend on it.

    Before anything is analysed, the hash chain of kept rows is checked, and their input files and outputs are hashed
    again. Raises `ResumeError` when something changed or vanished and for another scan's folder (see
    `output_folder`), and `UsageError`, `OutputError`, `StoreError` and `ClusterError`. Results that were yielded
    before an error are on disk.
    """
    settings = settings or ScanSettings.of(localizer.header)
    parameters = run_record.parameters(plan, localizer, settings).model_dump(mode="json")
    with (
        output_folder(out, parameters, PARAMETERS, run_record.COMMAND, written=run_record.WRITTEN, restart=restart),
        _opened(out) as (journal, earlier),
    ):
        results = [ScanResult.of_row(row, out) for row in journal.rows]
        journal.rows.clear()  # so that each row is in memory only once
        session = run_record.Session(
            started=utc_now("seconds"),
            command_line=tuple(readable(without_secrets(argument)) for argument in command_line),
            device=str(localizer.device),
            batch=batch,
            cluster=cluster.describe() if cluster else None,
            kept=len(results),
            engine=localizer.engine,
            libraries=installed_versions(),
            platform=platform.platform(),
        )
        if earlier:
            _same_names(earlier.inputs, plan.roots)
        sessions = [*(earlier.sessions if earlier else ()), session]
        given = {name: readable(text) for name, text in (case or {}).items() if text is not None}
        about = (earlier.case if earlier else run_record.Case()).model_copy(update=given)
        done = {result.path for result in results}
        todo = [item for item in plan.inputs if item.name not in done]
        before = run_record.makers(earlier.sessions, len(results)) if earlier else []
        if todo and (versions := run_record.other_versions([*before, session])):
            log.warning("earlier rows of this scan were made with other versions: %s", versions)
        yield from _unchanged(plan, out, [*results])
        run_record.write_record(out, plan, localizer, settings, results, journal.head, about, sessions)
        make = cluster.analyse if cluster else analyse
        for made in make(todo, localizer, out, settings, _balanced_batch(len(plan.inputs), batch)):
            result = made.chained(journal.head, out)
            journal.append(result.model_dump(mode="json"))
            journal.rows.clear()
            results.append(result)
            session.made += 1
            yield result
        session.finished = utc_now("seconds")
        session.cluster = cluster.describe() if cluster else None  # the number of workers is known now
        for name, text in TABLES.items():
            write_text(out / name, text(results))
        run_record.write_record(out, plan, localizer, settings, results, journal.head, about, sessions)


@contextmanager
def _opened(out: Path) -> Iterator[tuple[ChainedJournal, run_record.RunRecord | None]]:
    """The journal of a scan and its `run.json`, None for a new scan.

    The record is written before the first row and after the last one: rows may be newer, but none may be missing.
    Raises `ResumeError` when a row that the record counts is gone or replaced, before the journal is changed.
    """
    earlier = run_record.read_record(out) if (out / run_record.RECORD).exists() else None
    path = out / RESULTS
    if earlier and (rows := earlier.chain.rows):
        line = b""
        if path.exists():
            with writing(path), path.open("rb") as handle:
                line = next(islice(handle, rows - 1, None), b"")
        if hashlib.sha256(line).hexdigest() != earlier.chain.head:
            fault = "is cut or replaced" if line else "is missing"
            raise ResumeError(
                f"{path} was changed: row {rows}, the last that {run_record.RECORD} counts, {fault}", REMEDY
            )
    with ChainedJournal(path, sha256_file(out / PARAMETERS)) as journal:
        yield journal, earlier


def _same_names(earlier: Sequence[run_record.InputRecord], roots: Sequence[Root]) -> None:
    """Raise `ResumeError` when the same files would get other names, as those of a relative path in another folder."""
    for before, now in zip_longest((one.label for one in earlier), (root.label for root in roots)):
        if before != now:
            raise ResumeError(
                f"this scan named its files {printable(before or '')!r}, and this command {printable(now or '')!r}",
                "give the same paths, in the same folder as before",
            )


def _unchanged(plan: Plan, out: Path, results: Sequence[ScanResult]) -> Iterator[ScanResult]:
    """Yield kept results whose files and outputs still have the same hashes. Raises `ResumeError` at the first change.

    A file that could not be read has no hash; its row is kept until the scan is restarted.
    """
    items = {item.name: item for item in plan.inputs}
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-resume")
    try:
        changes = pool.map(lambda result: _change(items.get(result.path), out, result), results)
        for result, change in zip(results, changes, strict=True):
            if change:
                raise ResumeError(
                    f"{printable(change)} since this scan began",
                    "choose another --out; --restart discards the earlier results",
                )
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _change(item: Input | None, out: Path, result: ScanResult) -> str:
    """The first change of a result's file or outputs, such as "a.jpg vanished"; "" for none."""
    if result.sha256 is None:
        return "" if item else f"{result.path} changed"
    files: dict[str, tuple[Path | Stored | None, str]] = {result.path: (item.path if item else None, result.sha256)}
    files |= {name: (out / name, digest) for name, digest in result.outputs_sha256.items()}
    for name, (path, digest) in files.items():
        if change := compare_with_hash(path, digest) if path else "vanished":
            return f"{name} {change}"
    return ""


def _balanced_batch(count: int, batch: int) -> int:
    """The batch size of at most `batch` that fills the last batch best: 9 files, at most 8 → 5."""
    return math.ceil(count / math.ceil(count / batch)) if count else batch


def require_analysed(counts: run_record.Counts, out: Path) -> None:
    """Raise `DataError` when not one file of a finished scan could be analysed."""
    if not counts.analysed:
        raise DataError(
            f"none of the {counts.files} files could be analysed"
            if counts.files > 1
            else "the file could not be analysed",
            f"the reasons are in {out / TABLE}",
        )
