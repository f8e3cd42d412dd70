"""The scan itself: decode and hash ahead, localize in batches, write behind, journal in order."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imltool.errors import ImageError
from imltool.files import sha256_file
from imltool.images import RGB, Map, read_rgb, read_size
from imltool.journal import Journal
from imltool.scan.inputs import Input, Plan
from imltool.scan.outputs import find_regions, write_outputs
from imltool.student.localizer import Localizer, image_score

Row = dict[str, Any]

WORKERS = min(4, os.cpu_count() or 1)
PIXELS_IN_FLIGHT = 100_000_000
"""Pixels held at once between decoding and writing; about 1.5 GB at 15 bytes each (our choice)."""


@dataclass(frozen=True)
class Decoded:
    """A file read: its hash and size, and its picture (uint8 RGB [H,W,3]) or the reason there is none."""

    sha256: str | None
    size_bytes: int | None
    rgb: RGB | None
    reason: str | None


def scan(
    plan: Plan, localizer: Localizer, journal: Journal, out: Path, threshold: float, batch: int = 8
) -> Iterator[Row]:
    """Analyse what `plan` holds and `journal` does not; yield each row once it is on disk, in the plan's order.

    A row has `path, sha256, size_bytes, status (ok|failed), reason, width, height, score, tampered_area, regions,
    map, mask, overlay`; values that a failed file has not are None. A file's fault becomes its row and the run goes on.

    Raises `OutputError` when results cannot be written; rows yielded before stay valid and the next run goes on.
    """
    done = {row["path"] for row in journal.rows}
    todo = deque(item for item in plan.inputs if item.name not in done)
    reading: deque[tuple[Input, int, Future[Decoded]]] = deque()
    finishing: deque[tuple[int, Future[Row]]] = deque()
    load = 0
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="imltool-scan")
    try:
        while todo or reading or finishing:
            while todo and len(reading) < 2 * batch:
                pixels = _pixels(todo[0].path)
                if load and load + pixels > PIXELS_IN_FLIGHT:
                    break
                load += pixels
                reading.append((todo[0], pixels, pool.submit(decode, todo.popleft().path)))
            taken = [reading.popleft() for _ in range(min(batch, len(reading)))]
            items = [(item, future.result()) for item, _, future in taken]
            results = _localize(localizer, [read.rgb for _, read in items if read.rgb is not None])
            for (item, read), (_, pixels, _) in zip(items, taken, strict=True):
                result = next(results) if read.rgb is not None else None
                finishing.append((pixels, pool.submit(finish, item, read, result, out, threshold)))
            while finishing and (not taken or len(finishing) > 2 * batch or finishing[0][1].done()):
                pixels, row = finishing.popleft()
                load -= pixels
                journal.append(row.result())
                yield journal.rows[-1]
                if not taken and todo:
                    break  # room to read on; without more to read, the rest is drained
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode(path: Path) -> Decoded:
    """Hash and decode one file; whatever is wrong with it is the `reason`, without its path."""
    sha256 = size = None
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could wait for ever
            return Decoded(None, None, None, "not a regular file")
        size = status.st_size
        sha256 = sha256_file(path)
        return Decoded(sha256, size, read_rgb(path), None)
    except ImageError as error:
        return Decoded(sha256, size, None, error.message.removeprefix(f"{path}: "))
    except OSError as error:
        return Decoded(sha256, size, None, f"cannot be read ({error.strerror or type(error).__name__})")


def finish(item: Input, read: Decoded, result: Map | str | None, out: Path, threshold: float) -> Row:
    """Measure and write one picture's outputs and make its row; `result` is its map, or why there is none."""
    row: Row = {
        "path": item.name,
        "sha256": read.sha256,
        "size_bytes": read.size_bytes,
        "status": "failed",
        "reason": read.reason,
        "width": None,
        "height": None,
        "score": None,
        "tampered_area": None,
        "regions": [],
        "map": None,
        "mask": None,
        "overlay": None,
    }
    if read.rgb is not None:
        row["height"], row["width"] = read.rgb.shape[:2]
    if read.rgb is None or result is None or isinstance(result, str):
        row["reason"] = read.reason or result or "not analysed"
        return row
    row.update(write_outputs(out, item.output, read.rgb, result, threshold))
    row["status"] = "ok"
    row["score"] = round(image_score(result), 6)
    row["tampered_area"] = round(float(np.mean(result > threshold)), 6)
    row["regions"] = find_regions(result, threshold)
    return row


def _pixels(path: Path) -> int:
    """Pixels a file will decode to, from its header; 0 when that cannot be told (it will fail without memory)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return 0
        width, height = read_size(path)
        return width * height
    except (ImageError, OSError):
        return 0


def _localize(localizer: Localizer, images: list[RGB]) -> Iterator[Map | str]:
    """Maps of a batch; when the batch fails, picture by picture, so that one cannot take the others down."""
    try:
        yield from localizer.maps(images)
        return
    except (RuntimeError, MemoryError, ValueError) as error:
        if len(images) <= 1:
            yield f"analysis failed ({' '.join(str(error).split())[:200] or type(error).__name__})"
            return
    for image in images:
        yield from _localize(localizer, [image])
