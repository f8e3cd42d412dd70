"""A frozen Segment Anything teacher: one embedding a picture, then a mask for every box, or masks for points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from segment_anything.utils.amg import calculate_stability_score
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from imltool.images import RGB, Mask

STABILITY_OFFSET = 1.0
"""Logit offset of SAM's stability score: IoU of the mask at +1 and at −1."""
POINTS_AT_ONCE = 4
"""Points decoded together: on a CPU 36 points took 7.2 s in one batch and 4.1 s by fours, which fit its cache."""


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


@dataclass(frozen=True)
class Embedding:
    """The expensive half of SAM: `features` float [1,256,64,64]; `inner` and `size` are (H, W) before padding
    and of the picture."""

    features: Tensor
    inner: tuple[int, int]
    size: tuple[int, int]


class SamTeacher:
    """Segment Anything with box prompts. Never trained, never changed.

    Args:
        name: what rows and reports call it (`mobile-sam`, `vit-h`, …).
        sam: segment-anything's model, in eval mode.
    """

    def __init__(self, name: str, sam: Sam, device: torch.device) -> None:
        self.name = name
        self.sam = sam.to(device).eval()
        # convolutions run a quarter faster on CPUs in this order; outputs agree to rounding
        self.sam.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self._resize = ResizeLongestSide(sam.image_encoder.img_size)
        with torch.inference_mode():
            self._positions = sam.prompt_encoder.get_dense_pe()  # the same for every prompt

    @torch.inference_mode()
    def embed(self, rgb: RGB) -> Embedding:
        """Embed a uint8 RGB picture [H,W,3]. The long side is scaled to 1024, the rest padded with zeros."""
        resized = self._resize.apply_image(rgb)
        pixels = torch.from_numpy(np.ascontiguousarray(resized)).to(self.device).permute(2, 0, 1)[None]
        features = self.sam.image_encoder(self.sam.preprocess(pixels))
        return Embedding(features, resized.shape[:2], rgb.shape[:2])

    @torch.inference_mode()
    def decode(self, embedding: Embedding, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        """One mask for every box.

        Args:
            boxes: float32 [n,4] XYXY, pixels of the picture.
            multimask: take, of SAM's three masks, the one it rates best, instead of its single-mask output.
        """
        if len(boxes) == 0:
            return []
        scaled = self._resize.apply_boxes(np.asarray(boxes, dtype=np.float64), embedding.size)
        corners = torch.as_tensor(scaled, dtype=torch.float32, device=self.device)
        # A padding point rides along as in SAM's exported decoder, whose outputs the bundled weights are checked with
        padding = torch.zeros(len(boxes), 1, 2, device=self.device)
        labels = -torch.ones(len(boxes), 1, dtype=torch.int64, device=self.device)
        prompts = self.sam.prompt_encoder(points=(padding, labels), boxes=corners, masks=None)
        low, quality = self._decode(embedding, prompts, multimask)
        choice = quality.argmax(dim=1)
        rows = torch.arange(len(boxes), device=self.device)
        return [
            self._finish(low[row, pick], float(quality[row, pick]), int(pick) + 1 if multimask else 0, embedding)
            for row, pick in zip(rows.tolist(), choice.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def refine(self, embedding: Embedding, box: NDArray[np.float32], clicks: NDArray[np.float32]) -> BoxMask:
        """SAM's single mask of one box and the clicks that correct it; without clicks the one of `decode`.

        Args:
            box: float32 [4] XYXY, pixels of the picture.
            clicks: float32 [n,3] of X, Y and 1 (belongs to the object) or 0 (does not).
        """
        if len(clicks) == 0:
            return self.decode(embedding, box[None])[0]
        corners = self._resize.apply_boxes(np.asarray(box[None], dtype=np.float64), embedding.size)
        places = self._resize.apply_coords(np.asarray(clicks[:, :2], dtype=np.float64), embedding.size)
        points = torch.as_tensor(places, dtype=torch.float32, device=self.device)[None]
        labels = torch.as_tensor(clicks[:, 2], dtype=torch.int64, device=self.device)[None]
        boxes = torch.as_tensor(corners, dtype=torch.float32, device=self.device)
        prompts = self.sam.prompt_encoder(points=(points, labels), boxes=boxes, masks=None)
        low, quality = self._decode(embedding, prompts, False)
        return self._finish(low[0, 0], float(quality[0, 0]), 0, embedding)

    @torch.inference_mode()
    def decode_points(
        self, embedding: Embedding, points: NDArray[np.float32], min_predicted_iou: float = 0.0
    ) -> list[BoxMask]:
        """The masks (part, object, whole) of every point, without those that SAM itself rates low.

        Args:
            points: float32 [n,2] XY, pixels of the picture; each is a prompt of its own.
            min_predicted_iou: masks with a lower predicted IoU are left out before they are brought to full size.

        Returns at most 3n masks in the points' order, `choice` 1 to 3.
        """
        found = []
        scaled = self._resize.apply_coords(np.asarray(points, dtype=np.float64), embedding.size)
        for start in range(0, len(points), POINTS_AT_ONCE):
            chunk = torch.as_tensor(scaled[start : start + POINTS_AT_ONCE], dtype=torch.float32, device=self.device)
            labels = torch.ones(len(chunk), 1, dtype=torch.int64, device=self.device)
            prompts = self.sam.prompt_encoder(points=(chunk[:, None], labels), boxes=None, masks=None)
            low, quality = self._decode(embedding, prompts, True)
            for row, column in (quality >= min_predicted_iou).nonzero().tolist():
                found.append(self._finish(low[row, column], float(quality[row, column]), column + 1, embedding))
        return found

    def _decode(self, embedding: Embedding, prompts: tuple[Tensor, Tensor], multimask: bool) -> tuple[Tensor, Tensor]:
        low, quality = self.sam.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self._positions,
            sparse_prompt_embeddings=prompts[0],
            dense_prompt_embeddings=prompts[1],
            multimask_output=multimask,
        )
        return low, quality

    def _finish(self, low: Tensor, quality: float, choice: int, embedding: Embedding) -> BoxMask:
        logits = self.sam.postprocess_masks(low[None, None], embedding.inner, embedding.size)[0, 0]
        stability = calculate_stability_score(logits[None], self.sam.mask_threshold, STABILITY_OFFSET)
        mask = (logits > self.sam.mask_threshold).cpu().numpy()
        return BoxMask(mask, quality, float(stability.nan_to_num(0.0)), choice)

    def masks(self, rgb: RGB, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        """`decode(embed(rgb), boxes)`, for callers with one picture."""
        return self.decode(self.embed(rgb), boxes, multimask)
