"""From measurements to the figures of a study: means over seeds, intervals, paired differences.

Intervals are of a bootstrap that draws pictures and seeds, both with replacement and crossed: a drawn picture comes
with every drawn seed. Few seeds still make them too narrow; the spread of the seeds is told beside them (our choice).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imltool.evaluation.bootstrap import CONFIDENCE, RESAMPLES, resampling_weights
from imltool.study.settings import StudySettings

IMAGE_FIGURES = ("pixel_f1", "pixel_f1_calibrated", "pixel_auc", "fp_area")
"""Figures of single pictures: they have intervals and paired differences. `fp_area` is of authentic pictures."""
SET_FIGURES = ("pixel_f1_oracle", "image_auc", "image_tpr_at_5fpr")
"""Figures of a whole set: their mean over seeds alone is told."""
ROLES = ("ind", "ood")

FloatArray = NDArray[np.float64]
Line = dict[str, Any]


def figure_matrix(lines: Sequence[Line], key: str, names: Sequence[str]) -> FloatArray:
    """A figure of single pictures as float64 [S,N], NaN where it does not exist.

    Args:
        lines: lines of the journal for one row and set, one for each of S seeds.
        names: the N pictures.
    """
    matrix = np.full((len(lines), len(names)), np.nan)
    place = {name: index for index, name in enumerate(names)}
    for seed, line in enumerate(lines):
        for name, value in zip(line["images"]["name"], line["images"][key], strict=True):
            if value is not None and name in place:
                matrix[seed, place[name]] = value
    return matrix


def complete_matrix(matrix: FloatArray) -> FloatArray:
    """[S,N] without the pictures that no seed has; the gap of a seed is the picture's mean over the others."""
    count = (~np.isnan(matrix)).sum(axis=0)
    kept, count = matrix[:, count > 0], count[count > 0]
    return np.where(np.isnan(kept), np.nansum(kept, axis=0) / count, kept)


def estimate(parts: Iterable[FloatArray], seed: int = 0) -> tuple[float, list[float] | None] | None:
    """Mean over sets, each counting once, of the means of their values, and its 95 % bootstrap interval.

    Args:
        parts: values [S,N_k] of every set's pictures, without NaN. Every resample draws S seeds, the same for all
            sets, and N_k pictures of every set.

    None when a set has no picture; no interval when one has fewer than two.
    """
    kept = list(parts)
    if not kept or any(not values.size for values in kept):
        return None
    mean = float(np.mean([values.mean() for values in kept]))
    if any(values.shape[1] < 2 for values in kept):
        return mean, None
    rng = np.random.default_rng(seed)
    seeds = kept[0].shape[0]
    drawn_seeds = np.concatenate(list(resampling_weights(seeds, rng))) / seeds
    drawn = np.zeros(RESAMPLES)
    for values in kept:
        weights = resampling_weights(values.shape[1], rng)
        by_seed = np.concatenate([chunk @ values.T / values.shape[1] for chunk in weights])
        drawn += (drawn_seeds * by_seed).sum(axis=1) / len(kept)
    tail = 50.0 * (1.0 - CONFIDENCE)
    return mean, [float(limit) for limit in np.percentile(drawn, [tail, 100.0 - tail])]


