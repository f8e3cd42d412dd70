"""Protocols of other codes, for comparison with published tables: each has its own function and table.

The headline metrics follow none of them. Each protocol follows the evaluation code it is named after, without that
code's epsilons (which change a metric by less than 1e-6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import Interval, mean_estimate
from imltool.evaluation.counts import Counts, count_pixels, rank_pixels
from imltool.evaluation.results import Measured
from imltool.pictures.images import Map, Mask

DEFAULT_SIDE = 512
"""Side in pixels at which `imdlbenco` measures without a checkpoint's side; the benchmark resizes to it."""

EROSION, DILATION = 15, 11
"""Sides in pixels of the squares with which `trufor` excludes the inner and outer edge of the truth from the score."""

PADDED_SIDE = 1024
"""Side in pixels of the canvas of `imdlbenco-padded`; the benchmark pads to it."""

PictureMetrics = dict[str, float]


def imdlbenco(values: Map, mask: Mask, side: int = DEFAULT_SIDE) -> PictureMetrics:
    """F1, permuted F1, IoU and pixel AUC at the resized size, as in IMDLBenCo when it resizes pictures.

    If truth and prediction are both empty, scores are 0; so is the pixel AUC of an authentic picture. The permuted F1
    is the better of the map's and the inverted map's (that code's mode `double`). Equal values count half in the AUC,
    which in that code depends on the order of its sort.

    The map is resized to side×side by bilinear interpolation (in IMDLBenCo the network's output has that size; resizing
    ours is our choice), the mask by nearest neighbour. Values strictly above 0.5 count as predicted.

    Args:
        values: float32 [H,W] in [0,1].
        mask: bool [H,W], True = tampered; that of an authentic picture is empty, and every metric is then 0.
        side: side in pixels.
    """
    resized = np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    truth = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    return _as_imdlbenco(resized, truth)


def imdlbenco_padded(values: Map, mask: Mask, side: int = DEFAULT_SIDE) -> PictureMetrics:
    """Like `imdlbenco`, for models with padded pictures in IMDLBenCo: at the picture's own size, without the padding.

    IMDLBenCo puts a picture at the top left of a canvas of 1024×1024 pixels and cuts off what is outside. `side` is not
    used.
    """
    kept = slice(PADDED_SIDE), slice(PADDED_SIDE)
    return _as_imdlbenco(np.ascontiguousarray(values[kept]), np.ascontiguousarray(mask[kept]))


def _as_imdlbenco(values: Map, mask: Mask) -> PictureMetrics:
    c = count_pixels(values, mask)
    ranking = rank_pixels(values, mask)
    return {
        "f1": float(metrics.f1(c, both_empty=0.0)),
        "f1_permuted": float(_either_way(c)),
        "iou": float(metrics.iou(c, both_empty=0.0)),
        "auc": float(metrics.auc(ranking.tampered, ranking.authentic)) if mask.any() else 0.0,
    }


def trufor(values: Map, mask: Mask, side: int = DEFAULT_SIDE) -> PictureMetrics:
    """Best-threshold and 0.5 F1, each the better of map and inverted map, without pixels near the true edge.

    Pixels of the mask after erosion by 15×15 are tampered, pixels outside its dilation by 11×11 are authentic, and the
    pixels between are ignored. The best threshold is one of the map's own values, chosen for each picture. Such an F1
    does not penalise inversion: a completely wrong map scores 1.

    The result is NaN and left out of the mean if no pixel is left to score, or (at 0.5) if truth and prediction both
    consist of the same single class, because that code skips these pictures. Arguments as in `imdlbenco`; `side` is not
    used.
    """
    wide = mask.astype(np.uint8)
    inner = cv2.erode(wide, np.ones((EROSION, EROSION), np.uint8)).astype(np.bool_)
    outer = ~cv2.dilate(wide, np.ones((DILATION, DILATION), np.uint8)).astype(np.bool_)
    scored = inner | outer
    if not scored.any():
        return {"f1_best": float("nan"), "f1_fixed": float("nan")}
    kept, truth = values[scored][None], inner[scored][None]
    half = count_pixels(kept, truth)
    one_class = (half.tp + half.fn == 0 and half.fp == 0) or (half.tn + half.fp == 0 and half.fn == 0)
    fixed = float("nan") if one_class else float(_either_way(half))
    best = float(_either_way(rank_pixels(kept, truth).counts_above()).max())
    return {"f1_best": best, "f1_fixed": fixed}


