"""Whether a scan's output folder, and the evidence it looked at, are still what they were."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from imltool.errors import DataError, ImlError, UsageError
from imltool.files import sha256_file, what_happened
from imltool.journal import PARAMETERS, flatten
from imltool.scan.chain import Link, read_chain
from imltool.scan.fetch import fate
from imltool.scan.inputs import Root, expand
from imltool.scan.run_record import (
    COCO,
    COMMAND,
    FOLDERS,
    PDF,
    RECORD,
    REPORT,
    RESULTS,
    ROW_FORMAT,
    TABLES,
    count_rows,
    is_sealed,
    record_text,
)
from imltool.scan.stores import Stored, is_address, read_address
from imltool.texts import readable
from imltool.versions import __version__

CHANGED, MISSING, EXTRA, UNCHECKED = "changed", "missing", "extra", "unchecked"
"""Kinds of findings: the first three say that something was changed, the last that it could not be told."""
READERS = 4
"""Files hashed at once (our choice)."""
_FATES = {"changed": CHANGED, "vanished": MISSING, "became unreadable": UNCHECKED}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was, or could not be checked.

    Attributes:
        kind: `changed`, `missing`, `extra` or `unchecked`.
        where: a file of the output folder, a row of the results, or the evidence file as results call it.
        what: what is wrong with it.
    """

    kind: str
    where: str
    what: str


