"""The trace branch: features of traces taken at native resolution, beside the shrunk RGB picture (our choice)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imltool.student.fusion import conv_bn_relu
from imltool.student.settings import StudentSettings
from imltool.traces.stack import GROUPS

WIDTH = 64


class TraceBranch(nn.Module):
    """Turns the stack of traces into one more scale for the gated integration, and a hint for the backbone.

    The hint is added to F1 before the backbone's attention stages, through a convolution that starts at zero: an
    untrained branch does not change the pretrained backbone's features.

    Args:
        width: channels of F1.

    Input: traces float [B,len(TRACES),t,t] (see `picture_traces`); grid: height and width of F1.
    Output: F_traces float [B,64,g,g] and the hint float [B,width,g,g].
    """

    def __init__(self, settings: StudentSettings, width: int) -> None:
        super().__init__()
        chosen = [index for group in settings.traces for index in GROUPS[group]]
        self.chosen: Tensor
        self.register_buffer("chosen", torch.tensor(sorted(chosen)), persistent=False)
        self.enter = conv_bn_relu(len(chosen), WIDTH // 2)
        self.shrink = nn.Sequential(
            nn.Conv2d(WIDTH // 2, WIDTH, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        self.mix = conv_bn_relu(WIDTH, WIDTH)
        self.hint = nn.Conv2d(WIDTH, width, 1)
        nn.init.zeros_(self.hint.weight)
        nn.init.zeros_(self.hint.bias)  # type: ignore[arg-type]

    def forward(self, traces: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        x = traces[:, self.chosen]
        doubled = (grid[0] * 2, grid[1] * 2)
        if x.shape[-2:] != doubled:
            x = F.interpolate(x, size=doubled, mode="bilinear", align_corners=False)
        x = self.shrink(self.enter(x))
        x = x + self.mix(x)
        return x, self.hint(x)
