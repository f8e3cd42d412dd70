"""One pass over a data set: decode ahead, predict in batches, count. Everything later is arithmetic on the rows."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from imltool.data.folder import Sample
from imltool.errors import ImlError
from imltool.evaluation import metrics
from imltool.evaluation.baselines import Predict
from imltool.evaluation.counts import CURVE_LEVELS, Counts, check_map, count_pixels, level_histogram
from imltool.images import RGB, Map, Mask, read_mask, read_rgb
from imltool.student.localizer import image_score

BATCH_PIXELS = 64_000_000
"""A batch is cut short when its pictures hold this many pixels, so that camera originals do not fill the memory."""

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "outofmemory")
# as torch (CUDA, MPS, CPU) and OpenCV word it; torch raises a plain RuntimeError on the CPU

HALF = "half"
CALIBRATED = "calibrated"


@dataclass(frozen=True)
class ImageRow:
    """What is known of one picture after prediction.

    Attributes:
        name: the sample's name within its set.
        tampered: has ground truth with something in it to find.
        reason: why it failed; "" when it was scored. A failed row has no other figure.
        width, height: pixels.
        score: image score in [0,1].
        counts: threshold name → confusion counts at the picture's own resolution.
        curve: counts [1024] at `CURVE_LEVELS`; None for an authentic picture.
        pixel_auc, pixel_ap: of this picture's pixels; NaN where they do not exist.
    """

    name: str
    tampered: bool
    reason: str = ""
    width: int = 0
    height: int = 0
    score: float = float("nan")
    counts: Mapping[str, Counts] = field(default_factory=dict)
    curve: Counts | None = None
    pixel_auc: float = float("nan")
    pixel_ap: float = float("nan")

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class _Loaded:
    sample: Sample
    rgb: RGB | None
    mask: Mask | None
    reason: str = ""


def _load(sample: Sample) -> _Loaded:
    try:
        rgb = read_rgb(sample.image)
        height, width = rgb.shape[:2]
        if sample.mask is None:
            return _Loaded(sample, rgb, np.zeros((height, width), dtype=np.bool_))
        mask = read_mask(sample.mask, (width, height))
        if not mask.any():  # a truth of nothing would score every picture that marks something 0
            return _Loaded(sample, None, None, f"{sample.mask}: the mask marks nothing")
        return _Loaded(sample, rgb, mask)
    except ImlError as error:
        return _Loaded(sample, None, None, error.message)
    except MemoryError:
        return _Loaded(sample, None, None, f"{sample.image}: not enough memory to decode")


def _load_ahead(samples: Sequence[Sample], window: int) -> Iterator[_Loaded]:
    """Decode in threads (Pillow releases the interpreter lock), in order, at most `window` pictures ahead."""
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")
    try:
        waiting: deque[Future[_Loaded]] = deque()
        rest = iter(samples)
        for sample in itertools.islice(rest, window):
            waiting.append(pool.submit(_load, sample))
        while waiting:
            loaded = waiting.popleft().result()
            for sample in itertools.islice(rest, 1):
                waiting.append(pool.submit(_load, sample))
            yield loaded
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def count_image(
    sample: Sample,
    values: Map,
    mask: Mask,
    thresholds: Mapping[str, float],
    score: Callable[[Map], float] = image_score,
) -> ImageRow:
    """Everything that is computed from the pixels of one picture.

    Args:
        values: map, float32 [H,W] in [0,1]; mask: bool [H,W], True = tampered.
        thresholds: name → threshold; a pixel counts as predicted when strictly above.

    Raises `DataError` when the map does not fit the mask or holds NaN or values outside 0..1.
    """
    check_map(values, mask)
    height, width = mask.shape
    auc = ap = float("nan")
    curve = None
    if sample.tampered:  # over an authentic picture neither curve exists
        levels = level_histogram(values, mask)
        auc = float(metrics.auc(levels.tampered, levels.authentic))
        ap = float(metrics.average_precision(levels.tampered, levels.authentic))
        curve = levels.counts_above(CURVE_LEVELS)
    return ImageRow(
        name=sample.name,
        tampered=sample.tampered,
        width=width,
        height=height,
        score=score(values),
        counts={name: count_pixels(values, mask, threshold) for name, threshold in thresholds.items()},
        curve=curve,
        pixel_auc=auc,
        pixel_ap=ap,
    )


def evaluate_set(
    samples: Sequence[Sample], predict: Predict, thresholds: Mapping[str, float], *, batch: int = 8
) -> Iterator[ImageRow]:
    """Yield a row per sample, in the samples' order. A picture that cannot be scored is a row with a reason.

    Args:
        predict: pictures → maps at their own sizes.
        thresholds: name → threshold, for instance {"half": 0.5, "calibrated": 0.41}.
        batch: pictures given to `predict` at once. When memory runs out they are given again one by one.
    """
    loader = _load_ahead(samples, window=batch + 2)
    for group in _group(loader, batch):
        images = [one.rgb for one in group if one.rgb is not None]
        maps = iter(_predict(predict, images))
        for one in group:
            reason = one.reason
            if one.rgb is not None and one.mask is not None:
                values = next(maps)
                if isinstance(values, str):
                    reason = values
                else:
                    try:
                        yield count_image(one.sample, values, one.mask, thresholds)
                        continue
                    except (ImlError, MemoryError) as error:
                        reason = _reason(error)
            yield ImageRow(one.sample.name, one.sample.tampered, reason=reason)


def _predict(predict: Predict, images: list[RGB]) -> list[Map | str]:
    """Maps, or in a map's place the reason why its picture has none; a picture's fault costs no other its map."""
    if not images:
        return []
    try:
        return list(predict(images))
    except Exception as error:
        reason = _reason(error)
        if not reason:
            raise
    # outside the handler, so that the exception no longer keeps the failed attempt's memory alive
    if len(images) == 1:
        return [reason]
    return [one for image in images for one in _predict(predict, [image])]


def _reason(error: Exception) -> str:
    """One line for a fault that one picture may cause; "" for any other, which is a bug and must be seen."""
    if isinstance(error, ImlError):
        return error.message
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return "out of memory"
    return ""


def _group(loader: Iterator[_Loaded], batch: int) -> Iterator[list[_Loaded]]:
    group: list[_Loaded] = []
    pixels = 0
    for loaded in loader:
        group.append(loaded)
        pixels += loaded.mask.size if loaded.mask is not None else 0
        if len(group) >= batch or pixels >= BATCH_PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group
