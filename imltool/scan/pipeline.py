"""The inner loop of a scan: decode and hash ahead in threads, localize in batches, write behind, in order."""

from __future__ import annotations

import math
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from imltool.errors import ImageError, ImlError
from imltool.evidence.context import picture_context
from imltool.evidence.remarks import make_remarks
from imltool.files import sha256_file, writing
from imltool.inference.localizer import Localizer, image_score
from imltool.inference.tiles import is_tiled, predict_by_size, take_traces, tiled_map
from imltool.pictures.images import RGB, Map, read_picture, read_size
from imltool.scan.companions import companion_files, write_companions
from imltool.scan.fetch import FetchAhead
from imltool.scan.inputs import Input
from imltool.scan.picture_outputs import find_regions, output_files, quantise, write_map_and_mask, write_overlay
from imltool.scan.settings import ScanSettings
from imltool.scan.stability import CHANGES, settle
from imltool.texts import clean
from imltool.traces.stack import Traces

Row = dict[str, Any]
View = tuple[RGB, tuple[Traces, ...]]
"""A picture and its `take_traces`."""

WORKERS = min(4, os.cpu_count() or 1)
PIXELS_IN_FLIGHT = 100_000_000
"""Pixels held at once between decoding and writing (our choice). A picture of more goes alone.

Each takes 7 bytes while it is decoded, 3 to 8 while traces are taken and 7 to 12 while its results are written, so that
a scan stays below 2 GB with its libraries."""


@dataclass
class Decoded:
    """A file read: its hash and size, and its picture (uint8 RGB [H,W,3]) or the reason there is none.

    `traces` are its `take_traces`: they take longer than decoding, so they are made there too.
    `context` is what the file says beside its pixels, also when they cannot be decoded; None when it cannot be read.
    """

    sha256: str | None = None
    size_bytes: int | None = None
    rgb: RGB | None = None
    reason: str | None = None
    traces: tuple[Traces, ...] = ()
    context: dict[str, Any] | None = None


def analyse(
    inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = 8
) -> Iterator[Row]:
    """Rows of `inputs`, in their order, each after its outputs are written below `out`.

    Objects of stores are fetched ahead, decoded as files, and their copies deleted as soon as that is done.

    Where a network's last digits depend on the size of its batch, every batch is filled up to `batch`: this way a scan
    that was cut and goes on ends with the same bytes as one that was not.

    Raises `OutputError` when results cannot be written, and `StoreError` when a store takes no credentials.
    """
    todo = deque(inputs)
    reading: deque[tuple[Input, int, Future[Decoded]]] = deque()
    finishing: deque[tuple[int, Future[Row]]] = deque()
    load = 0
    with ExitStack() as stack:
        files = stack.enter_context(FetchAhead(inputs))
        pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-scan")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        while todo or reading or finishing:
            while todo and len(reading) < 2 * batch:
                file = files.file(todo[0])
                pixels = _pixels(file)
                if load and load + pixels > PIXELS_IN_FLIGHT:
                    break
                load += pixels
                reading.append(
                    (todo[0], pixels, pool.submit(_read, files, todo.popleft(), file, localizer, settings.tiles))
                )
            full = len(reading) >= batch or not todo or not finishing
            if reading and full:
                taken = [reading.popleft() for _ in range(min(batch, len(reading)))]
                finishing += _see(pool, localizer, taken, out, settings, batch)
                del taken
            wait = 0 if reading and full else 1  # nothing to localize: wait for what is being written
            while finishing and (wait or len(finishing) > 2 * batch or finishing[0][1].done()):
                wait = 0
                pixels, row = finishing.popleft()
                load -= pixels
                yield row.result()


