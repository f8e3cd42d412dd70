"""The student: a backbone and the Memory-Guided Gated Fusion Module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imltool.student.backbone import build_backbone
from imltool.student.fusion import MemoryGuidedGatedFusion
from imltool.student.settings import StudentSettings
from imltool.student.trace_branch import WIDTH, TraceBranch


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [B,H,W,3] RGB → float32 [B,3,H,W], scaled to [0,1], minus `mean`, divided by `std`; channels last."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255.0)
    shift = torch.tensor(mean, device=x.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=x.device).view(1, 3, 1, 1)
    return x.sub_(shift).div_(scale)


class Student(nn.Module):
    """Localizes edits from the picture alone.

    Input: float [B,3,H,W], RGB normalised with `MEAN` and `STD` of the settings; H and W multiples of 32. A student
    with `traces` also takes the stack of `picture_traces`, float [B,len(TRACES),t,t], t any grid; others ignore it.
    Output: logits float [B,1,H,W]; σ(logit) is the probability that the pixel was tampered with.
    """

    def __init__(self, settings: StudentSettings | None = None) -> None:
        super().__init__()
        self._frozen = self._fixed_statistics = False
        self.settings = settings or StudentSettings()
        self.backbone = build_backbone(self.settings.backbone, self.settings.drop_path)
        scales = self.backbone.channels
        self.traces = TraceBranch(self.settings, scales[0]) if self.settings.traces else None
        self.fusion = MemoryGuidedGatedFusion((*scales, WIDTH) if self.traces else scales, self.settings)

    def freeze_backbone(self, frozen: bool = True) -> None:
        """Freeze the backbone's weights and BatchNorm statistics while the rest is trained."""
        self._frozen = frozen
        self.backbone.requires_grad_(not frozen)
        self.train(self.training)

    def fix_statistics(self, fixed: bool = True) -> None:
        """Normalise with BatchNorm's running statistics, and keep them, while weights are trained."""
        self._fixed_statistics = fixed
        self.train(self.training)

    def train(self, mode: bool = True) -> Student:
        super().train(mode)
        if self._frozen:
            self.backbone.eval()
        if self._fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor, traces: Tensor | None = None) -> Tensor:
        if self.traces is None:
            logits = self.fusion(self.backbone(images))
        else:
            if traces is None:
                raise ValueError("this student needs the traces of its pictures")
            seen, hint = self.traces(traces, (images.shape[-2] // 4, images.shape[-1] // 4))
            logits = self.fusion([*self.backbone(images, hint), seen])
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
