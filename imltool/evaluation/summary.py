"""Rows of pictures → the figures of a data set, with bootstrap intervals over pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from imltool.errors import DataError
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import Interval, flags_interval, mean_interval, pooled_interval, scores_interval
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts, pool, stack
from imltool.evaluation.roles import Overlap, Role
from imltool.evaluation.runner import CALIBRATED, HALF, ImageRow

PIXEL_FIGURES = (
    "pixel_f1",
    "pixel_f1_calibrated",
    "pixel_f1_pooled",
    "pixel_f1_oracle",
    "pixel_iou",
    "pixel_mcc",
    "pixel_precision",
    "pixel_recall",
    "pixel_auc",
    "pixel_ap",
)
FIGURES = (
    *PIXEL_FIGURES,
    "image_auc",
    "image_fpr",
    "image_tpr",
    "image_balanced_accuracy",
    "image_f1",
    "image_tpr_at_5fpr",
    "fp_area",
)
"""The figures of a set. Pixel figures are of tampered pictures only, `fp_area` and `image_fpr` of authentic ones."""


def summarize_set(
    name: str, rows: Sequence[ImageRow], overlap: Overlap, *, score_threshold: float, seed: int
) -> dict[str, Any]:
    """Figures of one set as JSON values; a figure that does not exist is None, as is the interval of fewer than two.

    Definitions (headline): pixel figures over tampered pictures at "map strictly above 0.5", averaged over pictures;
    `pixel_f1_pooled` from summed counts; `pixel_f1_calibrated` at the checkpoint's threshold, None when the rows carry
    no such counts; `pixel_f1_oracle` at the one of `CURVE_THRESHOLDS` that is best for this very set (reported as
    `pixel_f1_oracle_threshold`), an upper bound whose interval holds the threshold fixed; `fp_area` mean share of
    pixels above 0.5 on authentic pictures; `image_fpr` and `image_tpr` share of authentic and tampered pictures with a
    score strictly above `score_threshold`; `image_balanced_accuracy` and `image_f1` at the same operating point, the
    latter with tampered as the positive class; `image_tpr_at_5fpr` the highest share of tampered pictures that a
    threshold flags while it flags at most 5 % of this set's authentic ones, an upper bound too.
    Raises `DataError` when no row was scored.
    """
    scored = [row for row in rows if row.ok]
    if not scored:
        first = next((row.reason for row in rows), "it holds no picture")
        raise DataError(f"data set {name} has no usable picture: {first}", "check the folder and its masks")
    tampered = [row for row in scored if row.tampered]
    authentic = [row for row in scored if not row.tampered]
    half = stack(row.counts[HALF] for row in tampered)
    clean = stack(row.counts[HALF] for row in authentic)
    scores = [row.score for row in tampered]
    clean_scores = [row.score for row in authentic]

    per_image: dict[str, Any] = {
        "pixel_f1": metrics.f1(half),
        "pixel_iou": metrics.iou(half),
        "pixel_mcc": metrics.mcc(half),
        "pixel_precision": metrics.precision(half),
        "pixel_recall": metrics.recall(half),
        "pixel_auc": [row.pixel_auc for row in tampered],
        "pixel_ap": [row.pixel_ap for row in tampered],
        "fp_area": metrics.flagged_area(clean),
        "pixel_f1_calibrated": _calibrated(tampered),
    }
    values = {key: metrics.mean_or_nan(figures) for key, figures in per_image.items()}
    intervals: dict[str, Interval | None] = {key: mean_interval(figures, seed) for key, figures in per_image.items()}
    oracle, oracle_threshold = _oracle(tampered)
    values["pixel_f1_oracle"] = metrics.mean_or_nan(oracle)
    intervals["pixel_f1_oracle"] = mean_interval(oracle, seed)
    values["pixel_f1_pooled"] = float(metrics.f1(pool(half))) if tampered else math.nan
    intervals["pixel_f1_pooled"] = pooled_interval(half, metrics.f1, seed)
    values["image_auc"] = metrics.image_auc(scores, clean_scores)
    intervals["image_auc"] = scores_interval(scores, clean_scores, metrics.auc, seed)
    values["image_tpr_at_5fpr"] = metrics.image_tpr_at_fpr(scores, clean_scores)
    intervals["image_tpr_at_5fpr"] = scores_interval(scores, clean_scores, metrics.tpr_at_fpr, seed)
    flags, clean_flags = np.asarray(scores) > score_threshold, np.asarray(clean_scores) > score_threshold
    for key, side in (("image_fpr", clean_flags), ("image_tpr", flags)):
        values[key] = metrics.mean_or_nan(side)
        intervals[key] = mean_interval(side, seed)
    pictures = metrics.image_counts(scores, clean_scores, score_threshold)
    for key, metric in (("image_balanced_accuracy", metrics.balanced_accuracy), ("image_f1", metrics.two_sided_f1)):
        values[key] = float(metric(pictures))
        intervals[key] = flags_interval(flags, clean_flags, metric, seed)

    summary: dict[str, Any] = {
        "role": overlap.role,
        "n_tampered": len(tampered),
        "n_authentic": len(authentic),
        "n_failed": len(rows) - len(scored),
        "n_seen": overlap.n_seen,
        "n_similar": overlap.n_similar,
    }
    for key in FIGURES:
        interval = intervals[key]
        summary[key] = _or_none(values[key])
        summary[f"{key}_ci"] = None if interval is None else list(interval)
    summary["pixel_f1_oracle_threshold"] = oracle_threshold
    return summary


def _calibrated(tampered: Iterable[ImageRow]) -> Any:
    counts: list[Counts] = [row.counts[CALIBRATED] for row in tampered if CALIBRATED in row.counts]
    return metrics.f1(stack(counts))


def _oracle(tampered: Iterable[ImageRow]) -> tuple[metrics.FloatArray, float | None]:
    """F1 [N] of the pictures at the threshold best for their mean, and that threshold; no picture, no threshold."""
    curves = [metrics.f1(row.curve) for row in tampered if row.curve is not None]
    if not curves:
        return np.zeros(0), None
    curve = np.stack(curves)
    best = metrics.best_threshold(curve)
    return curve[:, best], float(CURVE_THRESHOLDS[best])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def mean_by_role(
    sets: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Role] | None = None
) -> dict[str, dict[str, Any]]:
    """Pixel figures averaged over the sets of a role; each set counts once, whatever its size.

    Args:
        sets: name → figures of one method.
        groups: set → role by a protocol. A set with another role than there counts nowhere, and there is a mean over
            both groups beside `ind` and `ood`: `all`.

    Returns:
        Role → figures and `sets`, the names of those averaged; a set without forgeries is none of them. None for the
        figures of a role without sets, or that not all of its sets have.
    """
    roles = {name: one["role"] for name, one in sets.items() if one["pixel_f1"] is not None}
    if groups is not None:
        roles = {name: role for name, role in roles.items() if groups.get(name) == role}
    means = {role: _mean_of(sets, [name for name in roles if roles[name] == role]) for role in ("ind", "ood")}
    return means if groups is None else means | {"all": _mean_of(sets, list(roles))}


def _mean_of(sets: Mapping[str, Mapping[str, Any]], names: list[str]) -> dict[str, Any]:
    mean: dict[str, Any] = {"sets": names}
    for key in PIXEL_FIGURES:
        values = [sets[name][key] for name in names]
        mean[key] = sum(values) / len(values) if values and None not in values else None
    return mean
