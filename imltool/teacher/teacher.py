"""The interface of teachers: a picture is embedded once, then decoded into a mask for each box. Does not need torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB, Mask

if TYPE_CHECKING:
    from imltool.teacher.embeddings import EmbeddingFolder


@dataclass(frozen=True)
class BoxMask:
    """A teacher's result for a box, or one of its masks for a point.

    Attributes:
        mask: bool [H,W] at the picture's size.
        predicted_iou: the teacher's own estimate of its IoU, about 0..1; NaN for teachers without one.
        stability: SAM's stability score, 0..1; NaN for teachers without one.
        choice: number of the mask among SAM's: 0 is the single-mask output, 1..3 are the multimask outputs.
    """

    mask: Mask
    predicted_iou: float
    stability: float
    choice: int = 0


class Teacher(Protocol):
    """Anything that turns a picture and boxes into masks: the encoder runs once per picture, the decoder once per
    box.
    """

    name: str

    @property
    def weights(self) -> Path | None:
        """The file it was loaded from; None for a teacher without weights."""
        ...

    @property
    def device(self) -> str:
        """Torch's name of the device it runs on."""
        ...

    @property
    def engine(self) -> str | None:
        """The engine that runs its network and its version; None for a teacher without a network."""
        ...

    @property
    def embeddings(self) -> EmbeddingFolder | None:
        """The cache of its image embeddings, or None."""
        ...

    def embed(self, rgb: RGB) -> Any: ...

    def decode(self, embedding: Any, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]: ...
