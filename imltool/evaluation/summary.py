"""Summarise rows of pictures into metrics of a data set and of its parts, with bootstrap intervals over pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from imltool.errors import DataError
from imltool.evaluation import compat, metrics
from imltool.evaluation.bootstrap import (
    Estimate,
    Interval,
    Weights,
    estimate,
    mean_estimate,
    mean_interval,
    resampled_levels,
)
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts, stack
from imltool.evaluation.curves import reliability
from imltool.evaluation.results import (
    METRICS,
    PIXEL_METRICS,
    STRATUM_METRICS,
    ListFile,
    Mean,
    SetResult,
    Strata,
    Stratum,
)
from imltool.evaluation.roles import Overlap, Role
from imltool.evaluation.rows import HALF, ImageRow

QUINTILES = 5


def summarize_set(
    name: str,
    rows: Sequence[ImageRow],
    overlap: Overlap,
    *,
    score_threshold: float,
    seed: int,
    protocols: Sequence[str] = (),
    list_file: Mapping[str, str] | None = None,
) -> SetResult:
    """The metrics of a set, see `results.METRICS`; the interval of fewer than two pictures is None.

    Args:
        score_threshold: the image operating point.
        protocols: names in `compat.PROTOCOLS` under which the rows were also measured.
        list_file: name and SHA-256 of the list that chose the pictures.

    Raises `DataError` when no row was scored.
    """
    scored = [row for row in rows if row.ok]
    if not scored:
        first = next((row.reason for row in rows), "it holds no picture")
        raise DataError(f"data set {name} has no usable picture: {first}", "check the folder and its masks")
    tampered = [row for row in scored if row.tampered]
    authentic = [row for row in scored if not row.tampered]
    estimates = _pixel_estimates(tampered, seed)
    estimates["fp_area"] = mean_estimate([row.metric("flagged_area") for row in authentic], seed)
    oracle, threshold = _oracle(tampered)
    estimates["pixel_f1_oracle"] = mean_estimate(oracle, seed)
    sides = [row.score for row in tampered], [row.score for row in authentic]
    estimates |= _image_estimates(*sides, score_threshold, seed)
    result = SetResult(
        role=overlap.role,
        n_tampered=len(tampered),
        n_authentic=len(authentic),
        n_failed=len(rows) - len(scored),
        n_seen=overlap.n_seen,
        n_similar=overlap.n_similar,
        pixel_f1_oracle_threshold=threshold,
        list=ListFile.model_validate(list_file) if list_file else None,
        strata=Strata(area=_area_strata(tampered, seed), kind=_kind_strata(tampered, seed)),
        reliability=reliability(*sides),
        compat={
            one: compat.summarize(
                one, [compat.PictureResult(row.tampered, row.score, row.compat.get(one, {})) for row in scored], seed
            )
            for one in protocols
        },
    )
    return result.model_copy(update=flat({key: estimates[key] for key in METRICS}))


def flat(estimates: Mapping[str, Estimate]) -> dict[str, float | Interval | None]:
    """Metrics and intervals as fields of a `results.Measured`: `KEY` and `KEY_ci`."""
    found: dict[str, float | Interval | None] = {}
    for key, (value, limits) in estimates.items():
        found |= {key: None if math.isnan(value) else value, f"{key}_ci": limits}
    return found


def _pixel_estimates(tampered: Sequence[ImageRow], seed: int) -> dict[str, Estimate]:
    half = stack(row.counts[HALF] for row in tampered)
    rows = half.as_array()
    estimates = {
        "pixel_f1": mean_estimate(metrics.f1(half), seed),
        "pixel_iou": mean_estimate(metrics.iou(half), seed),
        "pixel_mcc": mean_estimate(metrics.mcc(half), seed),
        "pixel_precision": mean_estimate(metrics.precision(half), seed),
        "pixel_recall": mean_estimate(metrics.recall(half), seed),
        "pixel_auc": mean_estimate([row.pixel_auc for row in tampered], seed),
        "pixel_ap": mean_estimate([row.pixel_ap for row in tampered], seed),
        "pixel_f1_calibrated": mean_estimate([row.metric("f1_calibrated") for row in tampered], seed),
    }
    pooled = estimate(lambda weights: metrics.f1(Counts.from_array(weights @ rows)), [len(rows)], seed)
    estimates["pixel_f1_pooled"] = pooled if tampered else (math.nan, None)
    return estimates


def _oracle(tampered: Iterable[ImageRow]) -> tuple[metrics.FloatArray, float | None]:
    """F1 [N] of the pictures at the threshold that maximises their mean, and the threshold, None without pictures.

    For the interval of the mean, the threshold is fixed.
    """
    curves = [metrics.f1(row.curve.counts()) for row in tampered if row.curve is not None]
    if not curves:
        return np.zeros(0), None
    curve = np.stack(curves)
    best = metrics.best_threshold(curve)
    return curve[:, best], float(CURVE_THRESHOLDS[best])


def _image_estimates(
    scores: Sequence[float], clean: Sequence[float], score_threshold: float, seed: int
) -> dict[str, Estimate]:
    sizes = [len(scores), len(clean)]
    levels = resampled_levels(scores, clean)
    flags, alarms = np.asarray(scores) > score_threshold, np.asarray(clean) > score_threshold

    def counts(first: Weights, second: Weights) -> Counts:
        tp, fp = first @ flags.astype(np.int64), second @ alarms.astype(np.int64)
        return Counts(tp, fp, flags.size - tp, alarms.size - fp)

    return {
        "image_tpr": mean_estimate(flags, seed),
        "image_fpr": mean_estimate(alarms, seed),
        "image_auc": estimate(lambda *drawn: metrics.auc(*levels(*drawn)), sizes, seed),
        "image_tpr_at_5fpr": estimate(lambda *drawn: metrics.tpr_at_fpr(*levels(*drawn)), sizes, seed),
        "image_balanced_accuracy": estimate(lambda *drawn: metrics.balanced_accuracy(counts(*drawn)), sizes, seed),
        "image_f1": estimate(lambda *drawn: metrics.two_sided_f1(counts(*drawn)), sizes, seed),
    }


def _area_strata(tampered: Sequence[ImageRow], seed: int) -> list[Stratum]:
    """Five groups of equal size, from the smallest edits to the largest.

    Pictures of equal area may be in two groups; fewer than five pictures make one group each.
    """
    if not tampered:
        return []
    order = np.argsort([row.edit_area() for row in tampered], kind="stable")
    parts = np.array_split(order, min(QUINTILES, len(tampered)))
    return [_stratum(str(number), [tampered[i] for i in part], seed) for number, part in enumerate(parts, 1)]


def _kind_strata(tampered: Sequence[ImageRow], seed: int) -> list[Stratum]:
    """By kind, `unknown` last; empty when no picture's kind is known."""
    kinds: list[str | None] = [*sorted({row.kind for row in tampered if row.kind})]
    parts = {kind or "unknown": [row for row in tampered if row.kind == kind] for kind in [*kinds, None]}
    return [_stratum(kind, part, seed) for kind, part in parts.items() if part and kinds]


