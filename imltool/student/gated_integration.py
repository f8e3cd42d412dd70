"""Gated integration: each aligned scale weighs itself, pixel by pixel, before they are added."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution, BatchNorm, ReLU; keeps the grid."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class GatedIntegration(nn.Module):
    """G_i = σ(Conv3×3(F'_i)), F_fused = CBR(Σ G_i·F'_i), G_avg = mean G_i (gates: the paper; layers: our choice).

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
