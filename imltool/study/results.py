"""Compute the metrics of a study from its measurements: means over seeds, intervals, paired differences.

Intervals are from a bootstrap that draws pictures and seeds, both with replacement and crossed: every drawn picture is
combined with every drawn seed. With few seeds they are still too narrow; the spread of the seeds is also reported (our
choice).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imltool.config import Exact, JsonFile
from imltool.evaluation.bootstrap import Interval, Weights, interval
from imltool.evaluation.results import ListFile
from imltool.evaluation.roles import Role
from imltool.study.settings import StudySettings

IMAGE_METRICS = ("pixel_f1", "pixel_f1_calibrated", "pixel_auc", "fp_area")
"""Metrics of single pictures, with intervals and paired differences. `fp_area` is for authentic pictures."""
SET_METRICS = ("pixel_f1_oracle", "image_auc", "image_tpr_at_5fpr")
"""Metrics of a whole set, for which only the mean over seeds is reported."""
ROLES = ("ind", "ood")

FloatArray = NDArray[np.float64]
Values = list[float | None]


class PictureColumns(Exact):
    """The scored pictures of a set as columns of equal length; None for metrics that do not exist."""

    name: list[str]
    tampered: list[bool]
    pixel_f1: Values
    pixel_f1_calibrated: Values
    pixel_auc: Values
    fp_area: Values


class Measurement(Exact):
    """The measurement of a run on a set: a line of the journal.

    Attributes:
        files: hash of the set's pictures and masks.
        first_failure: the first picture that could not be scored and why, None if all were scored.
        metrics: `pixel_f1` and those of `SET_METRICS`, as in `imltool eval`.
    """

    row: str
    seed: int
    checkpoint: str
    set: str
    files: str
    list: ListFile | None
    weights_sha256: str | None
    role: Role
    n_tampered: int
    n_authentic: int
    n_failed: int
    n_seen: int
    first_failure: str | None
    metrics: dict[str, float | None]
    images: PictureColumns


class RowMetric(Exact):
    """A metric of a row: mean over seeds and sets, its interval, and its difference to the reference row.

    Attributes:
        seeds: seed → mean.
        reference: the row it is compared with over the seeds that both have, or None.
        difference: this row minus the reference, picture by picture.
    """

    mean: float | None = None
    interval: Interval | None = None
    seeds: dict[str, float | None] = Field(default_factory=dict)
    reference: str | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    difference_seeds: dict[str, float | None] = Field(default_factory=dict)


class RowResult(Exact):
    """The result of a row on one set, or on all sets of a role."""

    role: Role
    seeds: list[int]
    n_tampered: int
    n_authentic: int
    n_failed: int
    pixel_f1: RowMetric
    pixel_f1_calibrated: RowMetric
    pixel_auc: RowMetric
    fp_area: RowMetric
    pixel_f1_oracle: RowMetric
    image_auc: RowMetric
    image_tpr_at_5fpr: RowMetric

    def metric(self, key: str) -> RowMetric:
        """The metric called `key`."""
        found: RowMetric = getattr(self, key)
        return found


class RoleResult(Exact):
    """Means over the sets of a role, each counting once."""

    sets: list[str]
    rows: dict[str, RowResult]


class LabelQuality(Exact):
    """Quality of the pseudo-masks used in training, measured with the true masks."""

    images: int
    iou_mean: float | None
    iou_median: float | None
    boundary_f: float | None
    under_half: float | None
    fallback: float | None


class RowInfo(Exact):
    """The changes of a row, and the quality of its pseudo-masks."""

    overrides: list[str]
    labels: dict[str, Any] | None
    label_quality: LabelQuality | None


class StudyResults(JsonFile):
    """The content of a study's `results.json`.

    Attributes:
        complete: whether every row and seed is measured on every set.
        sets: set → row → result.
        roles: `ind`, `ood` → the mean over sets of that role, if there are two or more.
    """

    study: str
    complete: bool
    checkpoint: str
    seeds: list[int]
    rows: dict[str, RowInfo]
    sets: dict[str, dict[str, RowResult]]
    roles: dict[str, RoleResult]
    command: str
    versions: dict[str, str | None]


def metric_matrix(lines: Sequence[Measurement], key: str, names: Sequence[str]) -> FloatArray:
    """A metric of single pictures as float64 [S,N], with NaN where it does not exist.

    Args:
        lines: lines of the journal for a row and set, one for each of S seeds.
        names: the N pictures.
    """
    matrix = np.full((len(lines), len(names)), np.nan)
    place = {name: index for index, name in enumerate(names)}
    for seed, line in enumerate(lines):
        for name, value in zip(line.images.name, getattr(line.images, key), strict=True):
            if value is not None and name in place:
                matrix[seed, place[name]] = value
    return matrix


def complete_matrix(matrix: FloatArray) -> FloatArray:
    """[S,N] without pictures that no seed has; missing values of a seed are the picture's mean over the others."""
    count = (~np.isnan(matrix)).sum(axis=0)
    kept, count = matrix[:, count > 0], count[count > 0]
    return np.where(np.isnan(kept), np.nansum(kept, axis=0) / count, kept)


