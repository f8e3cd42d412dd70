"""Evaluation of one method on one data set: pictures → per-image rows of counts → the set's figures."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from imltool.data.folder import Sample
from imltool.errors import DataError, ImlError
from imltool.evaluation import metrics
from imltool.evaluation.counts import count_pixels
from imltool.images import RGB, Map, Mask, read_mask, read_rgb
from imltool.student.localizer import image_score

BATCH = 8
BATCH_PIXELS = 48_000_000
"""A batch is closed early at this many pixels, so that camera originals do not fill the memory (our choice)."""

HEADLINE_THRESHOLD = 0.5

PROTOCOL = {
    "pixel": "tampered images only, original resolution, predicted where the map is strictly above 0.5; mean over images",
    "pixel_f1_calibrated": "as pixel_f1, at the method's own pixel threshold",
    "pixel_f1_pooled": "F1 of the counts summed over the tampered images",
    "empty": "nothing tampered and nothing predicted scores 1, nothing tampered and something predicted scores 0",
    "pixel_auc, pixel_ap": "per image over 65536 levels of the map, ties counted half, no interpolation",
    "fp_area": "authentic images: mean share of pixels above 0.5",
    "image": "score = mean of the highest 1 % of the map; flagged when strictly above the method's score threshold",
    "ci": "95 % percentile bootstrap over images, 1000 resamples; null for fewer than two images",
}
"""What the figures mean; saved with every result."""


@dataclass(frozen=True)
class Method:
    """Something that localizes, and its operating point.

    Attributes:
        predict: uint8 RGB pictures of any sizes → float32 maps [H,W] in [0,1], each at its picture's size.
        pixel_threshold: its own threshold on the map, for the calibrated F1.
        score_threshold: an image is flagged when its score is strictly above.
    """

    name: str
    predict: Callable[[Sequence[RGB]], list[Map]]
    pixel_threshold: float = HEADLINE_THRESHOLD
    score_threshold: float = 0.5


@dataclass(frozen=True)
class ImageRow:
    """One picture's outcome: counts first, everything else is arithmetic on them.

    Attributes:
        reason: why it failed, empty when it did not.
        counts: TP, FP, FN, TN at threshold 0.5.
        calibrated: the same at the method's own threshold.
        auc, ap: pixel AUC and AP of a tampered picture, NaN where undefined.
        score: image score in [0,1], NaN when it failed.
    """

    name: str
    tampered: bool
    reason: str = ""
    width: int = 0
    height: int = 0
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    calibrated: tuple[int, int, int, int] = (0, 0, 0, 0)
    auc: float = math.nan
    ap: float = math.nan
    score: float = math.nan

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class _Decoded:
    sample: Sample
    rgb: RGB | None = None
    mask: Mask | None = None
    reason: str = ""


def _decode(sample: Sample) -> _Decoded:
    try:
        rgb = read_rgb(sample.image)
        height, width = rgb.shape[:2]
        mask = read_mask(sample.mask, (width, height)) if sample.mask else np.zeros((height, width), np.bool_)
        return _Decoded(sample, rgb, mask)
    except ImlError as error:
        return _Decoded(sample, reason=error.message)
    except MemoryError:
        return _Decoded(sample, reason=f"{sample.image}: not enough memory to decode")


def _read_ahead(samples: Sequence[Sample], workers: int = 2, ahead: int = 6) -> Iterator[_Decoded]:
    """Decode in threads while the method computes, in order, at most `ahead` pictures in advance."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Decoded]] = deque()
        try:
            for sample in samples:
                waiting.append(pool.submit(_decode, sample))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(pictures: Iterator[_Decoded], size: int) -> Iterator[list[_Decoded]]:
    batch: list[_Decoded] = []
    pixels = 0
    for picture in pictures:
        batch.append(picture)
        pixels += picture.mask.size if picture.mask is not None else 0
        if len(batch) >= size or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _predict(method: Method, images: list[RGB]) -> list[Map | str]:
    """Maps, or the reason why there is none; a batch that is too much is done one by one."""
    try:
        return list(method.predict(images))
    except (MemoryError, RuntimeError) as error:  # torch reports a full device as RuntimeError
        if len(images) > 1:
            return [result for image in images for result in _predict(method, [image])]
        return [f"{method.name} failed: {' '.join(str(error).split())[:200] or type(error).__name__}"]


