"""TinyViT's attention windows without a branch on the picture's size, so that one graph is valid for every size."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from imltool.student.backbone import TinyVitBackbone
from imltool.student.model import Student


class FreeWindows(nn.Module):
    """timm's `TinyVitBlock` in eval mode, with the same weights and results, for features of any size.

    timm's block branches on whether the features are a single window, or a multiple of windows, and an exporter records
    only the branch of its trial picture. Here the features are always padded to whole windows, by zero rows and columns
    if they already fit.

    Input and output: float [B,H,W,C].
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.side: int = block.window_size
        self.attn: nn.Module = block.attn
        self.local_conv: nn.Module = block.local_conv
        self.mlp: nn.Module = block.mlp

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        side = self.side
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        filled = F.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        windows = filled.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        seen = self.attn(windows.reshape(batch * rows * columns, side * side, channels))
        joined = seen.reshape(batch, rows, columns, side, side, channels).transpose(2, 3)
        x = x + joined.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]
        mixed: Tensor = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        widened: Tensor = self.mlp(mixed)
        return mixed + widened


def free_windows(student: Student) -> Student:
    """Replace TinyViT's attention blocks in a student, in place, by blocks for any size."""
    if not isinstance(student.backbone, TinyVitBackbone):
        return student
    for stage in student.backbone.stages[1:]:
        stage.blocks = nn.Sequential(*(FreeWindows(block) for block in stage.blocks))  # type: ignore[union-attr]
    return student