class Results:
    """The figures of a study from its measurements (lines of the journal, see `runner.measure`)."""

    def __init__(self, settings: StudySettings, measurements: Iterable[Line]) -> None:
        self.settings = settings
        self._lines: dict[tuple[str, str], dict[int, Line]] = {}
        for line in measurements:
            self._lines.setdefault((line["set"], line["row"]), {})[line["seed"]] = line
        self.sets = list(dict.fromkeys(name for name, _ in self._lines))
        # pictures of a set that any run has scored: one order for all, so that runs can be compared picture by picture
        self._pictures: dict[str, dict[str, None]] = {name: {} for name in self.sets}
        for (name, _), by_seed in self._lines.items():
            for line in by_seed.values():
                self._pictures[name] |= dict.fromkeys(line["images"]["name"])

    def rows_of(self, name: str) -> list[str]:
        """Rows that are measured on a set, in the study's order."""
        return [row.name for row in self.settings.rows if (name, row.name) in self._lines]

    def as_json(self) -> dict[str, Any]:
        """`sets`: set → row → figures; `roles`: ind and ood → their `sets` and, as for a set, `rows`.

        A row's figures: `role`, `seeds`, `n_tampered`, `n_authentic`, `n_failed`, and for each figure `mean`,
        `interval`, `seeds` (seed → mean) and, against another row over the seeds that both have, `difference` (ours
        minus theirs, picture by picture), `difference_interval`, `difference_seeds` and `against`.
        A role's mean is over the sets that have this role in all rows, each counting once; it is told for two and more.
        """
        sets = {name: {row: self._figures([name], row) for row in self.rows_of(name)} for name in self.sets}
        roles = {}
        for role in ROLES:
            members = [
                name for name, rows in sets.items() if rows and all(one["role"] == role for one in rows.values())
            ]
            if len(members) > 1:
                rows = [row for row in self.rows_of(members[0]) if all(row in sets[name] for name in members)]
                roles[role] = {"sets": members, "rows": {row: self._figures(members, row) for row in rows}}
        return {"sets": sets, "roles": roles}

    def _figures(self, names: Sequence[str], row: str) -> dict[str, Any]:
        """The figures of a row on one set, or on several together."""
        ours = [self._lines[name, row] for name in names]
        seeds = sorted(set.intersection(*(set(lines) for lines in ours)))
        first = [lines[min(lines)] for lines in ours]
        figures: dict[str, Any] = {
            "role": first[0]["role"],
            "seeds": seeds,
            **{key: sum(line[key] for line in first) for key in ("n_tampered", "n_authentic", "n_failed")},
        }
        for key in IMAGE_FIGURES:
            figures[key] = self._image_figure(names, row, key, seeds)
        for key in SET_FIGURES:
            figures[key] = _set_figure(ours, key, seeds)
        return figures

    def _image_figure(self, names: Sequence[str], row: str, key: str, seeds: list[int]) -> dict[str, Any]:
        matrices = [self._matrix(name, row, key, seeds) for name in names]
        whole = estimate([complete_matrix(matrix) for matrix in matrices])
        result: dict[str, Any] = {
            "mean": whole[0] if whole else None,
            "interval": whole[1] if whole else None,
            "seeds": _by_seed(matrices, seeds),
            "against": None,
            "difference": None,
            "difference_interval": None,
            "difference_seeds": {},
        }
        other = next(self.settings.reference(one) for one in self.settings.rows if one.name == row)
        theirs = [self._lines.get((name, other), {}) for name in names]
        common = [seed for seed in seeds if all(seed in lines for lines in theirs)]
        if other != row and common:
            pairs = [self._matrix(name, row, key, common) - self._matrix(name, other, key, common) for name in names]
            if difference := estimate([complete_matrix(pair) for pair in pairs]):
                result |= {
                    "against": other,
                    "difference": difference[0],
                    "difference_interval": difference[1],
                    "difference_seeds": _by_seed(pairs, common),
                }
        return result

    def _matrix(self, name: str, row: str, key: str, seeds: Sequence[int]) -> FloatArray:
        lines = self._lines[name, row]
        return figure_matrix([lines[seed] for seed in seeds], key, list(self._pictures[name]))


def _by_seed(matrices: Sequence[FloatArray], seeds: Sequence[int]) -> dict[str, float | None]:
    """Seed → mean over sets of the means of their pictures; None where a set has no picture."""
    means: dict[str, float | None] = {}
    for index, seed in enumerate(seeds):
        rows = [matrix[index][~np.isnan(matrix[index])] for matrix in matrices]
        means[str(seed)] = float(np.mean([row.mean() for row in rows])) if all(row.size for row in rows) else None
    return means


def _set_figure(ours: list[dict[int, Line]], key: str, seeds: list[int]) -> dict[str, Any]:
    by_seed: dict[str, float | None] = {}
    for seed in seeds:
        values = [lines[seed]["figures"][key] for lines in ours]
        by_seed[str(seed)] = float(np.mean(values)) if all(value is not None for value in values) else None
    known = [value for value in by_seed.values() if value is not None]
    return {"mean": float(np.mean(known)) if known else None, "seeds": by_seed}
