"""A frozen Segment Anything teacher: one embedding per picture, then a mask for every box, or masks for points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import calculate_stability_score
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn.functional import interpolate

from imltool.pictures.images import RGB
from imltool.teacher.embeddings import CachingSam, EmbeddingFolder
from imltool.teacher.network import BOTTOM_RIGHT, INPUT_SIZE, INSIDE, PADDING, TOP_LEFT, SamNetwork
from imltool.teacher.teacher import BoxMask

MASK_THRESHOLD = 0.0
"""SAM's threshold: logits above it are the object."""
STABILITY_OFFSET = 1.0
"""Logit offset of SAM's stability score, the IoU of the masks at thresholds +1 and −1."""
POINTS_AT_ONCE = 4
"""Points decoded together: on a CPU 36 points took 7.2 s in one batch and 4.1 s in fours, which fit its cache."""


@dataclass(frozen=True)
class Embedding:
    """The encoder's result for a picture: `features` float [1,256,64,64]; `inner` and `size` are (H, W) of the scaled
    picture before padding, and of the picture.
    """

    features: Tensor
    inner: tuple[int, int]
    size: tuple[int, int]


def rated(logits: Tensor, predicted_iou: float, choice: int) -> BoxMask:
    """The mask and its stability from logits float [H,W] at the picture's size; other fields as in `BoxMask`."""
    stability = calculate_stability_score(logits[None], MASK_THRESHOLD, STABILITY_OFFSET)
    mask = (logits > MASK_THRESHOLD).cpu().numpy()
    return BoxMask(mask, predicted_iou, float(stability.nan_to_num(0.0)), choice)


class SamTeacher:
    """Segment Anything with box prompts. It is never trained or changed.

    Args:
        name: its name in rows and reports (`mobile-sam`, `vit-h`, …).
        network: the network, run by an engine.
        weights: the file it was loaded from, None for one that is only in memory.
        device: torch's name of the device.
    """

    def __init__(self, name: str, network: SamNetwork, weights: Path | None = None, device: str = "cpu") -> None:
        self.name = name
        self.network = network
        self.weights, self.device = weights, device
        self._resize = ResizeLongestSide(INPUT_SIZE)

    @property
    def engine(self) -> str:
        """The engine that runs the network and its version, for records."""
        return f"{self.network.engine} {self.network.version}"

    @property
    def embeddings(self) -> EmbeddingFolder | None:
        return self.network.folder if isinstance(self.network, CachingSam) else None

    @torch.inference_mode()
    def embed(self, rgb: RGB) -> Embedding:
        """Embed a uint8 RGB picture [H,W,3]. The long side is scaled to 1024, the rest padded with zeros."""
        view = self._resize.apply_image(rgb)
        return Embedding(self.network.encode(view), view.shape[:2], rgb.shape[:2])

    @torch.inference_mode()
    def decode(self, embedding: Embedding, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        """One mask for every box.

        Args:
            boxes: float32 [n,4] XYXY, pixels of the picture.
            multimask: take the best-rated of SAM's three masks instead of its single-mask output.
        """
        if len(boxes) == 0:
            return []
        # with a padding point, as in SAM's exported decoder, against whose outputs the bundled weights are checked
        points = np.concatenate([np.zeros((len(boxes), 1, 2)), self._corners(embedding, boxes)], axis=1)
        labels = np.tile([PADDING, TOP_LEFT, BOTTOM_RIGHT], (len(boxes), 1))
        logits, quality = self._decode(embedding, points, labels)
        choices = quality[:, 1:].argmax(dim=1) + 1 if multimask else torch.zeros(len(boxes), dtype=torch.int64)
        return [self._finish(logits, quality, row, choice, embedding) for row, choice in enumerate(choices.tolist())]

    @torch.inference_mode()
    def refine(self, embedding: Embedding, box: NDArray[np.float32], clicks: NDArray[np.float32]) -> BoxMask:
        """SAM's single mask for a box and clicks that correct it; without clicks the mask of `decode`.

        Args:
            box: float32 [4] XYXY, pixels of the picture.
            clicks: float32 [n,3] of X, Y and 1 (belongs to the object) or 0 (does not).
        """
        if len(clicks) == 0:
            return self.decode(embedding, box[None])[0]
        places = self._resize.apply_coords(np.asarray(clicks[None, :, :2], dtype=np.float64), embedding.size)
        points = np.concatenate([places, self._corners(embedding, box[None])], axis=1)
        labels = np.concatenate([clicks[:, 2], [TOP_LEFT, BOTTOM_RIGHT]])[None]
        logits, quality = self._decode(embedding, points, labels)
        return self._finish(logits, quality, 0, 0, embedding)

    @torch.inference_mode()
    def decode_points(
        self, embedding: Embedding, points: NDArray[np.float32], min_predicted_iou: float = 0.0
    ) -> list[BoxMask]:
        """The masks (part, object, whole) of every point, without those that SAM rates low.

        Args:
            points: float32 [n,2] XY, pixels of the picture; each is a separate prompt.
            min_predicted_iou: masks with a lower predicted IoU are left out before they are resized to full size.

        Returns at most 3n masks in the points' order, `choice` 1 to 3.
        """
        found = []
        scaled = self._resize.apply_coords(np.asarray(points, dtype=np.float64), embedding.size)
        for start in range(0, len(points), POINTS_AT_ONCE):
            chunk = scaled[start : start + POINTS_AT_ONCE, None]
            # SAM was trained on points with a padding point in place of a box
            prompts = np.concatenate([chunk, np.zeros_like(chunk)], axis=1)
            logits, quality = self._decode(embedding, prompts, np.tile([INSIDE, PADDING], (len(chunk), 1)))
            for row, column in (quality[:, 1:] >= min_predicted_iou).nonzero().tolist():
                found.append(self._finish(logits, quality, row, column + 1, embedding))
        return found

    def _corners(self, embedding: Embedding, boxes: NDArray[np.float32]) -> NDArray[np.float64]:
        """XYXY boxes [n,4] as points [n,2,2] in pixels of the view."""
        scaled = self._resize.apply_boxes(np.asarray(boxes, dtype=np.float64), embedding.size)
        return np.asarray(scaled).reshape(-1, 2, 2)

    def _decode(self, embedding: Embedding, points: NDArray[Any], labels: NDArray[Any]) -> tuple[Tensor, Tensor]:
        return self.network.decode(embedding.features, points.astype(np.float32), labels.astype(np.float32))

    def _finish(self, low: Tensor, quality: Tensor, row: int, choice: int, embedding: Embedding) -> BoxMask:
        square = interpolate(low[None, None, row, choice], (INPUT_SIZE, INPUT_SIZE), mode="bilinear")
        inner = square[..., : embedding.inner[0], : embedding.inner[1]]
        logits = interpolate(inner, embedding.size, mode="bilinear")[0, 0]
        return rated(logits, float(quality[row, choice]), choice)
