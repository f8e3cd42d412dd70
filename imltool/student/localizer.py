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
from imltool.images import RGB, Map, strips
from imltool.student.checkpoint import CheckpointHeader, load_checkpoint, save_checkpoint
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.traces.stack import Traces, picture_traces

SCORE_SHARE = 0.01
MIRRORS: dict[int, tuple[tuple[int, ...], ...]] = {1: ((),), 2: ((), (3,)), 4: ((), (3,), (2,), (2, 3))}
"""Axes of [B,C,H,W] to reverse, by `StudentSettings.mirrors`."""


def resize_picture(rgb: RGB, size: tuple[int, int]) -> RGB:
    """Scale a uint8 picture [H,W,3] to `size` (width, height).

    Shrinking averages over the area a pixel covers, so that fine structure does not alias (our choice).
    """
    height, width = rgb.shape[:2]
    if (width, height) == size:
        return rgb
    shrinks = width >= size[0] and height >= size[1]
    resized = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def resize_input(rgb: RGB, side: int) -> RGB:
    """Scale a uint8 picture to side×side, aspect ratio given up as in the paper; see `resize_picture`."""
    return resize_picture(rgb, (side, side))


def resize_map(probability: Tensor, shape: tuple[int, ...]) -> Map:
    """Bring a float [h,w] map in [0,1] to `shape` (height, width, …), as float32 in the processor's memory."""
    resized = F.interpolate(probability[None, None], size=shape[:2], mode="bilinear", align_corners=False)
    return np.asarray(resized[0, 0].clamp_(0.0, 1.0).cpu().numpy(), dtype=np.float32)


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
    highest = flat[:0]
    for part in strips((flat.size, 1)):  # sorted out all at once, a large map would need its memory again
        found = np.concatenate([highest, flat[part]])
        highest = np.partition(found, -min(count, found.size))[-count:]
    return float(highest.mean(dtype=np.float64))


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
        if self.sees_traces and traces is None:
            traces = list(self._threads.map(picture_traces, images))
        views = [resize_input(image, self.header.input_size) for image in images]
        return [
            resize_map(probability, image.shape)
            for probability, image in zip(self.probabilities(views, traces), images, strict=True)
        ]

    @torch.inference_mode()
    def probabilities(self, views: Sequence[RGB], traces: Sequence[Traces] | None) -> Tensor:
        """Maps of pictures, or parts of them, that already have the input size S: float32 [B,S,S] in [0,1].

        Args:
            views: uint8 RGB [S,S,3].
            traces: float16 [len(TRACES),GRID,GRID] each; not looked at by a student that sees RGB alone.
        """
        batch = torch.from_numpy(np.stack(views)).to(self.device)
        stacks = None
        if self.sees_traces and traces is not None:
            stacks = torch.from_numpy(np.stack(traces)).to(self.device).float()
        return self._probabilities(normalise(batch, self.header.mean, self.header.std), stacks)[:, 0]

    def _probabilities(self, x: Tensor, traces: Tensor | None) -> Tensor:
        """float32 [B,1,S,S] in [0,1], the mean over the architecture's mirror images.

        Traces are reversed, not made anew: they are those of the file, which nobody ever saved mirrored.
        """
        views = MIRRORS[self.header.architecture.mirrors]
        total = torch.zeros((len(x), 1, *x.shape[2:]), device=x.device)
        for axes in views:
            seen = None if traces is None else traces.flip(axes)
            logits = self.student(x.flip(axes).contiguous(memory_format=torch.channels_last), seen)
            total += logits.float().sigmoid().flip(axes)
        return total / len(views)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        # of large pictures few must be looked at together, whatever the number of cores: each takes some 200 MB
        return ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
