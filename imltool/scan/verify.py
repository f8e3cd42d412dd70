"""Check whether a scan's output folder, or the evidence it analysed, was changed since."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from imltool.errors import DataError, ImlError, UsageError
from imltool.files import sha256_file, what_happened
from imltool.journal import PARAMETERS, flatten
from imltool.scan.chain import Link, read_chain
from imltool.scan.decisions import DECISIONS, ORIGIN
from imltool.scan.fetch import compare_with_hash
from imltool.scan.inputs import Plan, Root, expand
from imltool.scan.results import RESULTS, ScanResult
from imltool.scan.run_record import (
    COCO,
    COMMAND,
    FOLDERS,
    PDF,
    RECORD,
    REPORT,
    ROW_FORMAT,
    InputRecord,
    checksum_ok,
    count_results,
    record_text,
)
from imltool.scan.stores import Stored, is_address, read_address
from imltool.scan.tables import TABLES
from imltool.texts import readable
from imltool.versions import __version__

JOURNALS: dict[str, str | None] = {RESULTS: None, DECISIONS: ORIGIN}
"""Chained journals of a scan's folder → their origin; None for the hash of `parameters.json`. Only the first must
exist; others grow after the scan."""
CHANGED, MISSING, EXTRA, UNCHECKED = "changed", "missing", "extra", "unchecked"
"""Kinds of findings: the first three mean that something was changed, the last that it could not be checked."""
READERS = 4
"""Files hashed at once (our choice)."""
_KINDS = {"changed": CHANGED, "vanished": MISSING, "became unreadable": UNCHECKED}


@dataclass(frozen=True)
class Finding:
    """One deviation from what was written, or something that could not be checked.

    Attributes:
        kind: `changed`, `missing`, `extra` or `unchecked`.
        where: a file of the output folder, a row of the results, or the name of an evidence file in the results.
        what: what is wrong with it.
    """

    kind: str
    where: str
    what: str


@dataclass(frozen=True)
class ChainedFile:
    """A journal of `JOURNALS` that exists.

    Attributes:
        links: its lines.
        head: SHA-256 of the last line; the origin when there is none.
    """

    name: str
    links: tuple[Link, ...]
    head: str


class Verification:
    """The checks of one output folder. Nothing is written.

    Attributes:
        rows: the number of lines in `results.jsonl`.
        head: SHA-256 of the last of them; of `parameters.json` when there is none, empty when that is missing too.
        journals: the chained journals, that of the results first.

    Raises `UsageError` when `out` holds no scan, and `DataError` when its rows have another format or cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        try:
            held = [path.name for path in out.iterdir()] if out.is_dir() else []
            self._parameters, self._record = (_read_json(out / name) for name in (PARAMETERS, RECORD))
            origin = sha256_file(out / PARAMETERS) if (out / PARAMETERS).is_file() else ""
            present = [name for name in JOURNALS if name == RESULTS or (out / name).is_file()]
            data = {name: (out / name).read_bytes() if (out / name).is_file() else b"" for name in present}
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}", "check its permissions") from error
        foreign = isinstance(self._parameters, dict) and self._parameters.get("command") != COMMAND
        if foreign or not {PARAMETERS, RESULTS} & {*held}:
            raise UsageError(f"{out} holds no scan", "give the output folder of imltool scan")
        form = self._parameters.get("row_format") if isinstance(self._parameters, dict) else ROW_FORMAT
        if form != ROW_FORMAT:
            raise DataError(
                f"{out / PARAMETERS} says that rows have format {form!r}, and this version reads format {ROW_FORMAT}",
                "use the version that it names under tool_version",
            )
        self._partial = [name for name in data if name != RESULTS and data[name] and not data[name].endswith(b"\n")]
        for name in self._partial:  # a journal that grows: a writer is at work, or was killed
            data[name] = data[name][: data[name].rfind(b"\n") + 1]
        self.journals = [_chained_file(name, content, JOURNALS[name] or origin) for name, content in data.items()]
        self._links, self.head = self.journals[0].links, self.journals[0].head
        self._results = [link.row for link in self._links if link.row is not None]
        self.rows = len(self._links)

    @property
    def files(self) -> int:
        """The number of outputs to hash: those that rows name."""
        return sum(len(_outputs(row)) for row in self._results)

    def run(self, heads: Sequence[str] = (), evidence: bool = False) -> Iterator[Finding | None]:
        """Check everything; yield every finding, and None for every output or evidence file that is unchanged.

        Args:
            heads: final hashes that were kept elsewhere: the hash of the last row of the results, or of any line of
                another journal, as these grow. Without them, a change is not found if all hashes were computed again.
            evidence: also hash the scanned files, where `run.json` says that they are; objects of stores are fetched.
        """
        yield from self._check_files(heads)
        for journal in self.journals:
            yield from _check_chain(journal)
        for name in self._partial:
            yield Finding(UNCHECKED, name, "ends in the middle of a row, which its next writer will remove")
        yield from self._check_record()
        yield from self._check_outputs()
        if self._finished:
            yield from self._check_extra()
            yield from self._check_tables()
            yield from self._check_reports()
        else:
            yield Finding(
                UNCHECKED,
                RECORD,
                "the scan was not finished: results.csv, errors.csv, reports and files without a row are not checked; "
                "the scan's command resumes it",
            )
        if evidence:
            yield from self._check_evidence()

    @property
    def _finished(self) -> bool:
        """Whether the last session finished. A record that cannot be read counts as finished."""
        try:
            return self._record["sessions"][-1]["finished"] is not None
        except (KeyError, TypeError, IndexError):
            return True

    def _check_files(self, heads: Sequence[str]) -> Iterator[Finding]:
        for name, content in ((PARAMETERS, self._parameters), (RECORD, self._record)):
            if not isinstance(content, dict):
                missing = not (self.out / name).exists()
                yield Finding(MISSING if missing else CHANGED, name, "is missing" if missing else "is no JSON object")
        if not (self.out / RESULTS).is_file():
            yield Finding(MISSING, RESULTS, "is missing")
        grown = {link.sha256 for journal in self.journals[1:] for link in journal.links}
        for head in heads:
            if head.lower() not in {self.head, *grown}:
                ends = " and ".join(
                    f"{journal.name} ends with {journal.head or 'no hash'}" for journal in self.journals
                )
                yield Finding(CHANGED, RESULTS, f"{ends}, and not with the final hash given, {head.lower()}")

    def _check_record(self) -> Iterator[Finding]:
        record = self._record
        if not isinstance(record, dict):
            return
        if not checksum_ok(record):
            yield Finding(CHANGED, RECORD, "its values do not fit its checksum, self_sha256")
        elif not holds(self.out / RECORD, record_text(record)):  # when a key occurs twice, only the last is read
            yield Finding(CHANGED, RECORD, "is not written as a scan writes these values")
        yield from _differences(record.get("parameters"), self._parameters, "parameters", PARAMETERS)
        heads = [self._links[0].row.get("previous_sha256") if self._links and self._links[0].row else self.head]
        heads += [link.sha256 for link in self._links]
        try:
            rows, head = int(record["chain"]["rows"]), record["chain"]["head"]
        except (KeyError, TypeError, ValueError, OverflowError):
            rows, head = -1, None
        if not 0 <= rows < len(heads) or heads[rows] != head or (self._finished and rows != self.rows):
            yield Finding(
                CHANGED,
                RESULTS,
                f"has {self.rows} rows and ends with {self.head}; {RECORD} says {rows} rows that end with {head}",
            )
        elif self._finished and (results := self._typed) is not None:
            counts = count_results(results)
            yield from _differences(record.get("counts"), counts.model_dump(), "counts", RESULTS)

    @cached_property
    def _typed(self) -> list[ScanResult] | None:
        """The rows as results; None when one is not of their form."""
        try:
            return [ScanResult.of_row(row, self.out) for row in self._results]
        except (DataError, RecursionError):
            return None

    def _check_outputs(self) -> Iterator[Finding | None]:
        named = [(name, digest) for row in self._results for name, digest in _outputs(row).items()]
        with ThreadPoolExecutor(READERS) as pool:
            changes = pool.map(lambda item: what_happened(self.out / item[0], item[1]), named)
            for (name, _), change in zip(named, changes, strict=True):
                yield Finding(_KINDS[change], name, f"{change} since it was written") if change else None

    def _check_extra(self) -> Iterator[Finding]:
        known = {name for row in self._results for name in _outputs(row)}
        for top in FOLDERS:
            for folder, subfolders, names in os.walk(self.out / top):
                subfolders.sort()
                links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
                for name in sorted([*names, *links]):
                    where = readable((Path(folder) / name).relative_to(self.out).as_posix())
                    if where not in known:
                        yield Finding(EXTRA, where, "no row names it")

    def _check_tables(self) -> Iterator[Finding]:
        results = self._typed
        if results is None:
            yield Finding(CHANGED, RESULTS, f"has a row that is not of the form of version {__version__}")
        for name, text in TABLES.items():
            path = self.out / name
            if not path.is_file():
                yield Finding(MISSING, name, "is missing")
                continue
            try:
                same = results is None or text(results).encode() == path.read_bytes()
            except OSError as error:
                yield Finding(UNCHECKED, name, f"cannot be read: {error.strerror}")
                continue
            except UnicodeEncodeError:  # a lone surrogate, which no scan writes
                same = False
            if not same:
                made = self._parameters.get("tool_version") if isinstance(self._parameters, dict) else None
                other = f"; made by version {made}, compared by {__version__}" if made != __version__ else ""
                yield Finding(CHANGED, name, f"does not fit the rows of {RESULTS}{other}")

    def _check_reports(self) -> Iterator[Finding]:
        reports = self._record.get("reports_sha256") if isinstance(self._record, dict) else None
        if not isinstance(reports, dict):
            return
        for name, digest in reports.items():
            if change := what_happened(self.out / name, digest):
                yield Finding(_KINDS[change], name, f"{change} since it was written")
        for name in (REPORT, PDF, COCO):
            if name not in reports and (self.out / name).exists():
                older = f"{RECORD} has no hash of it: an earlier session wrote it; make it again or remove it"
                yield Finding(UNCHECKED, name, older)

    def _check_evidence(self) -> Iterator[Finding | None]:
        try:
            inputs = [InputRecord.model_validate(one) for one in self._record["inputs"]]
            items = {item.name: item for item in expand_again(inputs, self.out).inputs}
        except (KeyError, TypeError, ValueError):
            yield Finding(UNCHECKED, RECORD, "does not say where the scanned files are")
            return
        except OSError as error:  # a folder above the evidence is locked
            yield Finding(UNCHECKED, readable(str(error.filename)), f"cannot be reached: {error.strerror}")
            return
        except ImlError as error:  # a store
            yield Finding(UNCHECKED, RECORD, f"the scanned files: {error}")
            return
        faults = {item.name: item.fault for item in items.values() if item.fault}

        def check(row: dict[str, object]) -> Finding | None:
            name = str(row.get("path"))
            for folder in (name, *map(str, PurePosixPath(name).parents)):
                if folder in faults:
                    return Finding(UNCHECKED, name, faults[folder])
            try:
                change = compare_with_hash(items[name].path, str(row["sha256"])) if name in items else "vanished"
            except ImlError as error:  # credentials that ran out, no room for a copy
                return Finding(UNCHECKED, name, error.message)
            return Finding(_KINDS[change], name, f"{change} since it was scanned") if change else None

        with ThreadPoolExecutor(READERS) as pool:
            yield from pool.map(check, (row for row in self._results if row.get("sha256")))


