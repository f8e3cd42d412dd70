"""The rows of `pseudo.jsonl`: how each pseudo-mask was made, and which pictures have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from imltool.config import Frozen
from imltool.journal import read_rows, typed_rows

JOURNAL = "pseudo.jsonl"
ANNOTATOR = "annotator"
"""Recorded as the source of a mask or filled box that a person accepted."""

NO_BOX_WORDS = {
    "": "nothing boxed",
    "authentic": "judged authentic, no box",
    "unsure": "judged unsure, not used",
    "skipped": "skipped, not judged",
}


class BoxRecord(Frozen):
    """How the mask of one box was made.

    Attributes:
        box: XYXY.
        used: the teacher's name, `box`, or `annotator` if a person accepted a mask or the box.
        predicted_iou, stability: None for teachers without them, and if a person decided.
        coverage: share of the box that the mask covers.
        choice: which of SAM's masks, None if a person decided.
    """

    box: tuple[float, float, float, float]
    used: str
    predicted_iou: float | None
    stability: float | None
    coverage: float
    choice: int | None


class PseudoRow(Frozen):
    """A row of `pseudo.jsonl` for a picture with a pseudo-mask.

    Attributes:
        engine: None for a non-learned teacher.
        annotation_sha256: of the boxes and their accepted labels; "" in rows of earlier versions.
        mask: path relative to the output folder, with forward slashes.
        mask_area: share of the picture.
    """

    image: str
    status: Literal["ok"] = "ok"
    teacher: str
    engine: str | None
    width: int
    height: int
    sha256: str
    annotation_sha256: str = ""
    boxes: tuple[BoxRecord, ...]
    mask: str
    mask_sha256: str
    mask_area: float
    seconds: float


class FailedPicture(Frozen):
    """A picture that cannot be read or has a damaged accepted mask. It is not journalled: the next run tries again."""

    image: str
    status: Literal["failed"] = "failed"
    reason: str


class WithdrawnPicture(Frozen):
    """A row of `pseudo.jsonl` for a picture whose pseudo-mask was removed, because it has no usable box any more."""

    image: str
    status: Literal["withdrawn"] = "withdrawn"


class BoxlessPicture(Frozen):
    """A row of `pseudo.jsonl` that keeps, for training, the verdict on a picture that was judged and has no box."""

    image: str
    status: Literal["no box"] = "no box"
    verdict: str


Journalled = PseudoRow | WithdrawnPicture | BoxlessPicture
_ROW: TypeAdapter[Journalled] = TypeAdapter(Annotated[Journalled, Field(discriminator="status")])


def newest_rows(path: Path, rows: Sequence[object]) -> dict[str, Journalled]:
    """The newest row of each picture, from the rows of the journal `path`. Raises `DataError`."""
    return {row.image: row for row in typed_rows(path, rows, _ROW.validate_python)}


def _newest(out: Path) -> dict[str, Journalled]:
    return newest_rows(out / JOURNAL, read_rows(out / JOURNAL))


def read_pseudo(out: Path) -> list[PseudoRow]:
    """Rows of a finished or running `pseudo` output, the newest for each picture with a pseudo-mask.

    Raises `DataError` when the output is missing or damaged.
    """
    return [row for row in _newest(out).values() if isinstance(row, PseudoRow)]


def read_boxless(out: Path) -> dict[str, str]:
    """Pictures that the annotation of a `pseudo` output lists without a box → the reason, in a few words.

    Wording is from `NO_BOX_WORDS`; other verdicts of an annotator are returned unchanged. Raises as `read_pseudo` does.
    """
    judged = [row for row in _newest(out).values() if isinstance(row, BoxlessPicture)]
    return {row.image: no_box_words(row.verdict) for row in judged}


def no_box_words(verdict: str) -> str:
    """The reason why a picture has no box, in a few words, for a verdict of `BoxReport.empty`."""
    return NO_BOX_WORDS.get(verdict, verdict)
