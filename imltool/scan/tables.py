"""The results as tables for spreadsheets; their columns are the fields of a row's models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from imltool import tables
from imltool.evidence.model import Part
from imltool.scan.results import ScanResult
from imltool.texts import printable

TABLE = "results.csv"
ERRORS = "errors.csv"
ERROR_COLUMNS = ("path", "sha256", "size_bytes", "reason")
LEFT_OUT = ("previous_sha256",)


def table_text(results: Iterable[ScanResult]) -> str:
    """The text of `results.csv`: one column per field; fields of parts are prefixed by the part's name (`camera_make`).

    Lists of texts and numbers are joined by ` | `, and so are the texts of parts that have one, equal ones once; other
    lists are counted; dictionaries are left out. A missing value is empty. A text that a spreadsheet would interpret as
    a formula is prefixed by `'`, and such a path by `./`, which names the same file.
    """
    names = [column.name for column in columns()]
    return csv_text(names, ([column.cell(one) for column in columns()] for one in results))


def errors_text(results: Iterable[ScanResult]) -> str:
    """The text of `errors.csv`: the files that could not be analysed and why, with the cells of `results.csv`."""
    failed = (one for one in results if one.status != "ok")
    return csv_text(ERROR_COLUMNS, ([getattr(one, name) for name in ERROR_COLUMNS] for one in failed))


TABLES: dict[str, Callable[[Iterable[ScanResult]], str]] = {TABLE: table_text, ERRORS: errors_text}
"""The tables written at the end of a scan: name of the file → function that makes its text."""


@dataclass(frozen=True)
class Column:
    """A column of `results.csv`: the fields that lead to its value, and whether it counts the items of a list."""

    fields: tuple[str, ...]
    counted: bool = False

    @property
    def name(self) -> str:
        return "_".join(self.fields).removeprefix("context_")

    def cell(self, result: ScanResult) -> Any:
        """The value of one file; None when it has none."""
        value: Any = result
        for name in self.fields:
            value = None if value is None else getattr(value, name)
        if not isinstance(value, tuple):
            return value
        if self.counted:
            return len(value)
        texts = [str(getattr(one, "text", one)) for one in value]
        return " | ".join(dict.fromkeys(texts) if value and isinstance(value[0], Part) else texts)


@cache
def columns() -> tuple[Column, ...]:
    """All columns of `results.csv`, in the order of the models' fields."""
    return tuple(_columns(ScanResult))


def _columns(model: type[Part], above: tuple[str, ...] = ()) -> Iterator[Column]:
    for name, field in model.model_fields.items():
        fields, kinds = (*above, name), _kinds(field.annotation)
        parts = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Part)]
        if tuple in kinds:
            yield Column(fields, any("text" not in part.model_fields for part in parts))
        elif parts:
            yield from _columns(parts[0], fields)
        elif dict not in kinds and name not in LEFT_OUT:
            yield Column(fields)


def _kinds(annotation: Any) -> set[Any]:
    """The types in an annotation: {tuple, Region} of `tuple[Region, ...] | None`."""
    inner = set().union(*map(_kinds, get_args(annotation)))
    return {get_origin(annotation) or annotation} | inner


def csv_text(names: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """The text of a CSV table; texts that a spreadsheet would interpret as formulas are guarded (see `table_text`)."""
    rows = (zip(names, cells, strict=True) for cells in lines)
    return tables.csv_text(names, ({name: _cell(name, value) for name, value in row} for row in rows))


def _cell(name: str, value: Any) -> Any:
    """A value that no spreadsheet evaluates; control characters, which file names may hold, are escaped."""
    if not isinstance(value, str):
        return value
    text, guard = printable(value), "./" if name == "path" else "'"
    return guard + text if text[:1] in tuple("=+-@") or value[:1] in tuple("\t\r\n") else text