def _either_way(c: Counts) -> metrics.FloatArray:
    """The better F1 of a prediction and of its inverse; 0 without truth."""
    inverse = Counts(c.fn, c.tn, c.tp, c.fp)
    return np.maximum(metrics.f1(c, both_empty=0.0), metrics.f1(inverse, both_empty=0.0))


def mvss(values: Map, mask: Mask, side: int = DEFAULT_SIDE) -> PictureMetrics:
    """F1 of the 8-bit map strictly above 0.5, and the map's maximum as the picture's score, as in MVSS-Net.

    The map is truncated (not rounded) to 8 bits, so 128/255 is the lowest value that counts. Arguments as in
    `imdlbenco`; `side` is not used.
    """
    # the addend keeps a stored 8-bit value at its own level: v/255·255 can be less than v in float32
    levels = np.floor(values * np.float32(255.0) + np.float32(1e-3)) / np.float32(255.0)
    return {"f1": float(metrics.f1(count_pixels(levels, mask))), "score": float(levels.max())}


@dataclass(frozen=True)
class PictureResult:
    """Metrics of a picture under a protocol; `score` is imltool's own image score in [0,1]."""

    tampered: bool
    score: float
    metrics: Mapping[str, float]


def _each(rows: Sequence[PictureResult], key: str) -> list[float]:
    return [row.metrics[key] for row in rows]


SetMetrics = dict[str, "float | list[float]"]
"""Metrics of a set; a list stands for its mean over the pictures that have the metric."""


def _imdlbenco_set(rows: Sequence[PictureResult]) -> SetMetrics:
    tampered = [row for row in rows if row.tampered]
    return {
        "f1": _each(rows, "f1"),
        "f1_tampered": _each(tampered, "f1"),
        "f1_permuted": _each(tampered, "f1_permuted"),
        "iou": _each(rows, "iou"),
        "auc": _each(rows, "auc"),
        "auc_tampered": _each(tampered, "auc"),
    }


def _trufor_set(rows: Sequence[PictureResult]) -> SetMetrics:
    tampered = [row for row in rows if row.tampered]
    sides = _scores(rows, None)
    return {
        "f1_best": _each(tampered, "f1_best"),
        "f1_fixed": _each(tampered, "f1_fixed"),
        "image_auc": metrics.image_auc(*sides),
        "image_balanced_accuracy": float(metrics.balanced_accuracy(metrics.image_counts(*sides, 0.5))),
        "n_skipped": float(sum(np.isnan(row.metrics["f1_fixed"]) for row in tampered)),
    }


def _mvss_set(rows: Sequence[PictureResult]) -> SetMetrics:
    tampered = [row for row in rows if row.tampered]
    sides = _scores(rows, "score")
    pictures = metrics.image_counts(*sides, 0.5)
    sensitivity = metrics.share_above(sides[0], 0.5)
    image_f1 = float(metrics.harmonic_mean(sensitivity, metrics.specificity(pictures)))
    f1 = _each(tampered, "f1")
    return {
        "f1": f1,
        "image_auc": metrics.image_auc(*sides),
        "image_sensitivity": sensitivity,
        "image_specificity": float(metrics.specificity(pictures)),
        "image_f1": image_f1,
        "combined_f1": float(metrics.harmonic_mean(metrics.mean_or_nan(f1), image_f1)),
    }


