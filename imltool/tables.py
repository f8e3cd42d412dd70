"""Tables as values, and their text in Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        title: one line above it.
        heads: a heading for each column.
        rows: cells, as many in each row as there are headings.
        text_columns: number of leading columns that hold text; the others hold numbers and are right-aligned.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int

    def markdown(self) -> list[str]:
        """Lines of a Markdown table, without the title."""
        rule = "|" + "---|" * self.text_columns + "---:|" * (len(self.heads) - self.text_columns)
        return [_line(self.heads), rule, *(_line(row) for row in self.rows)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def number(value: float | None, limits: tuple[float, float] | None = None, sign: bool = False) -> str:
    """A metric with three decimals and its interval in brackets; an integer unchanged; `–` for None."""
    if value is None or isinstance(value, int):
        return "–" if value is None else str(value)
    form = "{:+.3f}" if sign else "{:.3f}"
    text = form.format(value)
    return f"{text} [{', '.join(form.format(limit) for limit in limits)}]" if limits else text


def cell(value: object, form: str) -> str:
    """A value in a format such as `{:.3f}`; `–` for None."""
    return "–" if value is None else form.format(value)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """The text of a CSV file with a header line. None and missing cells are empty; other keys are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
