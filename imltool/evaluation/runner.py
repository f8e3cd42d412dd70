"""One pass over a data set: decode ahead, predict in batches, count. Everything later is arithmetic on the rows."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from imltool.data.folder import Sample
from imltool.data.samples import kind_of, read_sample_mask
from imltool.errors import DataError, ImlError
from imltool.evaluation import compat, metrics
from imltool.evaluation.baselines import Predict
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts, check_map, count_pixels, rank_pixels
from imltool.inference.localizer import image_score
from imltool.pictures.images import RGB, Map, Mask, read_rgb, read_size

BATCH_PIXELS = 64_000_000
"""A batch is cut short when its pictures hold this many pixels, so that camera originals do not fill the memory."""

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "outofmemory")
# as torch (CUDA, MPS, CPU) and OpenCV word it; torch raises a plain RuntimeError on the CPU

HALF = "half"
CALIBRATED = "calibrated"

MapSource = Callable[[Sample, tuple[int, int]], "tuple[Map, float | None]"]
"""Sample and its picture's (width, height) → its map, float32 [H,W] in [0,1], and its score if the method has one."""
OnMap = Callable[[Sample, Map], None]
Prepare = Callable[[Sample, RGB, Mask], "tuple[RGB, Mask]"]
"""Sample, picture and truth → picture and truth as they are to be predicted and scored."""


@dataclass(frozen=True)
class Counting:
    """What is measured of each picture beside the counts at its thresholds.

    Attributes:
        protocols: names of `compat.PROTOCOLS`.
        side: pixels at which the protocol `imdlbenco` measures.
        curves: also pixel AUC, AP and the counts at every threshold of a curve.
        min_max: stretch each map to 0..1 before anything is counted. It changes F1, because a map that marks nothing
            then marks something; for methods that publish their figures so.
    """

    protocols: tuple[str, ...] = ()
    side: int = compat.DEFAULT_SIDE
    curves: bool = True
    min_max: bool = False


PLAIN = Counting()


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
        curve: counts [T] at `CURVE_THRESHOLDS`; None for an authentic picture.
        pixel_auc, pixel_ap: of this picture's pixels; NaN where they do not exist.
        kind: what was done to the picture, None when that is not known.
        compat: protocol → figures of this picture under it.
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
    kind: str | None = None
    compat: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class _Loaded:
    """One picture's data: RGB for a method that predicts, or its map where that was made before."""

    sample: Sample
    rgb: RGB | None = None
    mask: Mask | None = None
    values: Map | None = None
    score: float | None = None
    reason: str = ""


def _load(sample: Sample, prepare: Prepare | None) -> _Loaded:
    try:
        rgb = read_rgb(sample.image)
        mask = _truth(sample, (rgb.shape[1], rgb.shape[0]))
        if prepare is not None:
            rgb, mask = prepare(sample, rgb, mask)
            if sample.tampered and not mask.any():
                return _Loaded(sample, reason=f"{sample.image}: nothing is left of what was edited")
        return _Loaded(sample, rgb, mask)
    except Exception as error:
        return _unloaded(sample, error)


def _load_map(sample: Sample, source: MapSource) -> _Loaded:
    try:
        size = read_size(sample.image)
        values, score = source(sample, size)
        return _Loaded(sample, mask=_truth(sample, size), values=values, score=score)
    except Exception as error:
        return _unloaded(sample, error)


def _unloaded(sample: Sample, error: Exception) -> _Loaded:
    """A picture that could not be had; raises again what is no picture's fault."""
    if not (reason := _reason(error)):
        raise error
    return _Loaded(sample, reason=reason if isinstance(error, ImlError) else f"{sample.image}: {reason}")


def _truth(sample: Sample, size: tuple[int, int]) -> Mask:
    width, height = size
    if sample.mask is None:
        return np.zeros((height, width), dtype=np.bool_)
    mask = read_sample_mask(sample)
    if not mask.any():  # a truth of nothing would score every picture that marks something 0
        raise DataError(f"{sample.mask}: the mask marks nothing")
    return mask


