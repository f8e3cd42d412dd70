"""Refinement: A_final, with or without the fused features beside it, to the logits of A_refined."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imltool.student.gated_integration import conv_bn_relu


class Refinement(nn.Module):
    """Two 3×3 blocks and a 1×1 convolution (our choice; the paper does not give the layers).

    Args:
        with_features: see F_fused beside A_final. Without it the network cannot go around memory and gates.

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
        return self.body(torch.cat([fused, final], dim=1) if self.with_features else final)
