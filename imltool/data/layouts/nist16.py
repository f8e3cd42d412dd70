"""NIST16 (Nimble 2016): pictures in `probe/`, paired with inverted masks by `reference/TASK/NC2016-TASK-ref.csv`.

Columns of the references are separated by `|`. `ProbeFileName`, `ProbeMaskFileName` and `IsTarget` (Y or N) are read,
and `IsManipulationTypeSplice`, `…Removal` and `…CopyClone` for the kind. In the masks black is tampered.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath

from imltool.data.layouts.common import Problem, Reading, listing, nothing_found
from imltool.data.manifest import Kind, Record
from imltool.data.masks import MaskRule
from imltool.errors import DataError

INVERTED = MaskRule(polarity="dark")
KINDS: dict[str, Kind] = {
    "ismanipulationtypesplice": "splice",
    "ismanipulationtyperemoval": "removal",
    "ismanipulationtypecopyclone": "copymove",
}
TASKS: dict[str, Kind] = {"splice": "splice", "removal": "removal", "remove": "removal"}
"""Folder of a reference → kind, for a picture listed only in this reference."""

COLUMNS = ("probefilename", "probemaskfilename", "istarget")


def read_nist16(root: Path) -> Reading:
    """NIST16: 564 tampered pictures, many of them near-copies of the same scene, and authentic ones.

    The reference of all manipulations is read before those of single tasks; a picture's first mask is used. A picture
    that is not a target in any reference is authentic.
    """
    files = {str(file): file for file in listing(root)}
    tables = sorted(root.glob("reference/*/*-ref.csv"), key=lambda path: (path.parent.name != "manipulation", path))
    if not tables:
        nothing_found(root, "nist16", "probe/ and reference/manipulation/NC2016-manipulation-ref.csv")
    lower = {name.casefold(): name for name in files}
    by_name = {file.name.casefold(): str(file) for file in files.values() if file.parent.name.casefold() == "mask"}
    reading = Reading()
    tampered: dict[str, Record] = {}
    others: dict[str, None] = {}
    wanted: dict[str, Problem] = {}
    for table in tables:
        for number, row in _rows(table):
            where = f"{table.relative_to(root).as_posix()}, line {number}"
            recorded = row["probefilename"]
            probe = lower.get(recorded.casefold())
            if probe is None:
                wanted.setdefault(recorded, Problem("missing", recorded, f"does not exist ({where}): left out"))
            elif row["istarget"].casefold() not in ("y", "yes", "true", "1"):
                others[probe] = None
            elif probe not in tampered:
                # the reference of all manipulations may give a wrong folder for a removal's mask
                name = row["probemaskfilename"]
                mask = lower.get(name.casefold()) or by_name.get(PurePosixPath(name).name.casefold())
                if mask is None:
                    wanted.setdefault(probe, Problem("unmatched", probe, f"has no mask {name} ({where}): left out"))
                    continue
                wanted.pop(probe, None)
                tampered[probe] = Record(
                    image=probe, mask=mask, kind=_kind(row, table), source="nist16", mask_rule=INVERTED
                )
    reading.records = [tampered[probe] for probe in sorted(tampered)]
    authentic = sorted(others.keys() - tampered.keys() - wanted.keys())
    reading.records += [Record(image=probe, kind="authentic", source="nist16") for probe in authentic]
    reading.problems += wanted.values()
    listed = others.keys() | tampered.keys() | wanted.keys()
    reading.problems += [
        Problem("unlisted", name, "is in no reference: left out", fault=False)
        for name, file in files.items()
        if file.parts[0].casefold() == "probe" and name not in listed
    ]
    return reading


def _kind(row: dict[str, str], table: Path) -> Kind | None:
    kinds = [kind for column, kind in KINDS.items() if row.get(column, "").casefold() in ("y", "yes", "true", "1")]
    if len(kinds) > 1:
        return "mixed"
    return kinds[0] if kinds else TASKS.get(table.parent.name.casefold())


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, cells by lower-case column) of a reference. Raises `DataError` when columns are missing."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise DataError(f"{table} is not UTF-8 text") from None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="|")
    try:
        header = [cell.strip().casefold() for cell in next(rows, [])]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise DataError(f"{table}: line 1 has no column {missing[0]}", "expected columns split by |")
        found = []
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) < len(header):
                raise DataError(f"{table}: line {rows.line_num} has {len(cells)} cells, the header has {len(header)}")
            found.append((rows.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=False)}))
        return found
    except csv.Error as error:
        raise DataError(f"{table}: line {rows.line_num} is not valid CSV: {error}") from error
