"""Types of the arrays that pictures, masks and maps are held in, and the pixels of a decoded file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Map = NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Pixels:
    """The result of decoding a file.

    Attributes:
        rgb: uint8 [H,W,3], as stored when a reader returns it, upright in the end; only the complete rows of a
            truncated JPEG.
        rows: the number of rows of the stored picture that were decoded; None when all were.
        ended: whether a JPEG file's end marker is present; None for other formats.
        problems: fixed phrases for faults that a decoder reported but tolerated.
    """

    rgb: RGB
    rows: int | None = None
    ended: bool | None = None
    problems: tuple[str, ...] = ()
