"""One pass over a data set for all methods: decode ahead, predict in batches, count. The rest is arithmetic on rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from imltool.ahead import ahead
from imltool.data.folder import Sample
from imltool.data.samples import kind_of, read_sample_mask
from imltool.errors import DataError, ImlError
from imltool.evaluation import compat, metrics
from imltool.evaluation.counts import CURVE_THRESHOLDS, check_map, count_pixels, rank_pixels
from imltool.evaluation.methods import Method, TakeTraces
from imltool.evaluation.rows import PLAIN, Counting, Curve, ImageRow
from imltool.inference.localizer import image_score
from imltool.pictures.images import RGB, Map, Mask, read_rgb, read_size
from imltool.traces.stack import Traces

BATCH_PIXELS = 64_000_000
"""A batch is complete when its pictures have this many pixels, so that camera originals do not fill the memory."""
LOADERS = min(4, os.cpu_count() or 1)
"""Threads that load pictures; the traces of a large one take some 200 MB."""

OnMap = Callable[[Method, Sample, Map], None]
Prepare = Callable[[Sample, RGB, Mask], "tuple[RGB, Mask]"]
"""Function (sample, picture, truth) → picture and truth for prediction and scoring."""
Done = Callable[[Method, Sample], bool]
"""Whether a method already has its row for a picture."""


@dataclass
class _Loaded:
    """A picture's data, for all methods.

    Attributes:
        mask: its truth, None if it cannot be scored at all.
        rgb, traces: for methods that predict, if they need them.
        fault: why no method can score it, or, if it has a mask, why no predicting method can.
        maps: label of a method with saved maps → map and score, or the reason why it has none.
    """

    sample: Sample
    mask: Mask | None = None
    rgb: RGB | None = None
    traces: dict[TakeTraces, Traces | None] = field(default_factory=dict)
    fault: str = ""
    maps: dict[str, tuple[Map, float | None] | str] = field(default_factory=dict)


class _Loader:
    """Loads samples for methods; each picture is decoded, and its traces are computed, once."""

    def __init__(self, methods: Sequence[Method], set_name: str, prepare: Prepare | None) -> None:
        self._predict = any(one.predict for one in methods)
        self._traces = list(dict.fromkeys(one.traces for one in methods if one.traces))
        self._saved = [one for one in methods if one.maps]
        self._set_name, self._prepare = set_name, prepare

    def __call__(self, sample: Sample) -> _Loaded:
        loaded = _Loaded(sample)
        try:
            if self._predict:
                self._decode(loaded)
            size = (loaded.rgb.shape[1], loaded.rgb.shape[0]) if loaded.rgb is not None else read_size(sample.image)
            loaded.mask = _truth(sample, size)
            if self._prepare is not None and loaded.rgb is not None:
                loaded.rgb, loaded.mask = self._prepare(sample, loaded.rgb, loaded.mask)
                if sample.tampered and not loaded.mask.any():
                    raise DataError(f"{sample.image}: nothing of the edit is left")
        except Exception as error:
            return _Loaded(sample, fault=loaded.fault or _fault(sample, error))
        if loaded.rgb is not None:
            loaded.traces = {take: _traces(take, loaded.rgb) for take in self._traces}
        for method in self._saved:
            loaded.maps[method.label] = self._saved_map(method, sample, size)
        return loaded

    def _decode(self, loaded: _Loaded) -> None:
        try:
            loaded.rgb = read_rgb(loaded.sample.image)
        except Exception as error:
            loaded.fault = _fault(loaded.sample, error)
            if not self._saved:
                raise

    def _saved_map(self, method: Method, sample: Sample, size: tuple[int, int]) -> tuple[Map, float | None] | str:
        assert method.maps is not None
        try:
            return method.maps.read(self._set_name, sample, size)
        except Exception as error:
            return _fault(sample, error)


def _fault(sample: Sample, error: Exception) -> str:
    """Why a picture cannot be loaded; errors that are not caused by the picture are raised again."""
    if not (reason := _reason(error)):
        raise error
    return reason if isinstance(error, ImlError) else f"{sample.image}: {reason}"


def _traces(take: TakeTraces, rgb: RGB) -> Traces | None:
    """A picture's traces; None if that fails, in which case the prediction tries again and reports the reason."""
    try:
        return take(rgb)
    except Exception as error:
        if not _reason(error):
            raise
        return None


def _truth(sample: Sample, size: tuple[int, int]) -> Mask:
    width, height = size
    if sample.mask is None:
        return np.zeros((height, width), dtype=np.bool_)
    mask = read_sample_mask(sample)
    if not mask.any():  # with an empty truth every map that marks something would score 0
        raise DataError(f"{sample.mask}: the mask marks nothing")
    return mask


