"""Compare two or more evaluations of the same pictures, paired picture by picture.

Pairing removes the variation between pictures: the difference of two methods with widely overlapping intervals can
still be significant on the same pictures, which only the paired difference shows.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imltool.errors import DataError, UsageError
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import Interval, interval, mean_interval, resampled_levels
from imltool.evaluation.report import JOURNAL_NAME, RESULTS_NAME
from imltool.evaluation.results import DataInfo, Results
from imltool.evaluation.rows import ImageRow
from imltool.journal import read_rows
from imltool.texts import counted

TIE = 1e-6
"""Differences up to this are ties (our choice)."""


@dataclass(frozen=True)
class Compared:
    """A metric that can be compared.

    Attributes:
        heading: its heading in tables.
        name: its name for `ImageRow.metric`; "" for the image AUC, which is computed from scores.
        tampered: whether it is over tampered pictures (True), authentic ones (False), or both (None).
        higher: whether higher is better.
    """

    heading: str
    name: str
    tampered: bool | None
    higher: bool = True

    def of(self, row: ImageRow) -> float | None:
        """The metric of a picture, or its score for the image AUC; None if it does not exist."""
        if not self.name:
            return row.score
        return row.metric(self.name) if row.tampered is self.tampered else None


METRICS: dict[str, Compared] = {
    "f1": Compared("pixel F1", "f1", True),
    "f1_calibrated": Compared("pixel F1 calibrated", "f1_calibrated", True),
    "iou": Compared("pixel IoU", "iou", True),
    "mcc": Compared("pixel MCC", "mcc", True),
    "auc": Compared("pixel AUC", "auc", True),
    "ap": Compared("pixel AP", "ap", True),
    "fp_area": Compared("FP area", "flagged_area", False, higher=False),
    "image_auc": Compared("image AUC", "", None),
}
"""Name for `--metric` → metric."""
DEFAULT = ("f1", "fp_area", "image_auc")

PictureRows = dict[tuple[str, str], ImageRow]
"""(set, picture) → its scored row."""
RowPair = tuple[ImageRow, ImageRow]


@dataclass(frozen=True)
class Entrant:
    """The rows of a method in a folder of results.

    Attributes:
        label: a unique label in the comparison.
        folder: the evaluation's folder.
        method: its label in the evaluation.
        rows: rows of the pictures it has scored.
        data: the sets of the evaluation.
        min_max: whether the evaluation stretched maps to 0..1.
    """

    label: str
    folder: Path
    method: str
    rows: PictureRows
    data: dict[str, DataInfo]
    min_max: bool


@dataclass(frozen=True)
class Comparison:
    """A method compared with the first by one metric on one set: a row of the tables.

    Attributes:
        set: "all sets" for all pictures together.
        metric: a key of `METRICS`.
        first, second: labels.
        n: number of pictures scored by both.
        difference: second minus first.
        difference_ci: 95 % interval, paired bootstrap over pictures; None for fewer than two.
        significant: `better` or `worse` for the second if the interval excludes 0, else "".
        wins, losses, ties: numbers of pictures for the second; None for the image AUC, which is not defined per
            picture.
    """

    set: str
    metric: str
    first: str
    second: str
    n: int
    first_mean: float
    second_mean: float
    difference: float
    difference_ci: Interval | None
    significant: str
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None


@dataclass(frozen=True)
class Pair:
    """A picture scored by all entrants, and its metric by the entrants' labels."""

    set: str
    image: str
    values: dict[str, float]

    @property
    def spread(self) -> float:
        return max(self.values.values()) - min(self.values.values())