def estimate(parts: Iterable[FloatArray], seed: int = 0) -> tuple[float, Interval | None] | None:
    """Mean over sets of the means of their values, each set counting once, and its 95 % bootstrap interval.

    Args:
        parts: values [S,N_k] of every set's pictures, without NaN. Every resample draws S seeds, the same for all
            sets, and N_k pictures of every set.

    None if a set has no picture; without interval if a set has fewer than two.
    """
    kept = list(parts)
    if not kept or any(not values.size for values in kept):
        return None
    mean = float(np.mean([values.mean() for values in kept]))
    if any(values.shape[1] < 2 for values in kept):
        return mean, None
    count = kept[0].shape[0]

    def means(*weights: Weights) -> FloatArray:
        seeds, pictures = (weights[0], weights[1:]) if count > 1 else (np.ones((len(weights[0]), 1)), weights)
        total = np.zeros(len(weights[0]))
        for values, drawn in zip(kept, pictures, strict=True):
            by_seed = drawn @ values.T / values.shape[1]
            total += (seeds / count * by_seed).sum(axis=1) / len(kept)
        return total

    sizes = [count] if count > 1 else []  # a single seed is not drawn
    return mean, interval(means, [*sizes, *(values.shape[1] for values in kept)], seed)


class Summary:
    """Computes the metrics of a study from its measurements."""

    def __init__(self, settings: StudySettings, measurements: Iterable[Measurement]) -> None:
        self.settings = settings
        self._lines: dict[tuple[str, str], dict[int, Measurement]] = {}
        for line in measurements:
            self._lines.setdefault((line.set, line.row), {})[line.seed] = line
        self.sets = list(dict.fromkeys(name for name, _ in self._lines))
        # pictures scored by any run, in the same order for all, so that runs can be compared picture by picture
        self._pictures: dict[str, dict[str, None]] = {name: {} for name in self.sets}
        for (name, _), by_seed in self._lines.items():
            for line in by_seed.values():
                self._pictures[name] |= dict.fromkeys(line.images.name)

    def rows_of(self, name: str) -> list[str]:
        """Rows measured on a set, in the study's order."""
        return [row.name for row in self.settings.rows if (name, row.name) in self._lines]

    def by_set(self) -> dict[str, dict[str, RowResult]]:
        """Set → row → result."""
        return {name: {row: self._result([name], row) for row in self.rows_of(name)} for name in self.sets}

    def by_role(self, sets: dict[str, dict[str, RowResult]]) -> dict[str, RoleResult]:
        """Role → mean over the sets that have this role in all rows, for roles with two or more such sets."""
        roles = {}
        for role in ROLES:
            members = [name for name, rows in sets.items() if rows and all(one.role == role for one in rows.values())]
            if len(members) > 1:
                rows = [row for row in self.rows_of(members[0]) if all(row in sets[name] for name in members)]
                roles[role] = RoleResult(sets=members, rows={row: self._result(members, row) for row in rows})
        return roles

    def _result(self, names: Sequence[str], row: str) -> RowResult:
        """The result of a row on one set, or on several together."""
        ours = [self._lines[name, row] for name in names]
        seeds = sorted(set.intersection(*(set(lines) for lines in ours)))
        first = [lines[min(lines)] for lines in ours]
        return RowResult(
            role=first[0].role,
            seeds=seeds,
            n_tampered=sum(line.n_tampered for line in first),
            n_authentic=sum(line.n_authentic for line in first),
            n_failed=sum(line.n_failed for line in first),
            **{key: self._image_metric(names, row, key, seeds) for key in IMAGE_METRICS},
            **{key: _set_metric(ours, key, seeds) for key in SET_METRICS},
        )

    def _image_metric(self, names: Sequence[str], row: str, key: str, seeds: list[int]) -> RowMetric:
        matrices = [self._matrix(name, row, key, seeds) for name in names]
        whole = estimate([complete_matrix(matrix) for matrix in matrices]) or (None, None)
        result = RowMetric(mean=whole[0], interval=whole[1], seeds=_by_seed(matrices, seeds))
        other = next(self.settings.reference(one) for one in self.settings.rows if one.name == row)
        theirs = [self._lines.get((name, other), {}) for name in names]
        common = [seed for seed in seeds if all(seed in lines for lines in theirs)]
        if other != row and common:
            pairs = [self._matrix(name, row, key, common) - self._matrix(name, other, key, common) for name in names]
            if difference := estimate([complete_matrix(pair) for pair in pairs]):
                result.reference, result.difference, result.difference_interval = other, *difference
                result.difference_seeds = _by_seed(pairs, common)
        return result

    def _matrix(self, name: str, row: str, key: str, seeds: Sequence[int]) -> FloatArray:
        lines = self._lines[name, row]
        return metric_matrix([lines[seed] for seed in seeds], key, list(self._pictures[name]))


def _by_seed(matrices: Sequence[FloatArray], seeds: Sequence[int]) -> dict[str, float | None]:
    """Seed → mean over sets of the means of their pictures; None if a set has no picture."""
    means: dict[str, float | None] = {}
    for index, seed in enumerate(seeds):
        rows = [matrix[index][~np.isnan(matrix[index])] for matrix in matrices]
        means[str(seed)] = float(np.mean([row.mean() for row in rows])) if all(row.size for row in rows) else None
    return means


def _set_metric(ours: list[dict[int, Measurement]], key: str, seeds: list[int]) -> RowMetric:
    by_seed: dict[str, float | None] = {}
    for seed in seeds:
        values = [value for lines in ours if (value := lines[seed].metrics[key]) is not None]
        by_seed[str(seed)] = float(np.mean(values)) if len(values) == len(ours) else None
    known = [value for value in by_seed.values() if value is not None]
    return RowMetric(mean=float(np.mean(known)) if known else None, seeds=by_seed)
