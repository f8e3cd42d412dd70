"""Maps of a batch of pictures: a failure affects the pictures that fail, never the others or the scan."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from imltool.inference.localizer import Localizer
from imltool.inference.tiles import is_tiled, predict_by_size, take_traces, tiled_map
from imltool.pictures.images import RGB, Map
from imltool.scan.decode import Decoded, failure
from imltool.scan.picture_outputs import map_score, quantise
from imltool.scan.stability import CHANGES
from imltool.traces.stack import Traces

ModelInput = tuple[RGB, tuple[Traces, ...]]
"""A picture, uint8 RGB [H,W,3], and its `take_traces`."""


def predict_maps(
    localizer: Localizer, pictures: Sequence[Decoded], batch: int, tiles: bool = False
) -> list[Map | str | None]:
    """Maps of up to `batch` pictures, float32 [H,W], or the reason of a failure; None for undecoded files."""
    inputs = [(each.rgb, each.traces) for each in pictures if each.rgb is not None]
    tiled, whole = partial(_predict_tiled, localizer, batch), partial(_predict_whole, localizer, batch)
    found = iter(predict_by_size(inputs, lambda one: tiles and is_tiled(one[0].shape), tiled, whole))
    return [None if each.rgb is None else next(found) for each in pictures]


def _predict_tiled(localizer: Localizer, batch: int, picture: ModelInput) -> Map | str:
    """The map of a picture that is also predicted in tiles, or the reason why there is none."""
    try:
        return tiled_map(localizer, *picture, batch)
    except Exception as error:  # engines raise errors of any type
        return failure(error)


def _predict_whole(localizer: Localizer, batch: int, pictures: Sequence[ModelInput]) -> list[Map | str]:
    """Maps of untiled pictures. When a batch fails, its pictures are predicted one by one.

    Batch-sensitive engines get the batch padded with black pictures, see `Localizer.maps`.
    """
    traces = [traces[0] for _, traces in pictures if traces] or None
    try:
        return [*localizer.maps([rgb for rgb, _ in pictures], traces, fill=batch)]
    except Exception as error:
        if batch == 1:
            return [failure(error)]
    return [result for picture in pictures for result in _predict_whole(localizer, 1, [picture])]


def changed_scores(
    pool: Executor, localizer: Localizer, pictures: Sequence[Decoded], batch: int, tiles: bool
) -> list[dict[str, float | None]]:
    """The score of every picture after each change of `stability`; None where it could not be scored.

    The changed pictures are predicted in full batches like the pictures themselves, one change after the other.
    """
    scores: list[dict[str, float | None]] = [{} for _ in pictures]
    for name in CHANGES:
        for score, value in zip(scores, _scores_after(pool, localizer, pictures, name, batch, tiles), strict=True):
            score[name] = value
    return scores


def _scores_after(
    pool: Executor, localizer: Localizer, pictures: Sequence[Decoded], name: str, batch: int, tiles: bool
) -> list[float | None]:
    """Scores after one change. The changed pictures are freed on return: the next change needs the memory."""
    changed = [*pool.map(partial(_change, name=name, localizer=localizer, tiles=tiles), pictures)]
    maps = predict_maps(localizer, changed, batch, tiles)
    return [None if found is None or isinstance(found, str) else map_score(quantise(found)) for found in maps]


def _change(read: Decoded, name: str, localizer: Localizer, tiles: bool) -> Decoded:
    if read.rgb is None:
        return read
    try:
        rgb = CHANGES[name](read.rgb)
        return Decoded(rgb=rgb, traces=take_traces(localizer, rgb, tiles))
    except Exception:  # size refused by an encoder, lack of memory: the change cannot be scored
        return Decoded()