def _scores(rows: Sequence[PictureResult], key: str | None) -> tuple[list[float], list[float]]:
    """Scores of the tampered and of the authentic pictures: imltool's own, or the protocol's."""
    both: tuple[list[float], list[float]] = ([], [])
    for row in rows:
        both[0 if row.tampered else 1].append(row.score if key is None else row.metrics[key])
    return both


@dataclass(frozen=True)
class CompatProtocol:
    """A way of measuring.

    Attributes:
        says: its explanation, one line for tables.
        columns: metric → heading.
        picture: function (map, mask, side) → metrics of a picture.
        authentic: whether `picture` is also applied to authentic pictures.
        of_set: function of pictures → metrics of their set.
    """

    says: str
    columns: dict[str, str]
    picture: Callable[[Map, Mask, int], PictureMetrics]
    authentic: bool
    of_set: Callable[[Sequence[PictureResult]], SetMetrics]


IMDLBENCO_COLUMNS = {
    "f1": "F1, all pictures",
    "f1_tampered": "F1, tampered",
    "f1_permuted": "permuted F1, tampered",
    "iou": "IoU, all pictures",
    "auc": "pixel AUC, all pictures",
    "auc_tampered": "pixel AUC, tampered",
}
PROTOCOLS: dict[str, CompatProtocol] = {
    "imdlbenco": CompatProtocol(
        "map and mask resized, strictly above 0.5, mean over all pictures; an authentic picture scores 0",
        IMDLBENCO_COLUMNS,
        imdlbenco,
        True,
        _imdlbenco_set,
    ),
    "imdlbenco-padded": CompatProtocol(
        "original size, cut to the top left 1024×1024, strictly above 0.5, mean over all pictures; an authentic "
        "picture scores 0",
        IMDLBENCO_COLUMNS,
        imdlbenco_padded,
        True,
        _imdlbenco_set,
    ),
    "trufor": CompatProtocol(
        "better of map and inverted map, edge of the truth ignored, tampered pictures; best: threshold chosen for each "
        "picture; detection by imltool's image score above 0.5",
        {
            "f1_best": "F1 best",
            "f1_fixed": "F1 at 0.5",
            "n_skipped": "skipped at 0.5",
            "image_auc": "image AUC",
            "image_balanced_accuracy": "balanced accuracy",
        },
        trufor,
        False,
        _trufor_set,
    ),
    "mvss": CompatProtocol(
        "8-bit map strictly above 0.5, tampered pictures; a picture is flagged when any pixel is; image F1: harmonic "
        "mean of sensitivity and specificity; combined: harmonic mean of pixel F1 and image F1",
        {
            "f1": "pixel F1",
            "image_auc": "image AUC",
            "image_sensitivity": "sensitivity",
            "image_specificity": "specificity",
            "image_f1": "image F1",
            "combined_f1": "combined F1",
        },
        mvss,
        True,
        _mvss_set,
    ),
}
"""Name for `--compat` → protocol."""


def measure(name: str, values: Map, mask: Mask, tampered: bool, side: int = DEFAULT_SIDE) -> PictureMetrics | None:
    """Metrics of a picture under the protocol `name`; None for an authentic one that it does not measure."""
    protocol = PROTOCOLS[name]
    return protocol.picture(values, mask, side) if tampered or protocol.authentic else None


def summarize(name: str, rows: Sequence[PictureResult], seed: int) -> Measured:
    """Metrics of a set under the protocol `name`; means over pictures have a 95 % bootstrap interval."""
    summary: dict[str, int | float | Interval | None] = {}
    for key, found in PROTOCOLS[name].of_set(rows).items():
        value, limits = mean_estimate(found, seed) if isinstance(found, list) else (found, None)
        summary[key] = None if np.isnan(value) else int(value) if key == "n_skipped" else value
        if isinstance(found, list):
            summary[f"{key}_ci"] = limits
    return Measured.model_validate(summary)
