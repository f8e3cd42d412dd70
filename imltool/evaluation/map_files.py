"""One map file of another program, in whatever form it was saved, as float32 [H,W] in [0,1]."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.errors import DataError
from imltool.pictures.images import Map

SUFFIXES = frozenset({".npz", ".npy", ".png", ".tif", ".tiff"})
MAP_KEY, SCORE_KEY = "map", "score"
"""Names of the map and of the image score in an .npz file."""

ROUNDING = 1e-5
"""How far a float map may lie outside 0..1; it is then clipped."""


@dataclass(frozen=True)
class RawMap:
    """What a file holds.

    Attributes:
        values: [H,W], bool, uint8, uint16 or float.
        score: the method's own image score, None when the file has none.
    """

    values: NDArray[Any]
    score: float | None = None


def read_raw(path: Path) -> RawMap:
    """Read an .npz (`map`, or its only array; optional `score`), .npy, PNG (8 or 16 bit) or TIFF (also float) file.

    Raises `DataError` naming the file when it is damaged or holds no single-channel map.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = _read(path)
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile and Pillow raise many types for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"map {path} cannot be read: {reason}") from error
    values = raw.values
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # as TIFFs of other machines have it
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or not values.size:
        raise DataError(f"map {path} has the shape {raw.values.shape}, not height×width")
    if values.dtype.kind in "iu" and values.dtype not in (np.uint8, np.uint16):
        # what the highest integer stands for, such a type does not say, and one map alone cannot tell
        if not np.isin(values, (0, int(values.max()))).all() or values.max() not in (0, 1, 255):
            raise DataError(
                f"map {path} holds {values.dtype} from {values.min()} to {values.max()}: save it as uint8 (0 to 255), "
                "uint16 (0 to 65535) or float (0 to 1)"
            )
        values = values > 0
    elif values.dtype.kind not in "iufb":
        raise DataError(f"map {path} holds {values.dtype}, not numbers")
    return RawMap(values, raw.score)


def _read(path: Path) -> RawMap:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return RawMap(np.load(path, allow_pickle=False))
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            key = MAP_KEY if MAP_KEY in names else names[0] if len(names) == 1 else None
            if key is None:
                raise DataError(f"map {path} holds {', '.join(names) or 'nothing'}, none of them named {MAP_KEY}")
            return RawMap(archive[key], _score(path, archive[SCORE_KEY]) if SCORE_KEY in names else None)
    with Image.open(path) as picture:
        return RawMap(_single_channel(path, picture))


def _score(path: Path, value: NDArray[Any]) -> float:
    score = float(np.asarray(value, np.float64).reshape(-1)[0]) if value.size == 1 else float("nan")
    if not 0.0 <= score <= 1.0:
        raise DataError(f"map {path} holds the image score {value.tolist()}, it must be one number in 0..1")
    return score


def _single_channel(path: Path, picture: Image.Image) -> NDArray[Any]:
    if picture.mode in ("L", "1", "F") or picture.mode.startswith("I"):
        array = np.asarray(picture)
        # 16-bit PNGs come as 32-bit integers from some Pillow versions
        return array.astype(np.uint16) if picture.format == "PNG" and array.dtype == np.int32 else array
    colours = np.asarray(picture.convert("RGB"))
    if (colours != colours[..., :1]).any():
        raise DataError(f"map {path} is a colour picture, not a map of one channel")
    return colours[..., 0]


def as_map(path: Path, raw: NDArray[Any], binary: bool = False) -> Map:
    """Scale what `read_raw` gave to float32 in [0,1]: 8 bit by 255, 16 bit by 65535, floats as they are.

    Args:
        binary: integers are 0 and 1, not 0 and 255.

    Raises `DataError` naming the file for NaN and for values outside the range.
    """
    if raw.dtype == np.bool_:
        return raw.astype(np.float32)
    if raw.dtype.kind == "u":
        if binary:
            if raw.max() > 1:
                raise DataError(f"map {path} holds values up to {raw.max()}, the others of its folder only 0 and 1")
            return raw.astype(np.float32)
        return raw.astype(np.float32) / np.float32(np.iinfo(raw.dtype).max)
    values = raw.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if np.isnan(low) or np.isnan(high):
        raise DataError(f"map {path} holds NaN")
    if low < -ROUNDING or high > 1 + ROUNDING:
        mend = "divide by 255" if low >= 0 and high <= 255 else "put them through a sigmoid"
        raise DataError(f"map {path} holds values from {low:g} to {high:g}, not 0..1: {mend} before saving")
    return np.clip(values, 0.0, 1.0)
