"""From pictures to probability maps: the one path that `eval`, `scan` and training's validation share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from imltool.device import seed_everything
from imltool.files import sha256_file
from imltool.images import RGB, Map
from imltool.student.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.traces.stack import Traces, picture_traces

SCORE_SHARE = 0.01


def resize_input(rgb: RGB, side: int) -> RGB:
    """Scale a uint8 picture to side×side, aspect ratio given up as in the paper.

    Shrinking averages over the area a pixel covers, so that fine structure does not alias (our choice).
    """
    height, width = rgb.shape[:2]
    if (height, width) == (side, side):
        return rgb
    shrinks = height >= side and width >= side
    resized = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [B,H,W,3] RGB → float32 [B,3,H,W], scaled to [0,1], minus `mean`, over `std`; channels-last memory."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255.0)
    shift = torch.tensor(mean, device=x.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=x.device).view(1, 3, 1, 1)
    return x.sub_(shift).div_(scale)


def image_score(values: Map | NDArray[np.floating]) -> float:
    """Score of a picture in [0,1]: the mean of the highest 1 % of its map (at least one pixel; our choice)."""
    flat = np.asarray(values, dtype=np.float32).ravel()
    count = max(1, round(flat.size * SCORE_SHARE))
    return float(np.partition(flat, flat.size - count)[-count:].mean(dtype=np.float64))


class Localizer:
    """A student ready to localize.

    Attributes:
        header: what its checkpoint says.
        path: the checkpoint file, None for an untrained one.
    """

    def __init__(self, student: Student, header: CheckpointHeader, device: torch.device, path: Path | None) -> None:
        self.student = student.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.header = header
        self.device = device
        self.path = path

    @classmethod
    def load(cls, path: Path | None, device: torch.device) -> Localizer:
        """Load a checkpoint file, a known student by its name, or the default one for None. Raises `WeightsError`."""
        from imltool.weights import student_file

        path = student_file(path)
        student, header = load_checkpoint(path)
        return cls(student, header, device, path)

    @classmethod
    def untrained(cls, architecture: StudentSettings | None, device: torch.device, seed: int = 0) -> Localizer:
        """The same network with random weights: the reference every training has to beat."""
        seed_everything(seed)
        settings = architecture or StudentSettings()
        return cls(Student(settings), CheckpointHeader(name="untrained", architecture=settings), device, None)

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 of the checkpoint file; None for an untrained student."""
        return sha256_file(self.path) if self.path else None

    @property
    def sees_traces(self) -> bool:
        """Whether the student looks at traces beside RGB."""
        return bool(self.header.architecture.traces)

    def save(self, path: Path) -> None:
        """Write weights and header as a checkpoint."""
        save_checkpoint(path, self.student.state_dict(), self.header)

    @torch.inference_mode()
    def maps(self, images: Sequence[RGB], traces: Sequence[Traces] | None = None) -> list[Map]:
        """Probability maps, float32 [H,W] in [0,1], each at its picture's own size.

        Args:
            images: uint8 RGB [H,W,3], any mix of sizes. The result of a picture does not depend on
                the others beyond rounding.
            traces: their `picture_traces`, when a caller has kept them; else they are computed.
        """
        if not images:
            return []
        side = self.header.input_size
        batch = torch.from_numpy(np.stack([resize_input(image, side) for image in images])).to(self.device)
        x = normalise(batch, self.header.mean, self.header.std).contiguous(memory_format=torch.channels_last)
        probabilities = self.student(x, self._traces(images, traces)).float().sigmoid()
        return [
            F.interpolate(probability[None], size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
            .clamp_(0.0, 1.0)
            .cpu()
            .numpy()
            for probability, image in zip(probabilities, images, strict=True)
        ]

    def _traces(self, images: Sequence[RGB], known: Sequence[Traces] | None) -> Tensor | None:
        """The stacks of the pictures, float32 [B,len(TRACES),GRID,GRID]; None for a student that sees RGB alone."""
        if not self.sees_traces:
            return None
        stacks = known if known is not None else list(self._threads.map(picture_traces, images))
        return torch.from_numpy(np.stack(stacks)).to(self.device).float()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=os.cpu_count())