def _chained_file(name: str, data: bytes, origin: str) -> ChainedFile:
    links = tuple(read_chain(data, origin))
    return ChainedFile(name, links, links[-1].sha256 if links else origin)


def _check_chain(journal: ChainedFile) -> Iterator[Finding]:
    """The rows that do not follow the one before."""
    before: Link | None = None
    for number, link in enumerate(journal.links, start=1):
        where = f"{journal.name} row {number}" + (f" ({link.row.get('path')})" if link.row else "")
        if link.row is None:
            yield Finding(CHANGED, where, "is cut or no JSON object")
        elif not link.follows and (before is None or before.row is not None):
            former = f"row {number - 1}" if before else PARAMETERS
            yield Finding(CHANGED, where, f"does not follow {former}: one of the two was changed, moved or removed")
        before = link


def _read_json(path: Path) -> Any:
    """The content of a JSON file; None when it is missing or holds no JSON. Raises OSError when it cannot be read."""
    try:
        # opening a pipe could wait for ever
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (ValueError, RecursionError):
        return None


def holds(path: Path, text: str) -> bool:
    """Whether a file has a text as its content; False when it cannot be read."""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _outputs(row: dict[str, object]) -> dict[str, str]:
    outputs = row.get("outputs_sha256")
    return outputs if isinstance(outputs, dict) else {}


