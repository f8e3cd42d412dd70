"""Dual-guidance fusion: what the picture shows now against what the memory has seen before (paper, Eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DualGuidance(nn.Module):
    """A_final = α·(A_base ⊙ G_avg) + (1 − α)·A_mem.

    Args:
        alpha: α, 0..1. The paper does not give it.
        learn: make α a parameter, kept inside 0..1 by a sigmoid and started at `alpha`.

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
        observed = self.base(fused).sigmoid() * gate
        if prior is None:
            return observed
        alpha = self.alpha
        return alpha * observed + (1 - alpha) * prior
