"""The student's network run by torch, on any device. Exported graphs are checked against it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from imltool.engines.network import Batch, Compute, Pixels, Probabilities, Stacks, memory_errors
from imltool.student.model import Student


class TorchNetwork:
    """A student in eval mode; see `Network`."""

    engine = "torch"
    version = str(torch.__version__)
    batched = True

    def __init__(self, student: Student, device: str | torch.device, compute: Compute = "fp32") -> None:
        self.device, self.compute = torch.device(device), compute
        self.student = student.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.inference_mode()
    def forward(self, batches: Iterable[Batch]) -> list[Probabilities]:
        with memory_errors():
            return [self._forward(pixels, traces) for pixels, traces in batches]

    def _forward(self, pixels: Pixels, traces: Stacks | None) -> Probabilities:
        x = self._on_device(pixels).contiguous(memory_format=torch.channels_last)
        with self._casting():
            logits = self.student(x, None if traces is None else self._on_device(traces))
        return np.asarray(logits.float().sigmoid()[:, 0].cpu().numpy(), dtype=np.float32)

    def _on_device(self, array: Pixels | Stacks) -> Tensor:
        """Copy an array to the device; to CUDA from pinned memory, without waiting."""
        here = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cuda":
            return here.pin_memory().to(self.device, non_blocking=True)
        return here.to(self.device)

    def _casting(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.compute == "bf16" else nullcontext()
