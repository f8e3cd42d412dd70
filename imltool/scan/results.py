"""Rows of a scan as frozen objects: the single definition of the keys and types of `results.jsonl`.

`ScanResult.of_row` makes an object from a row, and `model_dump(mode="json")` returns the row.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from imltool.errors import DataError
from imltool.evidence.model import Context, Part, Remark
from imltool.journal import read_rows
from imltool.pictures.images import Map, Mask, read_map, read_mask
from imltool.scan.verdicts import INDICATION, Word

RESULTS = "results.jsonl"


class Region(Part):
    """A connected part of the mask: box and area in pixels of the upright picture; `score` is the map's mean in it."""

    x: int
    y: int
    width: int
    height: int
    area: int
    score: float


class ChangedScore(Part):
    """The score after one change of `stability`, and its verdict; both None where it could not be scored."""

    change: str
    score: float | None
    verdict: Word | None


class ScanResult(Part):
    """The result of one file: a row of `results.jsonl`. It has every key; values of a failed file are None or empty.

    Attributes:
        path: the file's name in the results: relative to the folder scanned, with forward slashes; unique.
        sha256, size_bytes: of the file; None when it could not be read.
        status: "ok", or "failed" with the `reason`.
        width, height: pixels, EXIF orientation applied; None when it could not be decoded.
        score: image score in [0,1], see `image_score`.
        verdict: the word for the score at the scan's operating point.
        verdict_reason: why the verdict is inconclusive, unless its score is between the points and no change flips it.
        stability: the scores after mild changes; None when not requested.
        tampered_area: share of the pixels above the map's threshold.
        regions: connected parts of the mask, largest first.
        map, mask, overlay, preview: files below the output folder, with forward slashes.
        companions: name → file of the companion maps that were requested.
        outputs_sha256: each of these files → its SHA-256.
        context: None when the file could not be read at all.
        remarks: notable facts of the context; no verdicts.
        previous_sha256: of the line before, see `imltool.scan.chain`; empty until the row is in its journal.
    """

    path: str
    sha256: str | None = None
    size_bytes: int | None = None
    status: Literal["ok", "failed"]
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    score: float | None = None
    verdict: Word | None = None
    verdict_reason: str | None = None
    stability: tuple[ChangedScore, ...] | None = None
    tampered_area: float | None = None
    regions: tuple[Region, ...] = ()
    map: str | None = None
    mask: str | None = None
    overlay: str | None = None
    preview: str | None = None
    companions: dict[str, str] = Field(default_factory=dict)
    outputs_sha256: dict[str, str] = Field(default_factory=dict)
    context: Context | None = None
    remarks: tuple[Remark, ...] = ()
    previous_sha256: str = ""

    _out: Path = PrivateAttr()

    @classmethod
    def of_row(cls, row: dict[str, Any], out: Path) -> ScanResult:
        """The object for a row of `results.jsonl` in the output folder `out`.

        Raises `DataError` when the row is not of this version's form.
        """
        return cls._checked(cls.model_validate, row, out)

    @classmethod
    def _checked(cls, validate: Callable[[Any], ScanResult], value: Any, out: Path) -> ScanResult:
        try:
            result = validate(value)
        except ValueError as error:
            raise _other_form(error, out) from error
        result._out = out  # noqa: SLF001
        return result

    def chained(self, previous_sha256: str, out: Path) -> ScanResult:
        """A copy for the journal of the output folder `out`, with the hash of the line before it."""
        result = self.model_copy(update={"previous_sha256": previous_sha256})
        result._out = out  # noqa: SLF001
        return result

    @classmethod
    def of_line(cls, line: bytes, out: Path) -> ScanResult:
        """The object for a line of `results.jsonl` in the output folder `out`. Raises `DataError` as `of_row` does."""
        return cls._checked(cls.model_validate_json, line, out)

    @property
    def is_indicated(self) -> bool:
        """Whether the verdict is an indication."""
        return self.verdict == INDICATION

    def read_map(self) -> Map:
        """The probability map of the upright picture, float32 [H,W] in [0,1]. Raises `DataError`, `ImageError`."""
        return read_map(self._file(self.map))

    def read_mask(self) -> Mask:
        """The mask, bool [H,W]: True where the map exceeds the scan's threshold. Raises `DataError`, `ImageError`."""
        return read_mask(self._file(self.mask))

    def _file(self, name: str | None) -> Path:
        if name is None:
            raise DataError(f"{self.path} has no map: {self.reason}")
        return self._out / name


def _other_form(error: ValueError, out: Path) -> DataError:
    """An error that names the first invalid value."""
    what = str(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        what = ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
    return DataError(f"a row of {out} is not in the form that this version writes ({what})", "scan again")


def read_results(out: Path) -> list[ScanResult]:
    """The results in the output folder of a scan. The folder is not changed. Raises `DataError`."""
    return [ScanResult.of_row(row, out) for row in read_rows(out / RESULTS)]
