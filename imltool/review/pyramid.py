"""Image pyramids in tiles, made when they are first requested and cached within a memory limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 512
"""Side of a tile, pixels."""
CACHED_BYTES = 900_000_000
"""Memory limit of the cache (our choice): with the 0.7 GB that decoding 100 megapixels takes temporarily, and the
process itself, the server stays below 2 GB."""
JPEG_QUALITY = 92

Pixels = NDArray[np.uint8]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pyramid:
    """A picture at full size and at successive halves of it.

    Attributes:
        levels: uint8 [H,W,3] RGB or [H,W] each. The first has full size, and each of the others is half as wide and
            high as the one before, down to one that fits into one tile.
    """

    levels: tuple[Pixels, ...]

    @classmethod
    def of(cls, pixels: Pixels) -> Pyramid:
        """The pyramid of a picture; the array itself becomes the first level."""
        levels = [pixels]
        while max(levels[-1].shape[:2]) > TILE:
            height, width = levels[-1].shape[:2]
            size = max(1, (width + 1) // 2), max(1, (height + 1) // 2)
            levels.append(np.asarray(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
        return cls(tuple(levels))

    @property
    def nbytes(self) -> int:
        return sum(level.nbytes for level in self.levels)

    def tile(self, level: int, column: int, row: int) -> Pixels | None:
        """A tile, at most `TILE` pixels a side; None if there is no such tile."""
        if not 0 <= level < len(self.levels) or column < 0 or row < 0:
            return None
        found = self.levels[level][row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        return found if found.size else None


def encode_tile(pixels: Pixels, lossless: bool) -> tuple[bytes, str]:
    """Encode a tile; return its bytes and media type.

    Tiles at full size are lossless (PNG): enlarged eightfold they show single pixels, and stretching the contrast would
    make JPEG artefacts visible. Smaller sizes are JPEG, which is four times as fast.

    Args:
        pixels: uint8 [H,W], RGB [H,W,3] or RGBA [H,W,4]; RGBA is always lossless.
    """
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), dtype=np.uint8)
    if lossless or (pixels.ndim == 3 and pixels.shape[2] == 4):
        return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), "image/png"
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", pixels, options)[1].tobytes(), "image/jpeg"


class BoundedCache(Generic[Value]):
    """Keeps the most recently used values within a number of bytes; a value larger than that is kept alone.

    Each value is made once, even when several threads request it; threads that request other values do not wait.
    """

    def __init__(self, size: Callable[[Value], int], most: int = CACHED_BYTES) -> None:
        self._size, self._most = size, most
        self._held: OrderedDict[Hashable, Value] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Value], expected: int = 0) -> Value:
        """The value of a key, made if needed.

        Args:
            expected: peak memory of making it in bytes, which is freed first.
        """
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._held:
                    return self._held[key]
                self._free(expected)
            value = make()
            with self._lock:
                self._free(self._size(value))
                self._held[key] = value
                self._bytes += self._size(value)
                self._making.pop(key, None)
            return value

    def _free(self, wanted: int) -> None:
        while self._held and self._bytes + wanted > self._most:
            _, value = self._held.popitem(last=False)
            self._bytes -= self._size(value)