def _see(
    pool: ThreadPoolExecutor,
    localizer: Localizer,
    taken: Sequence[tuple[Input, int, Future[Decoded]]],
    out: Path,
    settings: ScanSettings,
    batch: int,
) -> list[tuple[int, Future[Row]]]:
    """Localize a batch and have its results written; of each picture its pixels and its row to be.

    Only those futures hold the pictures afterwards, so that memory is free as soon as each is written.
    """
    decoded = [future.result() for _, _, future in taken]
    # the changes first: of a large picture there is no room for its own map beside those
    changed = _rescore(pool, localizer, decoded, batch, settings.tiles) if settings.stability else [{}] * len(decoded)
    maps = _localize(localizer, decoded, batch, settings.tiles)
    return [
        (pixels, pool.submit(finish, item, read, made, scores, out, settings))
        for (item, pixels, _), read, made, scores in zip(taken, decoded, maps, changed, strict=True)
    ]


def _read(files: FetchAhead, item: Input, file: Path | str, localizer: Localizer, tiles: bool) -> Decoded:
    try:
        return Decoded(reason=file) if isinstance(file, str) else decode(file, localizer, tiles)
    finally:
        files.release(item)


def decode(path: Path, localizer: Localizer, tiles: bool = False) -> Decoded:
    """Hash and decode one file, and take its context and traces; what is wrong is the `reason`, without its path."""
    sha256 = size = picture = reason = None
    traces: tuple[Traces, ...] = ()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could wait for ever
            return Decoded(reason="not a regular file")
        size = status.st_size
        sha256 = sha256_file(path)
        picture = read_picture(path)
        traces = take_traces(localizer, picture.rgb, tiles)
    except ImageError as error:
        reason, picture = error.message.removeprefix(f"{path}: "), None
    except FileNotFoundError:
        reason = "broken link" if path.is_symlink() else "no such file"
    except PermissionError:
        reason = "no permission to read"
    except OSError as error:
        reason = f"cannot be read ({error.strerror or type(error).__name__})"
    except MemoryError:
        reason, picture = "not enough memory to decode", None
    except Exception as error:  # whatever a library makes of a file, it must not end the scan
        reason, picture = _failure(error), None
    context = picture_context(path, picture) if sha256 else None
    return Decoded(sha256, size, picture.rgb if picture else None, reason, traces, context)


def finish(
    item: Input,
    read: Decoded,
    result: Map | str | None,
    changed: Mapping[str, float | None],
    out: Path,
    settings: ScanSettings,
) -> Row:
    """Measure and write one picture's outputs and make its row.

    Args:
        read: its pixels are given up once they are drawn.
        result: its map, which is overwritten, why there is none, or None for a picture that was not read.
        changed: its scores after the changes of `stability`, empty when none was asked for.
    """
    row: Row = {
        "path": item.name,
        "sha256": read.sha256,
        "size_bytes": read.size_bytes,
        "status": "failed",
        "reason": read.reason,
        "width": None,
        "height": None,
        "score": None,
        "verdict": None,
        "verdict_reason": None,
        "stability": None,
        "tampered_area": None,
        "regions": [],
        "map": None,
        "mask": None,
        "overlay": None,
        "companions": {},
        "outputs_sha256": {},
        "context": read.context,
        "remarks": make_remarks(read.context) if read.context else [],
    }
    if read.rgb is None:
        return row
    row["height"], row["width"] = read.rgb.shape[:2]
    if result is None or isinstance(result, str):
        row["reason"] = result or "not analysed"
        return row
    values = quantise(result)
    score = _score(values)
    if score is None:
        row["reason"] = "analysis failed (the map holds values that are not numbers)"
        return row
    files, companions = output_files(item.output), companion_files(item.output, settings.companions)
    written = (*files.values(), *companions.values())
    try:
        write_overlay(out, item.output, read.rgb, values, settings.threshold)
        write_companions(out, item.output, read.rgb, settings.companions)
        read.rgb = None  # of a large picture there is no room for them beside what follows
        write_map_and_mask(out, item.output, values, settings.threshold)
        area = np.count_nonzero(values > settings.threshold) / values.size
        regions = find_regions(values, settings.threshold)
    except ImlError:
        raise
    except Exception as error:  # most often for lack of memory, which the next picture may not need
        row["reason"] = _failure(error)
        with writing(out):
            for file in written:
                (out / file).unlink(missing_ok=True)
        return row
    row.update(files, companions=companions, status="ok", score=score, tampered_area=round(area, 6), regions=regions)
    row.update(settle(settings.verdicts, score, changed))
    with writing(out):
        row["outputs_sha256"] = {file: sha256_file(out / file) for file in written}
    return row


