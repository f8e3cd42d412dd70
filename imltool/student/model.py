"""The student: TinyViT backbone and Memory-Guided Gated Fusion Module."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from imltool.student.alignment import MultiScaleAlignment
from imltool.student.backbone import TinyVitBackbone
from imltool.student.dual_guidance import DualGuidance
from imltool.student.gated_integration import GatedIntegration
from imltool.student.memory_bank import build_memory
from imltool.student.refinement import Refinement
from imltool.student.settings import StudentSettings
from imltool.student.trace_branch import WIDTH, TraceBranch


class MemoryGuidedGatedFusion(nn.Module):
    """MGFM: alignment → gated integration → memory prior → dual guidance → refinement.

    Input: F1..F4 of the backbone, and F_traces where there are any. Output: logits float
    [B,1,g,g] on the first scale's grid.
    """

    def __init__(self, scales: tuple[int, ...], settings: StudentSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.alignment = MultiScaleAlignment(scales, channels)
        self.integration = GatedIntegration(len(scales), channels, settings.gating)
        self.memory = build_memory(settings.memory, channels, settings.slots)
        self.guidance = DualGuidance(channels, settings.alpha, settings.learn_alpha and self.memory is not None)
        self.refinement = Refinement(channels, settings.refinement == "features+prior")

    def forward(self, features: list[Tensor]) -> Tensor:
        fused, gate = self.integration(self.alignment(features))
        prior = self.memory(fused) if self.memory is not None else None
        return self.refinement(fused, self.guidance(fused, gate, prior))


class Student(nn.Module):
    """Localizes edits from the picture alone.

    Input: float [B,3,H,W], RGB normalised with `MEAN` and `STD` of the settings; H and W multiples of 32. A student
    with `traces` also takes the stack of `picture_traces`, float [B,len(TRACES),t,t]; others ignore it.
    Output: logits float [B,1,H,W]; σ(logit) is the probability that the pixel was tampered with.
    """

    def __init__(self, settings: StudentSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or StudentSettings()
        self.backbone = TinyVitBackbone(self.settings.backbone, self.settings.drop_path)
        scales = self.backbone.channels
        self.traces = TraceBranch(self.settings, scales[0]) if self.settings.traces else None
        self.fusion = MemoryGuidedGatedFusion((*scales, WIDTH) if self.traces else scales, self.settings)

    def forward(self, images: Tensor, traces: Tensor | None = None) -> Tensor:
        if self.traces is None:
            logits = self.fusion(self.backbone(images))
        else:
            if traces is None:
                raise ValueError("this student needs the traces of its pictures")
            seen, hint = self.traces(traces, (images.shape[-2] // 4, images.shape[-1] // 4))
            logits = self.fusion([*self.backbone(images, hint), seen])
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