def _stratum(name: str, rows: Sequence[ImageRow], seed: int) -> Stratum:
    half = stack(row.counts[HALF] for row in rows)
    areas = [row.edit_area() for row in rows]
    found: dict[str, float | Interval | None] = {
        key: float(getattr(metrics, key.removeprefix("pixel_"))(half).mean()) for key in STRATUM_METRICS
    }
    found["pixel_f1_ci"] = mean_interval(metrics.f1(half), seed)
    return Stratum(stratum=name, area=(min(areas), max(areas)), n=len(rows)).model_copy(update=found)


def mean_by_role(sets: Mapping[str, SetResult], groups: Mapping[str, Role] | None = None) -> dict[str, Mean]:
    """Pixel metrics averaged over the sets of a role; each set counts once, regardless of its size.

    Args:
        sets: name → result of a method.
        groups: set → role by a protocol. A set with a different role is not counted, and in addition to `ind` and `ood`
            there is a mean over both groups: `all`.

    Returns:
        Role → mean; sets without forgeries are left out. Metrics are None for a role without sets, or if not all of its
        sets have them.
    """
    roles = {name: one.role for name, one in sets.items() if one.value("pixel_f1") is not None}
    if groups is not None:
        roles = {name: role for name, role in roles.items() if groups.get(name) == role}
    means = {role: _mean_of(sets, [name for name in roles if roles[name] == role]) for role in ("ind", "ood")}
    return means if groups is None else means | {"all": _mean_of(sets, list(roles))}


def _mean_of(sets: Mapping[str, SetResult], names: list[str]) -> Mean:
    found: dict[str, float | None] = {}
    for key in PIXEL_METRICS:
        values = [value for name in names if (value := sets[name].value(key)) is not None]
        found[key] = sum(values) / len(values) if values and len(values) == len(names) else None
    return Mean(sets=names).model_copy(update=found)