class Verification:
    """The checks of one output folder. Nothing is written.

    Attributes:
        rows: the number of lines in `results.jsonl`.
        head: SHA-256 of the last of them; of `parameters.json` when there is none, empty when that is missing too.

    Raises `UsageError` when `out` holds no scan, `DataError` when its rows are of a form without a chain or cannot be
    read at all.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        try:
            held = os.listdir(out) if out.is_dir() else []
            self._parameters, self._record = (_read_json(out / name) for name in (PARAMETERS, RECORD))
            origin = sha256_file(out / PARAMETERS) if (out / PARAMETERS).is_file() else ""
            data = (out / RESULTS).read_bytes() if (out / RESULTS).is_file() else b""
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}", "check its permissions") from error
        foreign = isinstance(self._parameters, dict) and self._parameters.get("command") != COMMAND
        if foreign or not {PARAMETERS, RESULTS} & {*held}:
            raise UsageError(f"{out} holds no scan", "give the output folder of imltool scan")
        form = self._parameters.get("row_format") if isinstance(self._parameters, dict) else ROW_FORMAT
        if form != ROW_FORMAT:
            raise DataError(
                f"{out / PARAMETERS} tells rows of form {form!r}, and this version knows those of {ROW_FORMAT}",
                "use the version that is told there under tool_version",
            )
        self._links = list(read_chain(data, origin))
        self._results = [link.row for link in self._links if link.row is not None]
        self.rows = len(self._links)
        self.head = self._links[-1].sha256 if self._links else origin

    @property
    def files(self) -> int:
        """Outputs that the rows tell of: so many files are hashed, evidence aside."""
        return sum(len(_outputs(row)) for row in self._results)

    def run(self, head: str | None = None, evidence: bool = False) -> Iterator[Finding | None]:
        """Check everything; yield what was found, and None for every output or evidence file that is untouched.

        Args:
            head: the head that was noted when the scan ended; without it somebody who made all hashes anew is not
                found.
            evidence: hash the files that were scanned as well, where `run.json` says that they are; objects of stores
                are fetched for it.
        """
        yield from self._check_chain(head)
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
                "give the scan's command again",
            )
        if evidence:
            yield from self._check_evidence()

    @property
    def _finished(self) -> bool:
        """Whether the last session came to its end. A record that cannot be read excuses nothing."""
        try:
            return self._record["sessions"][-1]["finished"] is not None
        except (KeyError, TypeError, IndexError):
            return True

    def _check_chain(self, head: str | None) -> Iterator[Finding]:
        for name, content in ((PARAMETERS, self._parameters), (RECORD, self._record)):
            if not isinstance(content, dict):
                missing = not (self.out / name).exists()
                yield Finding(MISSING if missing else CHANGED, name, "is not there" if missing else "is no JSON object")
        if not (self.out / RESULTS).is_file():
            yield Finding(MISSING, RESULTS, "is not there")
        before: Link | None = None
        for number, link in enumerate(self._links, start=1):
            where = f"{RESULTS} row {number}" + (f" ({link.row.get('path')})" if link.row else "")
            if link.row is None:
                yield Finding(CHANGED, where, "is cut or no JSON object")
            elif not link.follows and (before is None or before.row is not None):
                former = f"row {number - 1}" if before else PARAMETERS
                yield Finding(CHANGED, where, f"does not follow {former}: one of the two was changed, moved or removed")
            before = link
        if head is not None and head.lower() != self.head:
            yield Finding(CHANGED, RESULTS, f"its head is {self.head or 'unknown'}, not the one that was noted")

    def _check_record(self) -> Iterator[Finding]:
        record = self._record
        if not isinstance(record, dict):
            return
        if not is_sealed(record):
            yield Finding(CHANGED, RECORD, "its values are not those that were sealed")
        elif not _holds(self.out / RECORD, record_text(record)):  # a value told twice is read as the last alone
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
                f"has {self.rows} rows with the head {self.head}, and {RECORD} tells {rows} with the head {head}",
            )
        elif self._finished:
            try:
                counts = count_rows(self._results)
            except KeyError:
                return
            yield from _differences(record.get("counts"), counts, "counts", RESULTS)

    def _check_outputs(self) -> Iterator[Finding | None]:
        told = [(name, digest) for row in self._results for name, digest in _outputs(row).items()]
        with ThreadPoolExecutor(READERS) as pool:
            fates = pool.map(lambda item: what_happened(self.out / item[0], item[1]), told)
            for (name, _), fate in zip(told, fates, strict=True):
                yield Finding(_FATES[fate], name, f"{fate} since it was written") if fate else None

    def _check_extra(self) -> Iterator[Finding]:
        known = {name for row in self._results for name in _outputs(row)}
        for top in FOLDERS:
            for folder, subfolders, names in os.walk(self.out / top):
                subfolders.sort()
                links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
                for name in sorted([*names, *links]):
                    where = readable((Path(folder) / name).relative_to(self.out).as_posix())
                    if where not in known:
                        yield Finding(EXTRA, where, "no row tells of it")

    def _check_tables(self) -> Iterator[Finding]:
        for name, text in TABLES.items():
            path = self.out / name
            if not path.is_file():
                yield Finding(MISSING, name, "is not there")
                continue
            try:
                same = text(self._results).encode() == path.read_bytes()
            except OSError as error:
                yield Finding(UNCHECKED, name, f"cannot be read: {error.strerror}")
                continue
            except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
                yield Finding(CHANGED, RESULTS, f"its rows are not of the form that {name} is made from")
                return
            if not same:
                made = self._parameters.get("tool_version") if isinstance(self._parameters, dict) else None
                other = f"; made by version {made}, compared by {__version__}" if made != __version__ else ""
                yield Finding(CHANGED, name, f"is not what the rows of {RESULTS} give{other}")

    def _check_reports(self) -> Iterator[Finding]:
        reports = self._record.get("reports_sha256") if isinstance(self._record, dict) else None
        if not isinstance(reports, dict):
            return
        for name, digest in reports.items():
            if fate := what_happened(self.out / name, digest):
                yield Finding(_FATES[fate], name, f"{fate} since it was written")
        for name in (REPORT, PDF, COCO):
            if name not in reports and (self.out / name).exists():
                told = f"{RECORD} does not tell its hash: it is not of the last session; have it made anew or remove it"
                yield Finding(UNCHECKED, name, told)

    def _check_evidence(self) -> Iterator[Finding | None]:
        try:
            roots = tuple(
                Root(root["given"], _original(root["path"]), str(root["label"])) for root in self._record["inputs"]
            )
            items = {item.name: item for item in expand(roots, self.out).inputs}
        except (KeyError, TypeError, ValueError):
            yield Finding(UNCHECKED, RECORD, "does not tell where the scanned files are")
            return
        except OSError as error:  # a folder above the evidence is locked
            yield Finding(UNCHECKED, readable(str(error.filename)), f"cannot be reached: {error.strerror}")
            return
        except ImlError as error:  # a store
            yield Finding(UNCHECKED, RECORD, f"the scanned files: {error}")
            return
        faults = {item.name: item.fault for item in items.values() if item.fault}

        def check(row: dict[str, Any]) -> Finding | None:
            name = str(row.get("path"))
            for folder in (name, *map(str, PurePosixPath(name).parents)):
                if folder in faults:
                    return Finding(UNCHECKED, name, faults[folder])
            try:
                end = fate(items[name].path, row["sha256"]) if name in items else "vanished"
            except ImlError as error:  # credentials that ran out, no room for a copy
                return Finding(UNCHECKED, name, error.message)
            return Finding(_FATES[end], name, f"{end} since it was scanned") if end else None

        with ThreadPoolExecutor(READERS) as pool:
            yield from pool.map(check, (row for row in self._results if row.get("sha256")))


def _read_json(path: Path) -> Any:
    """What a file holds; None when it is not there or holds no JSON. Raises OSError when it cannot be read."""
    try:
        # opening a pipe could wait for ever
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (ValueError, RecursionError):
        return None


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _outputs(row: dict[str, Any]) -> dict[str, str]:
    told = row.get("outputs_sha256")
    return told if isinstance(told, dict) else {}


def _original(text: str) -> Path | Stored:
    r"""The path that `readable` made `text` of: where nothing is under that name, `\xNN` are bytes again.

    Of an address the object or folder. Raises `UsageError` for one that cannot be read.
    """
    if is_address(text):
        return read_address(text)
    path = Path(text)
    if path.exists():
        return path
    return Path(os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())))


def _differences(told: Any, true: Any, name: str, source: str) -> Iterator[Finding]:
    if not isinstance(told, Mapping) or not isinstance(true, Mapping):
        return
    try:
        here, there = flatten(dict(told)), flatten(dict(true))
    except RecursionError:
        yield Finding(CHANGED, RECORD, f"its {name}, or those of {source}, are lists in lists without end")
        return
    for key in sorted(here.keys() | there.keys()):
        if here.get(key) != there.get(key):
            yield Finding(CHANGED, RECORD, f"tells {name}.{key} as {here.get(key)!r}, {source} as {there.get(key)!r}")
