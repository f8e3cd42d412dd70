"""Pictures in tiles: halved again and again, made when they are first asked for, and kept within a bound."""

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
"""Memory for what is kept (our choice): with the 0.7 GB that decoding 100 megapixels takes for a moment, and the
process itself, the server stays below 2 GB."""
JPEG_QUALITY = 92

Pixels = NDArray[np.uint8]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pyramid:
    """A picture at its own size and at halves of it.

    Attributes:
        levels: uint8 [H,W,3] RGB or [H,W] each, the first at full size, each of the next half as wide and high, until
            one tile holds it.
    """

    levels: tuple[Pixels, ...]

    @classmethod
    def of(cls, pixels: Pixels) -> Pyramid:
        """The pyramid of a picture, which is kept as it is."""
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
        """A tile, at most `TILE` pixels a side; None where there is none."""
        if not 0 <= level < len(self.levels) or column < 0 or row < 0:
            return None
        found = self.levels[level][row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        return found if found.size else None


def encode_tile(pixels: Pixels, lossless: bool) -> tuple[bytes, str]:
    """A tile and its media type.

    At the picture's own size tiles are lossless (PNG): enlarged eightfold they show single pixels, and a
    stretch of contrast would show what JPEG adds. Smaller sizes are JPEG, four times as fast.

    Args:
        pixels: uint8 [H,W], RGB [H,W,3] or RGBA [H,W,4]; the last is always lossless.
    """
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), dtype=np.uint8)
    if lossless or (pixels.ndim == 3 and pixels.shape[2] == 4):
        return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), "image/png"
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    return cv2.imencode(".jpg", pixels, options)[1].tobytes(), "image/jpeg"


class BoundedCache(Generic[Value]):
    """Keeps the values used last, within a number of bytes; a value larger than that is kept alone.

    Each value is made once, however many threads ask for it; threads that ask for others do not wait.
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
            expected: bytes that making it takes at its height; so much is freed before.
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
