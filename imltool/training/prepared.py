"""Prepared samples: a picture with its mask and traces, cached because computing traces takes longer than a step."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.errors import OutputError
from imltool.files import sha256_text, write_bytes
from imltool.pictures.images import RGB, Mask
from imltool.traces.stack import GRID, VERSION, Traces

CACHE_BYTES = 2_000_000_000
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Prepared:
    """uint8 RGB [H,W,3], bool mask [H,W], and float16 traces [len(TRACES),t,t] when the student sees them."""

    rgb: RGB
    mask: Mask
    traces: Traces | None = None

    def arrays(self) -> Arrays:
        """Its arrays by field name, without fields that are None."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ArrayCache:
    """Caches arrays by key: in a folder shared by processes and runs, or in process memory.

    Entries of a folder are written atomically; an entry that cannot be read is made again.

    Args:
        folder: the cache folder, None for memory (up to 2 GB).
        origin: everything that all entries depend on; entries are never found with another origin.
    """

    def __init__(self, folder: Path | None, origin: dict[str, Any]) -> None:
        self.folder = folder
        self.origin = sha256_text(json.dumps(origin | {"traces": VERSION}, sort_keys=True, default=str))[:16]
        self._memory: dict[str, Arrays] = {}
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memory": {}, "_used": 0}  # a worker process keeps its own

    def get(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """The entry `key`, made by `make` if it is new. Raises what `make` raises, `OutputError` if writing fails."""
        if self.folder is None:
            return self._remembered(key, make)
        path = self.folder / self.origin / f"{key}.npz"
        try:
            with np.load(path) as held:
                return dict(held)
        except (OSError, ValueError, BadZipFile, KeyError, EOFError):
            pass  # missing, or incomplete because of a full disk or a crash: computed again
        arrays = make()
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type] # its flag allow_pickle is no array
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {path.parent}: {error.strerror}", "set data.cache elsewhere") from error
        write_bytes(path, buffer.getvalue())
        return arrays

    def _remembered(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        if key in self._memory:
            return self._memory[key]
        arrays = make()
        size = sum(array.nbytes for array in arrays.values())
        if self._used + size <= CACHE_BYTES:
            self._memory[key] = arrays
            self._used += size
        return arrays


def view(rng: np.random.Generator, sample: Prepared, flip: float, crop: float, min_crop: float) -> Prepared:
    """Flip and crop a sample at random; its traces are flipped and cropped with it.

    Args:
        flip, crop: probabilities; min_crop: smallest side kept by a crop / side.
    """
    rgb, mask, traces = sample.rgb, sample.mask, sample.traces
    grid = GRID if traces is None else traces.shape[-1]
    if rng.random() < crop:
        # crop along the grid lines of the traces, so that picture and traces show the same part
        tall, wide = (max(8, round(grid * float(rng.uniform(min_crop, 1.0)))) for _ in range(2))
        top, left = (int(rng.integers(0, grid - side + 1)) for side in (tall, wide))
        height, width = mask.shape
        rows = slice(round(top * height / grid), max(round((top + tall) * height / grid), 1))
        columns = slice(round(left * width / grid), max(round((left + wide) * width / grid), 1))
        kept = mask[rows, columns]
        # a crop without most of the edit would only teach remnants of it
        if min(kept.shape) >= 32 and (not mask.any() or kept.sum() >= 0.7 * mask.sum()):
            rgb, mask = rgb[rows, columns], kept
            if traces is not None:
                part = traces[:, top : top + tall, left : left + wide].astype(np.float32)
                planes = [cv2.resize(plane, (grid, grid), interpolation=cv2.INTER_LINEAR) for plane in part]
                traces = np.stack(planes).astype(np.float16)
    if rng.random() < flip:
        rgb, mask = rgb[:, ::-1], mask[:, ::-1]
        traces = traces[:, :, ::-1] if traces is not None else None
    return Prepared(
        np.ascontiguousarray(rgb),
        np.ascontiguousarray(mask),
        np.ascontiguousarray(traces) if traces is not None else None,
    )