def _pixels(path: Path | str) -> int:
    """Pixels a file will decode to, from its header; 0 when that cannot be told, or it is not there (it will fail)."""
    if isinstance(path, str):
        return 0
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return 0
        width, height = read_size(path)
        return width * height
    except (ImageError, OSError):
        return 0


def _score(values: Map) -> float | None:
    """The score of a map as it is told; None when the map holds values that are not numbers."""
    score = round(image_score(values), 6)
    return score if math.isfinite(score) else None


def _rescore(
    pool: ThreadPoolExecutor, localizer: Localizer, pictures: Sequence[Decoded], batch: int, tiles: bool
) -> list[dict[str, float | None]]:
    """The score of every picture after each change of `stability`; None where it could not be had.

    The changed pictures go through full batches like the pictures themselves, one change after the other.
    """
    scores: list[dict[str, float | None]] = [{} for _ in pictures]
    for name in CHANGES:
        for score, value in zip(scores, _changed_scores(pool, localizer, pictures, name, batch, tiles), strict=True):
            score[name] = value
    return scores


def _changed_scores(
    pool: ThreadPoolExecutor, localizer: Localizer, pictures: Sequence[Decoded], name: str, batch: int, tiles: bool
) -> list[float | None]:
    """Scores after one change. What it was made of is given up with the end: the next change needs the room."""
    changed = [*pool.map(partial(_change, name=name, localizer=localizer, tiles=tiles), pictures)]
    maps = _localize(localizer, changed, batch, tiles)
    return [None if found is None or isinstance(found, str) else _score(quantise(found)) for found in maps]


def _change(read: Decoded, name: str, localizer: Localizer, tiles: bool) -> Decoded:
    if read.rgb is None:
        return read
    try:
        rgb = CHANGES[name](read.rgb)
        return Decoded(rgb=rgb, traces=take_traces(localizer, rgb, tiles))
    except Exception:  # an encoder that refuses its size, memory: the change cannot be scored
        return Decoded()


def _localize(localizer: Localizer, pictures: Sequence[Decoded], batch: int, tiles: bool) -> list[Map | str | None]:
    """Maps of up to `batch` pictures, or why there is none; None for those not read."""
    views = [(each.rgb, each.traces) for each in pictures if each.rgb is not None]
    cut, fill = partial(_cut, localizer, batch), partial(_fill, localizer, batch)
    found = iter(predict_by_size(views, lambda view: tiles and is_tiled(view[0].shape), cut, fill))
    return [None if each.rgb is None else next(found) for each in pictures]


def _cut(localizer: Localizer, batch: int, view: View) -> Map | str:
    """The map of a picture seen in tiles too, or why there is none."""
    try:
        return tiled_map(localizer, *view, batch)
    except Exception as error:  # engines raise what they like
        return _failure(error)


def _fill(localizer: Localizer, batch: int, views: Sequence[View]) -> list[Map | str]:
    """Predict untiled pictures. Batch-sensitive engines get the batch padded with black pictures, see `Localizer.maps`.

    When that fails, it goes picture by picture, so that one cannot take the others down.
    """
    traces = [traces[0] for _, traces in views if traces] or None
    try:
        return [*localizer.maps([rgb for rgb, _ in views], traces, fill=batch)]
    except Exception as error:
        if batch == 1:
            return [_failure(error)]
    return [result for view in views for result in _fill(localizer, 1, [view])]


def _failure(error: Exception) -> str:
    return f"analysis failed ({clean(error) or type(error).__name__})"
