"""What every teacher is: a picture is embedded once, then decoded into a mask for each box. Needs no torch."""

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
    """What a teacher makes of one box, or one of the masks it makes of a point.

    Attributes:
        mask: bool [H,W] at the picture's size.
        predicted_iou: the teacher's own estimate of its IoU, about 0..1; NaN for teachers without one.
        stability: SAM's stability score, 0..1; NaN for teachers without one.
        choice: which of SAM's masks it is: 0 the single-mask output, 1..3 the multimask ones.
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
        """On which it computes, as torch names it."""
        ...

    @property
    def engine(self) -> str | None:
        """What runs its network and the version; None for a teacher without one."""
        ...

    @property
    def embeddings(self) -> EmbeddingFolder | None:
        """The cache of its image embeddings; None where there is none."""
        ...

    def embed(self, rgb: RGB) -> Any: ...

    def decode(self, embedding: Any, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]: ...
