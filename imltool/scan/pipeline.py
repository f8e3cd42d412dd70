"""The loop of a scan: decode ahead in threads, predict in batches, write outputs in threads, yield results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from imltool.ahead import Ahead, Begun
from imltool.inference.localizer import Localizer
from imltool.scan.decode import Decoded, count_pixels, decode
from imltool.scan.fetch import LocalFile, LocalFiles
from imltool.scan.finish import finish
from imltool.scan.inputs import Input
from imltool.scan.predict import changed_scores, predict_maps
from imltool.scan.results import ScanResult
from imltool.scan.settings import BATCH, ScanSettings

WORKERS = min(4, os.cpu_count() or 1)
PIXELS_IN_FLIGHT = 100_000_000
"""Pixels held at once between decoding and writing (our choice). A larger picture is processed alone.

Each pixel takes 7 bytes during decoding, 3 to 8 while traces are computed and 7 to 12 while results are written, so
that a scan stays below 2 GB with its libraries."""


def analyse(
    inputs: Sequence[Input], localizer: Localizer, out: Path, settings: ScanSettings, batch: int = BATCH
) -> Iterator[ScanResult]:
    """Results of `inputs`, in their order, each after its outputs are written below `out`.

    If the last digits of a network's maps depend on the batch size, every batch is filled up to `batch`, so that a scan
    that was stopped and resumed ends with the same bytes. Otherwise a batch is made of the pictures decoded so far, and
    the first row does not wait for others.

    Raises `OutputError` when results cannot be written, and `StoreError` when a store does not answer.
    """
    with ExitStack() as stack:
        files = stack.enter_context(LocalFiles(inputs))
        # two pools: writing frees memory and must not queue behind decoding
        readers, writers = (ThreadPoolExecutor(WORKERS, f"imltool-{name}") for name in ("decode", "write"))
        for pool in (readers, writers):
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        read = partial(_read, localizer=localizer, tiles=settings.tiles)
        reading = Ahead(readers, files, read, 2 * batch, _pixels, PIXELS_IN_FLIGHT)
        finishing: deque[tuple[int, Future[ScanResult]]] = deque()
        full = localizer.network.batched
        while reading.left or finishing:
            begun = reading.take(batch, full)
            if begun:
                finishing += _predict_batch(writers, localizer, begun, out, settings, batch)
                del begun
            else:  # nothing to predict: wait until a result is written or a picture decoded
                written = finishing[0][1] if finishing else None
                awaited: list[Future[Any] | None] = [written, files.first, None if full else reading.first]
                wait([future for future in awaited if future], return_when=FIRST_COMPLETED)
            while finishing and (len(finishing) > 2 * batch or finishing[0][1].done()):
                pixels, result = finishing.popleft()
                reading.free(pixels)
                yield result.result()


def _predict_batch(
    pool: Executor,
    localizer: Localizer,
    begun: Sequence[Begun[LocalFile, Decoded]],
    out: Path,
    settings: ScanSettings,
    batch: int,
) -> list[tuple[int, Future[ScanResult]]]:
    """Predict one batch and queue the writing. Returns (pixel count, future result) per picture.

    Only those futures hold the pictures afterwards, so that memory is free as soon as each is written.
    """
    decoded = [one.result.result() for one in begun]
    # the changes first: memory would not hold them together with the map of a large picture
    tried = settings.stability
    changed = changed_scores(pool, localizer, decoded, batch, settings.tiles) if tried else [{}] * len(decoded)
    maps = predict_maps(localizer, decoded, batch, settings.tiles)
    return [
        (one.cost, pool.submit(finish, one.item.item, read, found, scores, out, settings))
        for one, read, found, scores in zip(begun, decoded, maps, changed, strict=True)
    ]


def _read(file: LocalFile, localizer: Localizer, tiles: bool) -> Decoded:
    try:
        return Decoded(reason=file.path) if isinstance(file.path, str) else decode(file.path, localizer, tiles)
    finally:
        file.release()


def _pixels(file: LocalFile) -> int:
    return 0 if isinstance(file.path, str) else count_pixels(file.path)
