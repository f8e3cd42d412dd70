"""Decisions of examiners on the pictures of a scan: rows of `decisions.jsonl`, kept apart from the machine's results.

`imltool review` appends a row for every change. Each row holds the hash of the line before (see `imltool.scan.chain`),
so that none can be changed, added or removed undetected. The latest row of a picture is its decision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from imltool.config import Frozen
from imltool.errors import DataError
from imltool.files import sha256_text
from imltool.journal import appended_lines
from imltool.scan.tables import csv_text
from imltool.scan.verdicts import Word

DECISIONS = "decisions.jsonl"
DECISIONS_TABLE = "decisions.csv"
DECISIONS_JSON = "decisions.json"
ORIGIN = sha256_text("imltool decisions 1\n")
"""`previous_sha256` of the first row."""

Status = Literal["open", "relevant", "not relevant", "to be checked"]
STATUSES: tuple[Status, ...] = get_args(Status)
Conclusion = Literal["edited", "not edited", "inconclusive"]
CONCLUSIONS: dict[Conclusion, str] = {
    "edited": "The findings support that the picture was edited.",
    "not edited": "The findings support that the picture was not edited.",
    "inconclusive": "The findings support neither.",
}
"""The examiner's conclusion → the sentence of the report (our choice of words, after the verbal scales of ENFSI)."""

MOST_BOXES = 500
LIMIT = 1_000_000.0
"""No picture is wider: bounds coordinates that come from a browser."""
Coordinate = Annotated[float, Field(ge=0, le=LIMIT, allow_inf_nan=False)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Opinion(Frozen):
    """An examiner's opinion of a picture.

    Attributes:
        status: state of the examination.
        conclusion: None while there is none.
        text: the examiner's own words.
        boxes: places that the examiner considers edited, XYXY in pixels of the upright picture; None when the examiner
            has not decided on boxes, so that only the machine's regions are shown.
    """

    status: Status = "open"
    conclusion: Conclusion | None = None
    text: Annotated[str, Field(max_length=20_000)] = ""
    boxes: Annotated[tuple[Box, ...], Field(max_length=MOST_BOXES)] | None = None


class Decision(Opinion):
    """One row of the journal.

    Attributes:
        path: name of the picture in the scan's results.
        sha256, width, height: of the picture.
        score, verdict: the machine's, as the examiner saw them.
        revision: number of this change of the picture's decision, from 1.
        examiner: who decided.
        time: UTC, ISO 8601 with microseconds.
        previous_sha256: of the line before, or `ORIGIN`.
    """

    path: str
    sha256: str
    width: int
    height: int
    score: float
    verdict: Word
    revision: Annotated[int, Field(ge=1)]
    examiner: str
    time: str
    tool_version: str
    previous_sha256: str

    @property
    def opinion(self) -> Opinion:
        return Opinion(status=self.status, conclusion=self.conclusion, text=self.text, boxes=self.boxes)


def read_decisions(out: Path) -> list[Decision]:
    """All rows of a scan's `decisions.jsonl`, in their order; none when nothing was decided.

    A partial last line, which a writer may still be writing, is left out. Raises `DataError` when a row is damaged.
    """
    return parse_decisions(out / DECISIONS, appended_lines(out / DECISIONS, 0))


def parse_decisions(path: Path, data: bytes, first: int = 1) -> list[Decision]:
    """The rows of complete lines of a journal. Raises `DataError` with the line number, counted from `first`."""
    rows = []
    for number, line in enumerate(data.splitlines(), first):
        try:
            rows.append(Decision.model_validate_json(line))
        except ValueError as error:
            raise DataError(
                f"{path} is damaged at line {number}", "imltool verify says more; keep the file and ask for a copy"
            ) from error
    return rows


def latest(rows: Iterable[Decision]) -> dict[str, Decision]:
    """The latest row of every picture, by path, sorted by path."""
    found = {row.path: row for row in rows}
    return dict(sorted(found.items()))


def decisions_table(decisions: Mapping[str, Decision]) -> str:
    """The text of `decisions.csv`: the machine's result and the examiner's decision in separate columns."""
    columns = (
        "path", "sha256", "machine_score", "machine_verdict", "examiner_status", "examiner_conclusion", "examiner_text",
        "examiner_boxes", "examiner", "time", "changes",
    )  # fmt: skip
    lines = (
        (row.path, row.sha256, row.score, row.verdict, row.status, row.conclusion, row.text,
         None if row.boxes is None else len(row.boxes), row.examiner, row.time, row.revision)
        for row in decisions.values()
    )  # fmt: skip
    return csv_text(columns, lines)


def decisions_json(decisions: Mapping[str, Decision]) -> str:
    """The text of `decisions.json`: a list of objects with `path`, `sha256`, `machine` and `examiner`."""
    return (
        json.dumps(
            [
                {
                    "path": row.path,
                    "sha256": row.sha256,
                    "machine": {"score": row.score, "verdict": row.verdict},
                    "examiner": {
                        **row.opinion.model_dump(mode="json"),
                        "name": row.examiner,
                        "time": row.time,
                        "changes": row.revision,
                    },
                }
                for row in decisions.values()
            ],
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


EXPORTS = {DECISIONS_TABLE: decisions_table, DECISIONS_JSON: decisions_json}
"""Name of a file → the function that makes its text from the latest decisions."""
