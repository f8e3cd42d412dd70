"""The Memory-Guided Gated Fusion Module: from the backbone's scales to the logits of a map.

Each class is a box of the paper's figure; layers that the paper does not give are our choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imltool.student.memory_bank import build_memory
from imltool.student.settings import StudentSettings


class MultiScaleAlignment(nn.Module):
    """Brings all scales to the same width and grid.

    F'_i = Up(ReLU(BN(Conv1×1(F_i)))) for every scale (our reading of the paper; width C is our choice).

    Input: F1..F4, float [B,c_i,g_i,g_i]. Output: a list of float [B,C,g,g], g being the first scale's grid.
    """

    def __init__(self, scales: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
            for width in scales
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        grid = features[0].shape[-2:]
        aligned = [project(feature) for project, feature in zip(self.project, features, strict=True)]
        return [
            x if x.shape[-2:] == grid else F.interpolate(x, size=grid, mode="bilinear", align_corners=False)
            for x in aligned
        ]


def conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution, BatchNorm, ReLU; keeps the grid."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class GatedIntegration(nn.Module):
    """Weights each aligned scale with its own gate, pixel by pixel, before adding the scales.

    G_i = σ(Conv3×3(F'_i)), F_fused = CBR(Σ G_i·F'_i), G_avg = mean G_i (gates: the paper; layers: our choice).

    Args:
        gating: False fixes every gate at 1, the paper's "without gating".

    Input: a list of float [B,C,g,g]. Output: F_fused float [B,C,g,g] and G_avg float [B,1,g,g] in [0,1].
    """

    def __init__(self, scales: int, channels: int, gating: bool = True) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in range(scales)) if gating else None
        self.fuse = conv_bn_relu(channels, channels)

    def forward(self, aligned: list[Tensor]) -> tuple[Tensor, Tensor]:
        if self.gates is None:
            fused = self.fuse(torch.stack(aligned).sum(dim=0))
            return fused, torch.ones_like(fused[:, :1])
        gates = [torch.sigmoid(gate(x)) for gate, x in zip(self.gates, aligned, strict=True)]
        fused = self.fuse(torch.stack([g * x for g, x in zip(gates, aligned, strict=True)]).sum(dim=0))
        return fused, torch.stack(gates).mean(dim=0)


class DualGuidance(nn.Module):
    """Combines the evidence of the picture with the prior of the memory (paper, Eq. 4).

    A_final = α·(A_base ⊙ G_avg) + (1 − α)·A_mem.

    Args:
        alpha: α, 0..1. The paper does not give it.
        learn: make α a parameter, kept in 0..1 by a sigmoid and initialised with `alpha`.

    Without a memory α is 1 and A_final = A_base ⊙ G_avg.
    """

    def __init__(self, channels: int, alpha: float, learn: bool) -> None:
        super().__init__()
        self.base = nn.Conv2d(channels, 1, 1)
        start = torch.logit(torch.tensor(float(alpha)), eps=1e-4)
        self.alpha_logit = nn.Parameter(start) if learn else None
        self.fixed_alpha = float(alpha)

    @property
    def alpha(self) -> Tensor | float:
        return self.fixed_alpha if self.alpha_logit is None else self.alpha_logit.sigmoid()

    def forward(self, fused: Tensor, gate: Tensor, prior: Tensor | None) -> Tensor:
        """F_fused [B,C,g,g], G_avg [B,1,g,g] and A_mem [B,1,g,g] or None → A_final [B,1,g,g] in [0,1]."""
        observed: Tensor = self.base(fused).sigmoid() * gate
        if prior is None:
            return observed
        alpha = self.alpha
        return alpha * observed + (1 - alpha) * prior


class Refinement(nn.Module):
    """Two 3×3 blocks and a 1×1 convolution (our choice; the paper does not give the layers).

    Args:
        with_features: take F_fused as well as A_final. Without F_fused the network cannot bypass memory and gates.

    Input: F_fused [B,C,g,g], A_final [B,1,g,g] in [0,1]. Output: logits [B,1,g,g].
    """

    def __init__(self, channels: int, with_features: bool) -> None:
        super().__init__()
        self.with_features = with_features
        self.body = nn.Sequential(
            conv_bn_relu(channels + 1 if with_features else 1, channels),
            conv_bn_relu(channels, channels),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(self, fused: Tensor, final: Tensor) -> Tensor:
        logits: Tensor = self.body(torch.cat([fused, final], dim=1) if self.with_features else final)
        return logits


class MemoryGuidedGatedFusion(nn.Module):
    """MGFM: alignment → gated integration → memory prior → dual guidance → refinement.

    Input: F1..F4 of the backbone, and F_traces if the student uses traces. Output: logits float [B,1,g,g] on the first
    scale's grid.
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
        logits: Tensor = self.refinement(fused, self.guidance(fused, gate, prior))
        return logits
