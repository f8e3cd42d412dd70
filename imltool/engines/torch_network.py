"""The student's network run by torch, on any device: what training makes, and what exported graphs are checked with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from imltool.engines.network import MIRRORS, Compute, Probabilities, Stacks, Views
from imltool.student.header import CheckpointHeader
from imltool.student.model import Student

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""The wording of CUDA and MPS, and of the CPU's allocator on Linux and Windows, which raises a plain RuntimeError."""


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [B,H,W,3] RGB → float32 [B,3,H,W], scaled to [0,1], minus `mean`, over `std`; channels-last memory."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255.0)
    shift = torch.tensor(mean, device=x.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=x.device).view(1, 3, 1, 1)
    return x.sub_(shift).div_(scale)


class TorchNetwork:
    """A student in eval mode; see `Network`."""

    engine = "torch"
    version = str(torch.__version__)
    joint = True

    def __init__(
        self, student: Student, header: CheckpointHeader, device: str | torch.device, compute: Compute = "fp32"
    ) -> None:
        device = torch.device(device)
        self.student = student.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device, self.compute = device, compute
        self._header = header

    @torch.inference_mode()
    def probabilities(self, views: Views, traces: Stacks | None) -> Probabilities:
        try:
            return self._probabilities(views, traces)
        except RuntimeError as error:
            if any(sign in str(error) for sign in _OUT_OF_MEMORY):
                raise MemoryError(str(error)) from error
            raise

    def _probabilities(self, views: Views, traces: Stacks | None) -> Probabilities:
        x = normalise(self._there(views), self._header.mean, self._header.std)
        stacks = None
        if self._header.architecture.traces and traces is not None:
            stacks = self._there(traces).float()
        sides = MIRRORS[self._header.architecture.mirrors]
        total = torch.zeros((len(x), 1, *x.shape[2:]), device=x.device)
        for axes in sides:
            seen = None if stacks is None else stacks.flip(axes)
            with self._casting():
                logits = self.student(x.flip(axes).contiguous(memory_format=torch.channels_last), seen)
            total += logits.float().sigmoid().flip(axes)
        return np.asarray((total / len(sides))[:, 0].cpu().numpy(), dtype=np.float32)

    def _there(self, array: Views | Stacks) -> Tensor:
        """An array on the device; to CUDA from memory that cannot be paged out, which is copied without a stop."""
        here = torch.from_numpy(array)
        if self.device.type == "cuda":
            return here.pin_memory().to(self.device, non_blocking=True)
        return here.to(self.device)

    def _casting(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.compute == "bf16" else nullcontext()