def _row(method: Method, picture: _Decoded, values: Map) -> ImageRow:
    sample, mask = picture.sample, picture.mask
    assert mask is not None
    try:
        counts = count_pixels(values, mask, (HEADLINE_THRESHOLD, method.pixel_threshold))
    except DataError as error:
        return ImageRow(sample.name, sample.tampered, f"{method.name}: {error.message}")
    table = np.stack([counts.tp, counts.fp, counts.fn, counts.tn], axis=1).tolist()
    return ImageRow(
        name=sample.name,
        tampered=sample.tampered,
        width=mask.shape[1],
        height=mask.shape[0],
        counts=tuple(table[0]),
        calibrated=tuple(table[1]),
        auc=float(metrics.auc(counts.positive, counts.negative)) if sample.tampered else math.nan,
        ap=float(metrics.ap(counts.positive, counts.negative)) if sample.tampered else math.nan,
        score=image_score(values),
    )


def evaluate_set(samples: Sequence[Sample], method: Method, batch_size: int = BATCH) -> Iterator[ImageRow]:
    """Evaluate a method on a data set, yielding one row a sample in the samples' order.

    An unreadable picture, a mask of another size or a map with NaN gives a row with a reason; the others go on.
    """
    for batch in _batches(_read_ahead(samples), batch_size):
        images = [picture.rgb for picture in batch if picture.rgb is not None]
        results = iter(_predict(method, images) if images else [])
        for picture in batch:
            if picture.rgb is None:
                yield ImageRow(picture.sample.name, picture.sample.tampered, picture.reason)
                continue
            result = next(results)
            if isinstance(result, str):
                yield ImageRow(picture.sample.name, picture.sample.tampered, f"{picture.sample.image}: {result}")
            else:
                yield _row(method, picture, result)


def aggregate(rows: Sequence[ImageRow], score_threshold: float, seed: int = 0) -> dict[str, Any]:
    """A set's figures from its rows (`PROTOCOL` says what they mean).

    Returns counts `n_tampered`, `n_authentic`, `n_failed` and each metric with its `…_ci`; None where a metric does not
    exist (no tampered or no authentic image), never 0.
    """
    tampered = [row for row in rows if row.ok and row.tampered]
    authentic = [row for row in rows if row.ok and not row.tampered]
    half = np.array([row.counts for row in tampered], dtype=np.int64).reshape(-1, 4)
    own = np.array([row.calibrated for row in tampered], dtype=np.int64).reshape(-1, 4)
    clean = np.array([row.counts for row in authentic], dtype=np.int64).reshape(-1, 4)
    scores = np.array([row.score for row in tampered], dtype=np.float64)
    clean_scores = np.array([row.score for row in authentic], dtype=np.float64)
    tp, fp, fn, tn = half.T
    auc = np.array([row.auc for row in tampered], dtype=np.float64)
    ap = np.array([row.ap for row in tampered], dtype=np.float64)

    figures: dict[str, Any] = {
        "n_tampered": len(tampered),
        "n_authentic": len(authentic),
        "n_failed": sum(not row.ok for row in rows),
    }

    def add(name: str, statistic: Callable[..., Any], *groups: Any) -> None:
        exists = all(len(group) for group in groups)
        figures[name] = number(statistic(*groups)) if exists else None
        interval = metrics.bootstrap_interval(statistic, *groups, seed=seed) if exists else None
        figures[f"{name}_ci"] = list(interval) if interval else None

    add("pixel_f1", np.mean, metrics.f1(tp, fp, fn))
    add("pixel_f1_calibrated", np.mean, metrics.f1(*own.T[:3]))
    add("pixel_f1_pooled", lambda counts: metrics.f1(*counts.sum(axis=0)[:3]), half)
    add("pixel_iou", np.mean, metrics.iou(tp, fp, fn))
    add("pixel_mcc", np.mean, metrics.mcc(tp, fp, fn, tn))
    # AUC and AP do not exist on a mask that is empty or full: such images do not enter their mean
    add("pixel_auc", np.mean, auc[~np.isnan(auc)])
    add("pixel_ap", np.mean, ap[~np.isnan(ap)])
    add("image_auc", metrics.score_auc, scores, clean_scores)
    add("image_fpr", lambda values: metrics.share_above(values, score_threshold), clean_scores)
    add("image_tpr", lambda values: metrics.share_above(values, score_threshold), scores)
    add("fp_area", np.mean, metrics.fp_area(clean[:, 1], clean[:, 3]))
    return figures


def mean_over_sets(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """`{"ind": {"pixel_f1": …}, "ood": …}`: the plain mean over the sets of a role; None when there is none."""
    means: dict[str, dict[str, float | None]] = {}
    for role in ("ind", "ood"):
        values = [figures["pixel_f1"] for figures in sets.values() if figures["role"] == role]
        values = [value for value in values if value is not None]
        means[role] = {"pixel_f1": float(np.mean(values)) if values else None}
    return means


def number(value: Any) -> float | None:
    """A float for JSON: None instead of NaN."""
    value = float(value)
    return None if math.isnan(value) else value
