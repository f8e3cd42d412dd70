"""Rows of a scan as objects: the keys and values of `results.jsonl`, with types, and not to be changed.

`ScanResult.of_row` makes one of a row, and `model_dump(mode="json")` gives the row again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import PrivateAttr

from imltool.errors import DataError
from imltool.evidence.model import Context, Part, Remark
from imltool.pictures.images import Map, Mask, read_map, read_mask
from imltool.scan.verdicts import INDICATION, Word


class Region(Part):
    """A connected part of the mask, in pixels of the upright picture: its box, its area, the map's mean in it."""

    x: int
    y: int
    width: int
    height: int
    area: int
    score: float


class ChangedScore(Part):
    """What one change of `stability` made of the score; both None where it could not be scored."""

    change: str
    score: float | None
    verdict: Word | None


class ScanResult(Part):
    """What a scan tells of one file.

    Attributes:
        path: how results call the file: relative to the folder scanned, with forward slashes.
        sha256, size_bytes: of the file; None when it could not be read.
        status: "ok", or "failed" with the `reason`.
        width, height: pixels, EXIF orientation applied; None when it could not be decoded.
        score: image score in [0,1]; None for a failed file, as are verdict, area and paths.
        verdict: the word for the score at the scan's operating point.
        verdict_reason: why it is inconclusive where the score says otherwise.
        stability: the scores after mild changes, when they were asked for.
        tampered_area: share of the pixels above the map's threshold.
        regions: connected parts of the mask, largest first.
        map, mask, overlay: files below the output folder, with forward slashes.
        companions: name → file of the companion maps that were asked for.
        outputs_sha256: each of these files → its hash.
        context: None when the file could not be read at all.
        remarks: what stands out in the context; no verdicts.
        previous_sha256: of the line before, see `imltool.scan.chain`.
    """

    path: str
    sha256: str | None
    size_bytes: int | None
    status: Literal["ok", "failed"]
    reason: str | None
    width: int | None
    height: int | None
    score: float | None
    verdict: Word | None
    verdict_reason: str | None
    stability: tuple[ChangedScore, ...] | None
    tampered_area: float | None
    regions: tuple[Region, ...]
    map: str | None
    mask: str | None
    overlay: str | None
    companions: dict[str, str]
    outputs_sha256: dict[str, str]
    context: Context | None
    remarks: tuple[Remark, ...]
    previous_sha256: str

    _out: Path = PrivateAttr()

    @classmethod
    def of_row(cls, row: dict[str, Any], out: Path) -> ScanResult:
        """The object for a row of `results.jsonl` in the output folder `out`.

        Raises `DataError` when the row is not of this version's form.
        """
        try:
            result = cls.model_validate(row)
        except ValueError as error:
            raise DataError(f"a row of {out} is not of the form that this version writes: {error}") from error
        result._out = out
        return result

    @classmethod
    def of_line(cls, line: bytes, out: Path) -> ScanResult:
        """The object for a line of `results.jsonl` in the output folder `out`. Raises `DataError` as `of_row` does."""
        try:
            result = cls.model_validate_json(line)
        except ValueError as error:
            raise DataError(f"a row of {out} is not of the form that this version writes: {error}") from error
        result._out = out
        return result

    @property
    def is_indicated(self) -> bool:
        """Whether the verdict is an indication."""
        return self.verdict == INDICATION

    def read_map(self) -> Map:
        """The probability map, float32 [H,W] in [0,1], of the upright picture. Raises `DataError`, `ImageError`."""
        return read_map(self._file(self.map))

    def read_mask(self) -> Mask:
        """Where the map exceeds the scan's threshold, bool [H,W]. Raises `DataError`, `ImageError`."""
        return read_mask(self._file(self.mask))

    def _file(self, name: str | None) -> Path:
        if name is None:
            raise DataError(f"{self.path} has no map: {self.reason}")
        return self._out / name