def _ahead(samples: Sequence[Sample], window: int, load: Callable[[Sample], _Loaded]) -> Iterator[_Loaded]:
    """Load in threads (Pillow releases the interpreter lock), in order, at most `window` pictures ahead."""
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")
    try:
        waiting: deque[Future[_Loaded]] = deque()
        rest = iter(samples)
        for sample in itertools.islice(rest, window):
            waiting.append(pool.submit(load, sample))
        while waiting:
            loaded = waiting.popleft().result()
            for sample in itertools.islice(rest, 1):
                waiting.append(pool.submit(load, sample))
            yield loaded
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def count_image(
    sample: Sample,
    values: Map,
    mask: Mask,
    thresholds: Mapping[str, float],
    score: Callable[[Map], float] = image_score,
    counting: Counting = PLAIN,
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
    if sample.tampered and counting.curves:  # over an authentic picture neither curve exists
        ranking = rank_pixels(values, mask)
        auc = float(metrics.auc(ranking.tampered, ranking.authentic))
        ap = float(metrics.average_precision(ranking.tampered, ranking.authentic))
        curve = ranking.counts_above(CURVE_THRESHOLDS)
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
        kind=kind_of(sample),
        compat={
            name: figures
            for name in counting.protocols
            if (figures := compat.measure(name, values, mask, sample.tampered, counting.side)) is not None
        },
    )


def evaluate_set(
    samples: Sequence[Sample],
    predict: Predict,
    thresholds: Mapping[str, float],
    *,
    batch: int = 8,
    counting: Counting = PLAIN,
    on_map: OnMap | None = None,
    prepare: Prepare | None = None,
) -> Iterator[ImageRow]:
    """Yield a row per sample, in the samples' order. A picture that cannot be scored is a row with a reason.

    Args:
        predict: pictures → maps at their own sizes.
        thresholds: name → threshold, for instance {"half": 0.5, "calibrated": 0.41}.
        batch: pictures given to `predict` at once. When memory runs out they are given again one by one.
        on_map: called with every map that was scored.
        prepare: changes picture and truth before they are predicted, in the loading threads; a tampered picture whose
            truth is then empty is a row with a reason.
    """
    for group in _group(_ahead(samples, batch + 2, lambda sample: _load(sample, prepare)), batch):
        maps = iter(_predict(predict, [one.rgb for one in group if one.rgb is not None]))
        for one in group:
            found = next(maps) if one.rgb is not None else one.reason
            yield _row(one, found, thresholds, counting, on_map)


def evaluate_maps(
    samples: Sequence[Sample],
    source: MapSource,
    thresholds: Mapping[str, float],
    *,
    counting: Counting = PLAIN,
    on_map: OnMap | None = None,
) -> Iterator[ImageRow]:
    """As `evaluate_set`, for maps that some other program has made; the pictures are not decoded."""
    for one in _ahead(samples, 8, lambda sample: _load_map(sample, source)):
        yield _row(one, one.reason if one.values is None else one.values, thresholds, counting, on_map)


def _row(
    one: _Loaded, found: Map | str, thresholds: Mapping[str, float], counting: Counting, on_map: OnMap | None
) -> ImageRow:
    """Score one picture's map, or say why there is none."""
    if isinstance(found, str) or one.mask is None:
        return ImageRow(one.sample.name, one.sample.tampered, reason=str(found))
    try:
        check_map(found, one.mask)
        values = stretched(found) if counting.min_max else found
        given = one.score
        score = image_score if given is None else lambda _: given
        row = count_image(one.sample, values, one.mask, thresholds, score, counting)
    except Exception as error:
        if not (reason := _reason(error)):
            raise
        return ImageRow(one.sample.name, one.sample.tampered, reason=reason)
    if on_map is not None:
        on_map(one.sample, values)
    return row


def stretched(values: Map) -> Map:
    """A map with its lowest value moved to 0 and its highest to 1; a constant one stays as it is."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return values
    return ((values - np.float32(low)) / np.float32(high - low)).astype(np.float32)


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