def count_image(
    sample: Sample,
    values: Map,
    mask: Mask,
    thresholds: Mapping[str, float],
    score: float | None = None,
    counting: Counting = PLAIN,
) -> ImageRow:
    """Compute everything that depends on the pixels of a picture.

    Args:
        values: map, float32 [H,W] in [0,1]; mask: bool [H,W], True = tampered.
        thresholds: name → threshold; pixels strictly above it count as predicted.
        score: the picture's image score in [0,1]; None for `image_score` of the map.

    Raises `DataError` when the map does not fit the mask or holds NaN or values outside 0..1.
    """
    check_map(values, mask)
    height, width = mask.shape
    auc = ap = float("nan")
    curve = None
    if sample.tampered and counting.curves:  # neither curve exists for an authentic picture
        ranking = rank_pixels(values, mask)
        auc = float(metrics.auc(ranking.tampered, ranking.authentic))
        ap = float(metrics.average_precision(ranking.tampered, ranking.authentic))
        curve = Curve.of(ranking.counts_above(CURVE_THRESHOLDS))
    return ImageRow(
        name=sample.name,
        tampered=sample.tampered,
        width=width,
        height=height,
        score=image_score(values) if score is None else score,
        counts={name: count_pixels(values, mask, threshold) for name, threshold in thresholds.items()},
        curve=curve,
        pixel_auc=auc,
        pixel_ap=ap,
        kind=kind_of(sample),
        compat={
            name: found
            for name in counting.protocols
            if (found := compat.measure(name, values, mask, sample.tampered, counting.side)) is not None
        },
    )


def evaluate_set(
    samples: Sequence[Sample],
    methods: Sequence[Method],
    *,
    set_name: str = "",
    batch: int = 8,
    counting: Counting = PLAIN,
    on_map: OnMap | None = None,
    prepare: Prepare | None = None,
    done: Done | None = None,
) -> Iterator[tuple[Method, ImageRow]]:
    """Yield a row per sample and method: batch by batch, in each batch method by method, in the samples' order.

    A picture that cannot be scored is a row with a reason. Every picture is decoded, and its traces are computed, once
    for all methods. If all methods have saved maps, pictures are not decoded at all.

    Args:
        set_name: the set's name in a `MapFolder`.
        batch: number of pictures predicted at a time. When memory runs out they are predicted again one by one.
        on_map: called with every map that was scored.
        prepare: function applied to picture and truth before prediction, in the loading threads; a tampered picture
            with an empty truth after it is a row with a reason.
        done: whether a row is known already. Known rows are not yielded, and batches without unknown rows are not
            loaded. Batches are the same whatever is known, so that maps do not depend on it.
    """
    known: Done = done or (lambda method, sample: False)
    todo: list[Sample] = []
    ends = set()  # numbers of loaded samples at which a batch is full
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        if not all(known(method, sample) for method in methods for sample in part):
            todo += part
            ends.add(len(todo))
    loader = ahead(todo, _Loader(methods, set_name, prepare), batch + 2, LOADERS)
    for group in _group(loader, ends):
        for method in methods:
            if all(known(method, one.sample) for one in group):
                continue
            for one, (found, score) in zip(group, _maps(method, group), strict=True):
                if not known(method, one.sample):
                    yield method, _row(method, one, found, score, counting, on_map)


def _group(loader: Iterator[_Loaded], ends: set[int]) -> Iterator[list[_Loaded]]:
    group: list[_Loaded] = []
    pixels = 0
    for number, loaded in enumerate(loader, 1):
        group.append(loaded)
        pixels += loaded.mask.size if loaded.mask is not None else 0
        if number in ends or pixels >= BATCH_PIXELS:
            yield group
            group, pixels = [], 0


def _maps(method: Method, group: Sequence[_Loaded]) -> list[tuple[Map | str, float | None]]:
    """Map and score of each picture by a method, or the reason instead of the map."""
    if method.maps is not None:
        saved = [one.maps.get(method.label, one.fault) for one in group]
        return [(found, None) if isinstance(found, str) else found for found in saved]
    made = iter(_predict(method, [one for one in group if one.rgb is not None]))
    return [(next(made) if one.rgb is not None else one.fault, None) for one in group]


def _predict(method: Method, pictures: Sequence[_Loaded]) -> list[Map | str]:
    """Maps, or instead of a map the reason why there is none; a picture's fault does not affect the others."""
    assert method.predict is not None
    if not pictures:
        return []
    images = [one.rgb for one in pictures if one.rgb is not None]
    found = [one.traces[method.traces] for one in pictures] if method.traces else []
    traces = [one for one in found if one is not None]
    try:
        return list(method.predict(images, traces if len(traces) == len(images) else None))
    except Exception as error:
        reason = _reason(error)
        if not reason:
            raise
    # outside the handler, so that the exception no longer holds the failed attempt's memory
    if len(images) == 1:
        return [reason]
    return [one for picture in pictures for one in _predict(method, [picture])]


def _row(
    method: Method, one: _Loaded, found: Map | str, score: float | None, counting: Counting, on_map: OnMap | None
) -> ImageRow:
    """Score a picture's map, or make a row with the reason why there is none."""
    if isinstance(found, str) or one.mask is None:
        return ImageRow(one.sample.name, one.sample.tampered, reason=str(found))
    try:
        check_map(found, one.mask)
        values = stretched(found) if counting.min_max else found
        row = count_image(one.sample, values, one.mask, method.thresholds, score, counting)
    except Exception as error:
        if not (reason := _reason(error)):
            raise
        return ImageRow(one.sample.name, one.sample.tampered, reason=reason)
    if on_map is not None:
        on_map(method, one.sample, values)
    return row


def stretched(values: Map) -> Map:
    """Stretch a map so that its lowest value is 0 and its highest 1; a constant map is unchanged."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return values
    return np.asarray((values - np.float32(low)) / np.float32(high - low), dtype=np.float32)


def _reason(error: Exception) -> str:
    """One line for a fault that a picture may cause; "" for any other, which is a bug and must not be hidden."""
    if isinstance(error, ImlError):
        return error.message
    opencv = isinstance(error, cv2.error) and "Insufficient memory" in str(error)
    return "out of memory" if opencv or isinstance(error, MemoryError) else ""