def read_entrants(targets: Sequence[str]) -> list[Entrant]:
    """The methods to compare, in the order given.

    Args:
        targets: `DIR` for all methods of an evaluation, or `DIR:METHOD` for one of them.

    Raises `DataError` when a folder has no finished evaluation, `UsageError` for an unknown method or fewer than two.
    """
    found: list[tuple[Path, str, PictureRows, Results]] = []
    for target in targets:
        folder, wanted = _folder_and_method(target)
        results, by_method = _read_folder(folder)
        if wanted and wanted not in by_method:
            raise UsageError(f"{folder} holds no method {wanted!r}", f"it holds {', '.join(by_method)}")
        found += [
            (folder, method, rows, results) for method, rows in by_method.items() if not wanted or method == wanted
        ]
    if len(found) < 2:
        raise UsageError("only one method is given", "give two folders of imltool eval, or one with several methods")
    methods = [method for _, method, _, _ in found]
    labels = [
        method if methods.count(method) == 1 else f"{method} ({folder.as_posix()})" for folder, method, _, _ in found
    ]
    if len(set(labels)) < len(labels):
        doubled = next(label for label in labels if labels.count(label) > 1)
        raise UsageError(f"{doubled} is given twice", "give each method once")
    return [
        Entrant(label, folder, method, rows, results.data, results.options.min_max)
        for label, (folder, method, rows, results) in zip(labels, found, strict=True)
    ]


def _folder_and_method(target: str) -> tuple[Path, str]:
    """Parse `DIR` or `DIR:METHOD`; both may contain colons, so the longest part that is a folder is taken."""
    parts = target.split(":")
    for end in range(len(parts), 0, -1):
        folder = Path(":".join(parts[:end]))
        if folder.is_dir():
            return folder, ":".join(parts[end:])
    return Path(target), ""


