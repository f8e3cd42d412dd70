"""Masks in COCO's run-length encoding, compatible with the strings of `pycocotools`.

Runs go down the columns from the top left, and the first counts zeros. The code is our own, because
`pycocotools.decode` leaves memory uninitialised if runs are too short, and to avoid a compiled dependency.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from typing_extensions import TypedDict  # pydantic does not support typing's before Python 3.12

from imltool.errors import DataError
from imltool.pictures.faults import MAX_PIXELS
from imltool.pictures.images import Mask


class Rle(TypedDict):
    """An encoded mask: `size` is [height, width] in pixels, `counts` the runs as COCO's ASCII string."""

    size: list[int]
    counts: str


def encode_mask(mask: Mask) -> Rle:
    """Encode a bool mask [H,W] with at least one pixel."""
    runs = runs_of(mask)
    letters = bytearray()
    for position, run in enumerate(runs):
        value = run - runs[position - 2] if position > 2 else run
        more = True
        while more:  # five bits per character, the lowest first; the sign is the last one's highest bit
            code, value = value & 31, value >> 5
            more = value != (-1 if code & 16 else 0)
            letters.append(48 + (code | 32 if more else code))
    height, width = mask.shape
    return Rle(size=[height, width], counts=letters.decode("ascii"))


def decode_mask(rle: Rle) -> Mask:
    """Decode to bool [H,W]. Raises `DataError` when the runs do not fill a mask of the recorded size."""
    return _fill(_parse(rle["counts"]), *rle["size"])


def decode_counts(value: Any, where: str) -> Mask:
    """Decode a mask from a JSON file, with `counts` as a string or a list of runs, to bool [H,W].

    Raises `DataError` with a message that starts with `where`, also for more pixels than a picture may have.
    """
    size, counts = _parts(value)
    if size is None:
        raise DataError(f"{where} is no run-length encoding: it has no size")
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{where} has more than {MAX_PIXELS // 1_000_000} megapixels")
    if isinstance(counts, str) and counts.isascii():
        runs = _parse(counts)
    elif isinstance(counts, list) and all(type(run) is int for run in counts):
        runs = counts
    else:
        raise DataError(f"{where} is no run-length encoding: its counts are neither text nor whole numbers")
    try:
        return _fill(runs, *size)
    except DataError as error:
        raise DataError(f"{where}: {error.message}", error.remedy) from None


def _parts(value: Any) -> tuple[list[int] | None, Any]:
    """The size of an encoded mask, None if it is none, and its unchecked counts."""
    size, counts = (value.get("size"), value.get("counts")) if isinstance(value, dict) else (None, None)
    fits = isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    return size if fits else None, counts


def _fill(runs: list[int] | None, height: int, width: int) -> Mask:
    if runs is None or min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise DataError(f"the runs of a mask do not fill {width}x{height} pixels", "the file is damaged")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.transpose(flat.reshape((width, height)))


def _parse(counts: str) -> list[int] | None:
    """The runs of a string: five bits per character, the lowest first; the sixth bit means that more follow.

    From the fourth run on, the difference to the run before the last is stored. None if the string ends within a run or
    contains an invalid character.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for letter in counts.encode("ascii"):
        code = letter - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return None if shift else runs


def check_rle(value: Any, where: str) -> Rle:
    """Check the types of an encoded mask from a JSON file.

    Raises `DataError` with a message that starts with `where`.
    """
    size, counts = _parts(value)
    if size is not None and isinstance(counts, str) and counts.isascii():
        return Rle(size=[*size], counts=counts)
    raise DataError(f"{where} is no mask in COCO's compressed run-length encoding")


def runs_of(mask: Mask) -> list[int]:
    """Lengths of the runs of a bool mask [H,W] with at least one pixel, uncompressed."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
