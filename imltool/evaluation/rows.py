"""A picture scored by a method: its measurements, and its line in `per_image.jsonl`."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from imltool.errors import DataError
from imltool.evaluation import compat, metrics
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts, IntArray
from imltool.files import writing
from imltool.journal import Journal

HALF = "half"
CALIBRATED = "calibrated"


@dataclass(frozen=True)
class Counting:
    """Measurements of each picture in addition to the counts at its thresholds.

    Attributes:
        protocols: names in `compat.PROTOCOLS`.
        side: side in pixels at which the protocol `imdlbenco` measures.
        curves: whether to measure pixel AUC, AP and the counts at every threshold of a curve.
        min_max: whether to stretch each map to 0..1 before counting. This changes F1, because a map that marks nothing
            then marks something; it is for methods with numbers published in this way.
    """

    protocols: tuple[str, ...] = ()
    side: int = compat.DEFAULT_SIDE
    curves: bool = True
    min_max: bool = False


PLAIN = Counting()


@dataclass(frozen=True)
class Curve:
    """Counts of a picture at each of the T `CURVE_THRESHOLDS`.

    Attributes:
        tp, fp: int64 [T], number of tampered and of authentic pixels strictly above the threshold.
        positives, negatives: number of tampered and of authentic pixels.
    """

    tp: IntArray
    fp: IntArray
    positives: int
    negatives: int

    @classmethod
    def of(cls, counts: Counts) -> Curve:
        """From counts [T]."""
        return cls(counts.tp, counts.fp, int(counts.tp[0] + counts.fn[0]), int(counts.fp[0] + counts.tn[0]))

    def counts(self) -> Counts:
        """Counts [T]."""
        return Counts(self.tp, self.fp, self.positives - self.tp, self.negatives - self.fp)

    def packed(self) -> str:
        """Base64 of zlib over 2·T + 2 little-endian int32: differences along tp, along fp, positives, negatives."""
        steps = np.diff(np.stack([self.tp, self.fp]), axis=1, prepend=0).ravel()
        numbers = np.append(steps, [self.positives, self.negatives]).astype("<i4")
        return base64.b64encode(zlib.compress(numbers.tobytes())).decode()

    @classmethod
    def unpacked(cls, text: str) -> Curve:
        """The inverse of `packed`. Raises ValueError or zlib.error for anything else."""
        numbers = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i4").astype(np.int64)
        tp, fp = np.cumsum(numbers[:-2].reshape(2, CURVE_THRESHOLDS.size), axis=1)
        return cls(tp, fp, int(numbers[-2]), int(numbers[-1]))


@dataclass(frozen=True)
class ImageRow:
    """The measurements of a picture.

    Attributes:
        name: the sample's name within its set.
        tampered: whether it has ground truth that is not empty.
        reason: why it failed; "" if it was scored. A failed row has no measurements.
        width, height: size in pixels.
        score: image score in [0,1].
        counts: threshold name → confusion counts at the picture's own resolution.
        curve: counts at `CURVE_THRESHOLDS`; None for an authentic picture.
        pixel_auc, pixel_ap: AUC and AP of this picture's pixels; NaN if they do not exist.
        kind: the kind of manipulation, None if unknown.
        compat: protocol → metrics of this picture under it.
    """

    name: str
    tampered: bool
    reason: str = ""
    width: int = 0
    height: int = 0
    score: float = math.nan
    counts: Mapping[str, Counts] = field(default_factory=dict)
    curve: Curve | None = None
    pixel_auc: float = math.nan
    pixel_ap: float = math.nan
    kind: str | None = None
    compat: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.reason

    def metric(self, name: str) -> float | None:
        """A pixel metric of this picture; None if it does not exist.

        Args:
            name: `f1`, `f1_calibrated`, `iou`, `mcc`, `precision`, `recall`, `auc`, `ap` (tampered pictures) or
                `flagged_area` (any picture; for an authentic one this is the false-positive area).
        """
        if not self.ok or (not self.tampered and name != "flagged_area"):
            return None
        if name in ("auc", "ap"):
            return _known(self.pixel_auc if name == "auc" else self.pixel_ap)
        if name == "f1_calibrated":
            return float(metrics.f1(self.counts[CALIBRATED])) if CALIBRATED in self.counts else None
        return float(getattr(metrics, name)(self.counts[HALF]))

    def edit_area(self) -> float:
        """Share of the picture's pixels that are truly tampered, in 0..1."""
        half = self.counts[HALF]
        return float((half.tp + half.fn) / (half.tp + half.fp + half.fn + half.tn))

    def as_line(self) -> dict[str, Any]:
        """JSON values from which `from_line` makes the same row; metrics that do not exist are None."""
        line: dict[str, Any] = {"image": self.name, "tampered": self.tampered, "reason": self.reason}
        if self.ok:
            line |= {"width": self.width, "height": self.height, "score": self.score, "kind": self.kind}
            line["counts"] = {name: one.as_array().tolist() for name, one in self.counts.items()}
            line |= {"auc": _known(self.pixel_auc), "ap": _known(self.pixel_ap)}
            line["curve"] = self.curve.packed() if self.curve else None
            line["compat"] = {
                name: {key: _known(value) for key, value in found.items()} for name, found in self.compat.items()
            }
        return line

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> ImageRow:
        """The inverse of `as_line`. Raises KeyError, TypeError, ValueError or zlib.error for anything else."""
        name, tampered, reason = str(line["image"]), bool(line["tampered"]), str(line["reason"])
        if reason:
            return cls(name, tampered, reason)
        return cls(
            name,
            tampered,
            width=int(line["width"]),
            height=int(line["height"]),
            score=float(line["score"]),
            counts={key: Counts.from_array(np.array(one)) for key, one in line["counts"].items()},
            curve=Curve.unpacked(line["curve"]) if line["curve"] else None,
            pixel_auc=_number(line["auc"]),
            pixel_ap=_number(line["ap"]),
            kind=line["kind"],
            compat={key: {k: _number(v) for k, v in found.items()} for key, found in line["compat"].items()},
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


RowT = TypeVar("RowT")


def open_rows(
    path: Path, header: Mapping[str, Any], read: Callable[[dict[str, Any]], RowT]
) -> tuple[Journal, list[RowT], str]:
    """Open a journal with the first line `header` for appending; returns it, its rows, and why it was restarted, or "".

    It is restarted if it has another header or a line that `read` refuses. Raises `OutputError`.
    """
    why = ""
    if path.exists():
        try:
            with ExitStack() as held:
                journal = held.enter_context(Journal(path))
                if journal.rows and journal.rows[0] == header:
                    rows = [read(line) for line in journal.rows[1:]]
                    held.pop_all()  # the caller closes it
                    return journal, rows, ""
                why = "were made with other versions" if journal.rows else ""
        except (DataError, KeyError, TypeError, ValueError, AttributeError, zlib.error):
            why = "are damaged"
        with writing(path):
            path.unlink()
    journal = Journal(path)
    journal.append(dict(header))
    return journal, [], why
