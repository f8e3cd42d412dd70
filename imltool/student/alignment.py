"""Multi-scale alignment: the backbone's four scales brought to one width and one grid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MultiScaleAlignment(nn.Module):
    """F'_i = Up(ReLU(BN(Conv1×1(F_i)))) for every scale (our reading of the paper; width C is our choice).

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
