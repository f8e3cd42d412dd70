"""Robustness: measure the same pictures at increasing degradation. Every measured picture is a line of a journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from imltool.data.folder import Sample
from imltool.data.sets import NamedSet
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import mean_estimate
from imltool.evaluation.degradations import DEGRADATIONS, Level, degrade, encoder_versions
from imltool.evaluation.methods import Method
from imltool.evaluation.results import ROBUST_METRICS, Robust, RobustLine
from imltool.evaluation.rows import Counting, ImageRow, open_rows
from imltool.evaluation.runner import evaluate_set
from imltool.evaluation.summary import flat
from imltool.pictures.images import RGB, Mask
from imltool.versions import installed_versions

JOURNAL_NAME = "robust.jsonl"


@dataclass(frozen=True)
class RobustRow:
    """A method on a picture at one level; metrics as in `ImageRow.metric`, None if they do not exist."""

    method: str
    set: str
    degradation: str
    level: str
    image: str
    tampered: bool
    reason: str
    score: float | None = None
    flagged_area: float | None = None
    f1: float | None = None
    f1_calibrated: float | None = None

    @classmethod
    def of(cls, method: str, set_name: str, degradation: str, level: str, row: ImageRow) -> RobustRow:
        head = (method, set_name, degradation, level, row.name, row.tampered, row.reason)
        if not row.ok:
            return cls(*head)
        return cls(*head, row.score, row.metric("flagged_area"), row.metric("f1"), row.metric("f1_calibrated"))

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        return self.method, self.set, self.degradation, self.level, self.image


class RobustRun:
    """Measures degradations set by set, with a journal in `out` from which a stopped run resumes.

    Rows of an earlier run are kept if it had the same seed and the same versions of all packages, including encoders;
    the caller ensures that pictures and weights are the same. Otherwise the journal is started again.

    Attributes:
        unfinished: names of degradations of which `summary` has left out a level, because pictures are missing.
    """

    def __init__(self, out: Path, names: Sequence[str], seed: int) -> None:
        self.names, self.seed, self.encoders = list(names), seed, encoder_versions()
        header = {"seed": seed, "versions": installed_versions(), "encoders": self.encoders}
        self._journal, rows, _ = open_rows(out / JOURNAL_NAME, header, lambda line: RobustRow(**line))
        self.rows = {row.key: row for row in rows}
        self.unfinished: list[str] = []

    def todo(self, methods: Sequence[Method], one: NamedSet) -> int:
        """Number of combinations of pictures, methods and levels that are not in the journal yet."""
        steps = list(self._steps())
        return sum(
            (method.label, one.name, name, str(level), sample.name) not in self.rows
            for method in methods
            for name, level in steps
            for sample in one.samples
        )

    def run(self, methods: Sequence[Method], one: NamedSet, batch: int = 8) -> Iterator[RobustRow]:
        """Measure the missing rows; yields each when it is in the journal. Raises `OutputError`."""
        for name, level in self._steps():
            rows = evaluate_set(
                one.samples,
                methods,
                batch=batch,
                counting=Counting(curves=False),
                prepare=partial(_prepare, name, level, self.seed),
                done=lambda method, sample, step=(name, str(level)): (  # type: ignore[misc]
                    (method.label, one.name, *step, sample.name) in self.rows
                ),
            )
            for method, row in rows:
                found = RobustRow.of(method.label, one.name, name, str(level), row)
                self._journal.append({key: value for key, value in asdict(found).items() if value is not None})
                self.rows[found.key] = found
                yield found

    def summary(self, methods: Iterable[Method], clean: Mapping[tuple[str, str], Sequence[ImageRow]]) -> Robust:
        """The `robust` block of `results.json`, over all levels in the journal that have every picture.

        A level of a stopped run has only the first pictures, and its metrics would pass for those of the set.

        Args:
            clean: (set, method) → rows of the same pictures without degradation.
        """
        rows: dict[tuple[str, str, str, str], list[RobustRow]] = defaultdict(list)
        for row in self.rows.values():
            rows[row.key[:4]].append(row)
        blocks: dict[str, dict[str, dict[str, list[RobustLine]]]] = {}
        for method in methods:
            for (set_name, label), untouched in clean.items():
                if label != method.label:
                    continue
                before = [RobustRow.of(label, set_name, "", "none", row) for row in untouched]
                for name, step in DEGRADATIONS.items():
                    levels = [rows.get((label, set_name, name, str(level)), []) for level in step.levels]
                    complete = [part for part in levels if len(part) == len(before)]
                    if any(levels) and len(complete) < len(levels) and name not in self.unfinished:
                        self.unfinished.append(name)
                    parts = [before, *complete]
                    table = [_line(part, before, method.score_threshold, self.seed) for part in parts]
                    if len(table) > 1:
                        blocks.setdefault(label, {}).setdefault(set_name, {})[name] = table
        return Robust(seed=self.seed, encoders=self.encoders, methods=blocks)

    def close(self) -> None:
        self._journal.close()

    def _steps(self) -> Iterator[tuple[str, Level]]:
        return ((name, level) for name in self.names for level in DEGRADATIONS[name].levels)


def _prepare(name: str, level: Level, seed: int, sample: Sample, rgb: RGB, mask: Mask) -> tuple[RGB, Mask]:
    return degrade(name, level, rgb, mask, sample.name, seed)


def _line(rows: Sequence[RobustRow], clean: Sequence[RobustRow], score_threshold: float, seed: int) -> RobustLine:
    """Summarise a level of a degradation. `pixel_f1_change` compares pictures scored both with and without it."""
    scored = [row for row in rows if not row.reason]
    tampered = [row for row in scored if row.tampered]
    authentic = [row for row in scored if not row.tampered]
    before = {row.image: row.f1 for row in clean if row.f1 is not None}
    after = [(row.f1, before[row.image]) for row in tampered if row.f1 is not None and row.image in before]
    sides = tuple(np.array([row.score for row in part], np.float64) for part in (tampered, authentic))
    values: dict[str, ArrayLike | Sequence[float | None]] = {
        "pixel_f1": [row.f1 for row in tampered],
        "pixel_f1_change": [now - then for now, then in after],
        "pixel_f1_calibrated": [row.f1_calibrated for row in tampered],
        "image_tpr": sides[0] > score_threshold,
        "image_fpr": sides[1] > score_threshold,
        "fp_area": [row.flagged_area for row in authentic],
    }
    found = {key: mean_estimate(part, seed) for key, part in values.items()}
    found["image_auc"] = metrics.image_auc(*sides), None
    line = RobustLine(
        level=rows[0].level, n_tampered=len(tampered), n_authentic=len(authentic), n_failed=len(rows) - len(scored)
    )
    return line.model_copy(update=flat({key: found[key] for key in ROBUST_METRICS}))
