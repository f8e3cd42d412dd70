"""Strata of a set's tampered pictures: by the size of the edit, and by what was done where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import mean_interval
from imltool.evaluation.counts import Counts, stack
from imltool.evaluation.runner import HALF, ImageRow

QUINTILES = 5


def edit_area(counts: Counts) -> metrics.FloatArray:
    """Share of a picture's pixels that are tampered in truth, in 0..1."""
    total = counts.tp + counts.fp + counts.fn + counts.tn
    return np.asarray((counts.tp + counts.fn) / total, dtype=np.float64)


def area_strata(rows: Sequence[ImageRow], seed: int) -> list[dict[str, Any]]:
    """Figures of the tampered pictures in five groups of equal size, from the smallest edits to the largest.

    Pictures of one area may fall into two groups; fewer than five pictures make as many groups as there are.
    Each group is a dict: `stratum` ("1".."5"), `area` [lowest, highest], and the figures of `_figures`.
    """
    tampered = [row for row in rows if row.ok and row.tampered]
    if not tampered:
        return []
    areas = edit_area(stack(row.counts[HALF] for row in tampered))
    order = np.argsort(areas, kind="stable")
    strata = []
    for number, part in enumerate(np.array_split(order, min(QUINTILES, len(tampered))), 1):
        span = [float(areas[part[0]]), float(areas[part[-1]])]
        strata.append({"stratum": str(number), "area": span, **_figures([tampered[i] for i in part], seed)})
    return strata


def kind_strata(rows: Sequence[ImageRow], seed: int) -> list[dict[str, Any]]:
    """Figures of the tampered pictures by kind, `unknown` last; empty when no picture's kind is known."""
    tampered = [row for row in rows if row.ok and row.tampered]
    kinds = sorted({row.kind for row in tampered if row.kind})
    if not kinds:
        return []
    strata = []
    for kind in (*kinds, None):
        part = [row for row in tampered if row.kind == kind]
        if part:
            areas = edit_area(stack(row.counts[HALF] for row in part))
            span = [float(areas.min()), float(areas.max())]
            strata.append({"stratum": kind or "unknown", "area": span, **_figures(part, seed)})
    return strata


def _figures(rows: Sequence[ImageRow], seed: int) -> dict[str, Any]:
    """n, and mean F1 (with interval), IoU, precision and recall at "strictly above 0.5", averaged over pictures."""
    half = stack(row.counts[HALF] for row in rows)
    f1 = metrics.f1(half)
    interval = mean_interval(f1, seed)
    return {
        "n": len(rows),
        "pixel_f1": float(f1.mean()),
        "pixel_f1_ci": list(interval) if interval else None,
        "pixel_iou": float(metrics.iou(half).mean()),
        "pixel_precision": float(metrics.precision(half).mean()),
        "pixel_recall": float(metrics.recall(half).mean()),
    }
