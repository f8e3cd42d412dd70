"""Robustness: the same pictures, degraded step by step, measured again. Every picture is a row in a journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imltool.data.folder import Sample
from imltool.data.sets import NamedSet
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import mean_interval
from imltool.evaluation.degradations import GRID, Level, degrade, encoder_versions
from imltool.evaluation.methods import Method
from imltool.evaluation.runner import CALIBRATED, HALF, Counting, ImageRow, evaluate_set
from imltool.journal import Journal
from imltool.pictures.images import RGB, Mask
from imltool.versions import installed_versions

JOURNAL_NAME = "robust.jsonl"
FIGURES = {
    "pixel_f1": "F1",
    "pixel_f1_change": "change of F1",
    "pixel_f1_calibrated": "F1 calibrated",
    "image_auc": "image AUC",
    "image_tpr": "image TPR",
    "image_fpr": "image FPR",
    "fp_area": "FP area",
}
"""Figure → heading."""

Key = tuple[str, str, str, str, str]
"""Method, set, degradation, level, picture."""


class RobustRun:
    """The grid, method by method and set by set, with a journal in `out` that a stopped run goes on with.

    Rows of an earlier run are kept when it had the same seed and the same versions of everything installed, encoders
    included; the caller makes sure that pictures and weights are the same. Otherwise the journal is begun again.
    """

    def __init__(self, out: Path, names: Sequence[str], seed: int) -> None:
        self.names, self.seed = list(names), seed
        self.header = {"seed": seed, "versions": installed_versions(), "encoders": encoder_versions()}
        self.journal = Journal(out / JOURNAL_NAME)
        if self.journal.rows and self.journal.rows[0] != self.header:
            self.journal.close()
            (out / JOURNAL_NAME).unlink()
            self.journal = Journal(out / JOURNAL_NAME)
        if not self.journal.rows:
            self.journal.append(self.header)
        self.done = {_key(row) for row in self.journal.rows[1:]}

    def todo(self, method: Method, one: NamedSet) -> int:
        """Pictures times levels that are not in the journal yet."""
        return sum(len(self._missing(method, one, name, level)) for name, level in self._steps())

    def run(self, method: Method, one: NamedSet, batch: int = 8) -> Iterator[dict[str, Any]]:
        """Measure what is missing; yields each row when it is in the journal. Raises `OutputError`."""
        for name, level in self._steps():
            missing = self._missing(method, one, name, level)
            prepare = partial(_prepare, name, level, self.seed)
            rows = evaluate_set(
                missing,
                method.predict,
                method.thresholds,
                batch=batch,
                counting=Counting(curves=False),
                prepare=prepare,
            )
            for row in rows:
                entry = _entry(method.label, one.name, name, level, row)
                self.journal.append(entry)
                self.done.add(_key(entry))
                yield entry

    def summary(
        self, methods: Iterable[Method], lines: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The `robust` block of `results.json`: what it was made with, and figures by method, set and degradation.

        Args:
            lines: rows of `per_image.csv`, the same pictures as they are.
            earlier: the block as it was: what it has of other degradations stays, unless other encoders made it.
        """
        kept = earlier["methods"] if earlier and earlier["encoders"] == self.header["encoders"] else {}
        clean: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for line in lines:
            clean[line["method"], line["set"]].append(_clean_entry(line))
        rows: dict[tuple[str, str, str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in self.journal.rows[1:]:
            rows[_key(row)[:4]].append(row)
        blocks: dict[str, Any] = {}
        for method in methods:
            for (label, set_name), untouched in clean.items():
                if label != method.label:
                    continue
                cells = {
                    name: table
                    for name, table in kept.get(label, {}).get(set_name, {}).items()
                    if name not in self.names
                }
                for name in self.names:
                    table = [_figures("none", untouched, untouched, method.score_threshold, self.seed)]
                    for level in GRID[name].levels:
                        found = rows.get((label, set_name, name, str(level)))
                        if found:
                            table.append(_figures(str(level), found, untouched, method.score_threshold, self.seed))
                    if len(table) > 1:
                        cells[name] = table
                if cells:
                    blocks.setdefault(label, {})[set_name] = cells
        return {"seed": self.seed, "encoders": self.header["encoders"], "methods": blocks}

    def close(self) -> None:
        self.journal.close()

    def _steps(self) -> Iterator[tuple[str, Level]]:
        return ((name, level) for name in self.names for level in GRID[name].levels)

    def _missing(self, method: Method, one: NamedSet, name: str, level: Level) -> list[Sample]:
        start = (method.label, one.name, name, str(level))
        return [sample for sample in one.samples if (*start, sample.name) not in self.done]


def _prepare(name: str, level: Level, seed: int, sample: Sample, rgb: RGB, mask: Mask) -> tuple[RGB, Mask]:
    return degrade(name, level, rgb, mask, sample.name, seed)


def _key(row: Mapping[str, Any]) -> Key:
    return row["method"], row["set"], row["degradation"], row["level"], row["image"]


def _entry(method: str, set_name: str, name: str, level: Level, row: ImageRow) -> dict[str, Any]:
    entry: dict[str, Any] = {"method": method, "set": set_name, "degradation": name, "level": str(level)}
    entry |= {"image": row.name, "tampered": row.tampered, "reason": row.reason}
    if row.ok:
        half = row.counts[HALF]
        entry |= {"score": row.score, "flagged_area": float(metrics.flagged_area(half))}
        if row.tampered:
            entry["f1"] = float(metrics.f1(half))
            if CALIBRATED in row.counts:
                entry["f1_calibrated"] = float(metrics.f1(row.counts[CALIBRATED]))
    return entry


def _clean_entry(line: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `per_image.csv` as a journal's row; its cells are text when they come from the file."""
    entry = {"image": line["image"], "tampered": str(line["tampered"]) == "1", "reason": line["reason"]}
    for key in ("score", "flagged_area", "f1", "f1_calibrated"):
        if line.get(key) not in (None, ""):
            entry[key] = float(line[key])
    return entry


def _figures(
    level: str,
    rows: Sequence[Mapping[str, Any]],
    clean: Sequence[Mapping[str, Any]],
    score_threshold: float,
    seed: int,
) -> dict[str, Any]:
    """One line of a degradation's table. `pixel_f1_change` compares the pictures that were scored in both states."""
    scored = [row for row in rows if not row["reason"]]
    tampered = [row for row in scored if row["tampered"]]
    authentic = [row for row in scored if not row["tampered"]]
    before = {row["image"]: row["f1"] for row in clean if "f1" in row}
    sides = [row["score"] for row in tampered], [row["score"] for row in authentic]
    per_image: dict[str, Any] = {
        "pixel_f1": [row["f1"] for row in tampered],
        "pixel_f1_change": [row["f1"] - before[row["image"]] for row in tampered if row["image"] in before],
        "pixel_f1_calibrated": [row["f1_calibrated"] for row in tampered if "f1_calibrated" in row],
        "image_tpr": np.asarray(sides[0]) > score_threshold,
        "image_fpr": np.asarray(sides[1]) > score_threshold,
        "fp_area": [row["flagged_area"] for row in authentic],
    }
    figures: dict[str, Any] = {
        "level": level,
        "n_tampered": len(tampered),
        "n_authentic": len(authentic),
        "n_failed": len(rows) - len(scored),
    }
    values = {key: metrics.mean_or_nan(found) for key, found in per_image.items()}
    values["image_auc"] = metrics.image_auc(*sides)
    for key in FIGURES:
        figures[key] = None if np.isnan(values[key]) else values[key]
    for key in ("pixel_f1", "pixel_f1_change"):
        interval = mean_interval(per_image[key], seed)
        figures[f"{key}_ci"] = list(interval) if interval else None
    return figures