def expand_again(inputs: Iterable[InputRecord], out: Path) -> Plan:
    """The plan of a scan from the inputs in its `run.json`; their folders are walked again.

    Raises `ImlError`, OSError and ValueError when that is impossible.
    """
    return expand(tuple(Root(one.given, original_path(one.path), one.label) for one in inputs), out)


def original_path(text: str) -> Path | Stored:
    r"""The path from which `readable` made `text`: when no such file exists, `\xNN` are turned back into bytes.

    For an address, its object or folder. Raises `UsageError` for one that cannot be read.
    """
    if is_address(text):
        return read_address(text)
    path = Path(text)
    if path.exists():
        return path
    return Path(os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())))


def _differences(recorded: Any, true: Any, name: str, source: str) -> Iterator[Finding]:
    if not isinstance(recorded, Mapping) or not isinstance(true, Mapping):
        return
    try:
        here, there = flatten(dict(recorded)), flatten(dict(true))
    except RecursionError:
        yield Finding(CHANGED, RECORD, f"its {name}, or those of {source}, are nested too deeply")
        return
    for key in sorted(here.keys() | there.keys()):
        if here.get(key) != there.get(key):
            yield Finding(CHANGED, RECORD, f"says {name}.{key} is {here.get(key)!r}, {source} says {there.get(key)!r}")