def _read_folder(folder: Path) -> tuple[Results, dict[str, PictureRows]]:
    """Read `results.json` of an evaluation, and the rows of its methods."""
    try:
        results = Results.model_validate_json((folder / RESULTS_NAME).read_bytes())
    except OSError as error:
        raise DataError(
            f"{folder} holds no evaluation: {error.filename}: {error.strerror}", "give a folder of imltool eval"
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split()[:20])
        raise DataError(f"{folder} holds a damaged evaluation: {reason}", "run imltool eval again") from error
    if not results.complete:
        raise DataError(f"the evaluation in {folder} is not complete", "run the same imltool eval command again")
    by_method: dict[str, PictureRows] = {one.label: {} for one in results.methods}
    counts = {(one.label, name): 0 for one in results.methods for name in results.data}
    try:
        for line in read_rows(folder / JOURNAL_NAME)[1:]:
            row = ImageRow.from_line(line)
            counts[line["method"], line["set"]] += 1
            if row.ok:
                # without its curve, which no comparison needs and which would fill the memory for a large set
                by_method[line["method"]][line["set"], row.name] = replace(row, curve=None)
    except (DataError, KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise DataError(
            f"{folder} holds a damaged evaluation: {JOURNAL_NAME}: {error}", "run imltool eval again"
        ) from error
    for (label, name), count in counts.items():
        if count != results.data[name].n:
            raise DataError(
                f"{folder} holds a damaged evaluation: {JOURNAL_NAME} has {count} of {results.data[name].n} pictures "
                f"of {name} by {label}",
                "run imltool eval again",
            )
    return results, by_method


def check_same_pictures(entrants: Sequence[Entrant]) -> list[str]:
    """Check whether the evaluations are comparable. Returns a line for each limitation: files that differ, pictures
    scored only by some, different ways of scoring.

    Raises `DataError` when no picture was scored by all.
    """
    first = entrants[0]
    shared = set.intersection(*(set(one.rows) for one in entrants))
    same = {key for key in shared if all(_same_truth(key, first, other) for other in entrants[1:])}
    if not same:
        raise DataError(
            f"{first.label} and {entrants[1].label} have no picture in common",
            "evaluate both on the same --data, under the same names",
        )
    notes = []
    for name in dict.fromkeys(set_name for one in entrants for set_name, _ in one.rows):
        digests = {one.data[name].sha256 for one in entrants if name in one.data}
        if len(digests) > 1:
            notes.append(f"{name} was not the same in all evaluations: pictures or masks differ")
        scored = set().union(*({key for key in one.rows if key[0] == name} for one in entrants))
        if left_out := len(scored - shared):
            count = counted(left_out, "picture was", "pictures were")
            notes.append(f"{name}: {count} not scored in all evaluations and cannot be paired with all")
        if other := len((scored & shared) - same):
            count = counted(other, "picture is", "pictures are")
            notes.append(f"{name}: {count} tampered in one evaluation and authentic in another, and cannot be paired")
    if len({bool(one.min_max) for one in entrants}) > 1:
        notes.append("maps were stretched to 0..1 in some evaluations and not in others (--min-max)")
    return notes


def compare(entrants: Sequence[Entrant], names: Sequence[str], seed: int) -> list[Comparison]:
    """Compare each entrant with the first: one row per set, metric and other entrant, then rows for all sets together.

    Rows for all sets are made if there is more than one. A metric that does not exist on a set has no row for it.
    """
    reference = entrants[0]
    sets: list[str | None] = [*dict.fromkeys(set_name for set_name, _ in reference.rows)]
    rows = []
    for set_name in [*sets, None] if len(sets) > 1 else sets:
        for other in entrants[1:]:
            # pictures keep the first's order, so that a seed always gives the same interval
            keys = [key for key in reference.rows if _same_truth(key, reference, other) and set_name in (None, key[0])]
            pairs = [(reference.rows[key], other.rows[key]) for key in keys]
            for name in names:
                head = (set_name or "all sets", name, reference.label, other.label)
                row = _auc_row(head, pairs, seed) if name == "image_auc" else _mean_row(head, pairs, seed)
                rows += [row] if row is not None else []
    return rows


def _same_truth(key: tuple[str, str], one: Entrant, other: Entrant) -> bool:
    """Whether both scored a picture, as tampered or as authentic: AUC of different answers cannot be compared."""
    return key in other.rows and one.rows[key].tampered is other.rows[key].tampered


def paired(entrants: Sequence[Entrant], name: str) -> list[Pair]:
    """The pictures for which all entrants have a metric."""
    pairs = []
    for key in entrants[0].rows:
        values = {one.label: METRICS[name].of(one.rows[key]) for one in entrants if key in one.rows}
        known = {label: value for label, value in values.items() if value is not None}
        if len(known) == len(entrants):
            pairs.append(Pair(*key, known))
    return pairs


def most_different(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The pairs with the largest spread between entrants, ties in input order, without pairs of equal values."""
    ranked = sorted(pairs, key=lambda pair: pair.spread, reverse=True)
    return [pair for pair in ranked[:count] if pair.spread > TIE]


Head = tuple[str, str, str, str]


def _mean_row(head: Head, pairs: Sequence[RowPair], seed: int) -> Comparison | None:
    metric = METRICS[head[1]]
    found = [(metric.of(one), metric.of(other)) for one, other in pairs]
    values = np.array([pair for pair in found if None not in pair], dtype=np.float64).reshape(-1, 2)
    if not len(values):
        return None
    change = values[:, 1] - values[:, 0]
    gain = change if metric.higher else -change
    limits = mean_interval(change, seed)
    return Comparison(
        *head,
        n=len(values),
        first_mean=float(values[:, 0].mean()),
        second_mean=float(values[:, 1].mean()),
        difference=float(change.mean()),
        difference_ci=limits,
        significant=_significant(limits, metric.higher),
        wins=int((gain > TIE).sum()),
        losses=int((gain < -TIE).sum()),
        ties=int((np.abs(gain) <= TIE).sum()),
    )


def _auc_row(head: Head, pairs: Sequence[RowPair], seed: int) -> Comparison | None:
    sides = [
        [[pair[who].score for pair in pairs if pair[who].tampered is side] for side in (True, False)] for who in (0, 1)
    ]
    if not all(sides[0]):
        return None
    first, second = (metrics.image_auc(*both) for both in sides)
    levels = [resampled_levels(*both) for both in sides]
    limits = interval(
        lambda *drawn: metrics.auc(*levels[1](*drawn)) - metrics.auc(*levels[0](*drawn)),
        [len(side) for side in sides[0]],
        seed,
    )
    return Comparison(
        *head,
        n=len(pairs),
        first_mean=first,
        second_mean=second,
        difference=second - first,
        difference_ci=limits,
        significant=_significant(limits, True),
    )


def _significant(limits: Interval | None, higher: bool) -> str:
    if limits is None or limits[0] <= 0 <= limits[1]:
        return ""
    return "better" if (limits[0] > 0) is higher else "worse"
