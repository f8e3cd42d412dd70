"""The student that a run starts from, as a teacher of the one that learns: `optim.distill`."""

from __future__ import annotations

import torch
from torch import Tensor

from imltool.errors import UsageError
from imltool.student.checkpoint import load_checkpoint
from imltool.student.settings import StudentSettings
from imltool.training.initialise import Start


class Before:
    """The student that a run starts from, with its weights unchanged.

    Raises `UsageError` when the run starts from no student, or from one that sees other traces, and `WeightsError`.
    """

    def __init__(self, start: Start | None, architecture: StudentSettings, device: torch.device) -> None:
        if start is None:
            raise UsageError(
                "optim.distill keeps a run close to the student it starts from, and init names none",
                "set init to a student, or optim.distill to 0",
            )
        if set(start.header.architecture.traces) != set(architecture.traces):
            raise UsageError(
                f"the student {start.path} sees other traces than this run, so optim.distill cannot compare their maps",
                "set student.traces as in that student, or optim.distill to 0",
            )
        student, _ = load_checkpoint(start.path)
        self.student = student.to(device, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]

    def __call__(self, images: Tensor, traces: Tensor | None) -> Tensor:
        """Probabilities, float32 [B,1,H,W] in [0,1], of a batch as `Student` takes it."""
        with torch.no_grad():
            probabilities: Tensor = self.student(images, traces).float().sigmoid()
        return probabilities
