"""The memory bank: prototypes of manipulation, from which every pixel gets a long-term prior A_mem.

The paper says "learnable memory bank of prototypical manipulation patterns" and leaves shape and update open. One
option chooses between four interpretations. All of them leave the bank unchanged at inference, and none mixes the
pictures of a batch, so a result does not depend on batch size or order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PrototypeMemory(nn.Module):
    """Each pixel reads the bank by similarity to its keys (our choice, the default).

    Keys [K,C] and values [K] are learned. A_mem = Σ_k softmax_k(τ·cos(query, key_k))·σ(value_k).
    It does not depend on absolute position, so it is valid under flips, crops and any input size.
    """

    def __init__(self, channels: int, slots: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.keys = nn.Parameter(torch.randn(slots, channels) / channels**0.5)
        self.values = nn.Parameter(torch.linspace(-2.0, 2.0, slots))
        self.log_sharpness = nn.Parameter(torch.tensor(10.0).log())

    def read(self, query: Tensor, keys: Tensor) -> Tensor:
        """Soft assignment of every pixel to the keys: float [B,K,g,g], sums to 1 over K."""
        similarity = torch.einsum("bchw,kc->bkhw", F.normalize(query, dim=1), F.normalize(keys, dim=1))
        return (similarity * self.log_sharpness.exp()).softmax(dim=1)

    def forward(self, fused: Tensor) -> Tensor:
        assignment = self.read(self.query(fused), self.keys)
        return torch.einsum("bkhw,k->bhw", assignment, self.values.sigmoid())[:, None]


class EmaMemory(PrototypeMemory):
    """Keys are running averages of the features assigned to them, updated in training only; values are learned.

    Update (our choice): every pixel is assigned to its nearest key, and each key moves by 1 − `decay` towards the mean
    of its pixels. In eval mode the keys are fixed.
    """

    decay = 0.99

    def __init__(self, channels: int, slots: int) -> None:
        super().__init__(channels, slots)
        keys = self.keys.detach().clone()
        del self.keys
        self.register_buffer("keys", keys)

    def forward(self, fused: Tensor) -> Tensor:
        query = self.query(fused)
        assignment = self.read(query, self.keys)
        if self.training:
            self._move(query.detach(), assignment.detach())
        return torch.einsum("bkhw,k->bhw", assignment, self.values.sigmoid())[:, None]

    @torch.no_grad()
    def _move(self, query: Tensor, assignment: Tensor) -> None:
        nearest = F.one_hot(assignment.argmax(dim=1).flatten(), self.keys.shape[0]).float()
        pixels = F.normalize(query.float(), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
        count = nearest.sum(dim=0)
        mean = (nearest.T @ pixels) / count.clamp_min(1.0)[:, None]
        moved = torch.lerp(mean.to(self.keys.dtype), self.keys, self.decay)
        self.keys.copy_(torch.where(count[:, None] > 0, moved, self.keys))


class SpatialMemory(nn.Module):
    """K spatial maps, mixed by a query pooled over the picture (another interpretation of the paper).

    The maps are learned on a fixed grid and resized to the features' grid, so the prior depends on absolute position.
    """

    grid = 56

    def __init__(self, channels: int, slots: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, slots)
        self.maps = nn.Parameter(torch.randn(slots, self.grid, self.grid) * 0.1)

    def forward(self, fused: Tensor) -> Tensor:
        choice = self.query(fused.mean(dim=(2, 3))).softmax(dim=1)
        prior = torch.einsum("bk,khw->bhw", choice, self.maps)[:, None]
        return F.interpolate(prior, size=fused.shape[-2:], mode="bilinear", align_corners=False).sigmoid()


class MeanMemory(nn.Module):
    """The mean of the bank [K,C], compared with every pixel (the simplest interpretation of the paper)."""

    def __init__(self, channels: int, slots: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.bank = nn.Parameter(torch.randn(slots, channels) / channels**0.5)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, fused: Tensor) -> Tensor:
        similarity = torch.einsum("bchw,c->bhw", self.query(fused), self.bank.mean(dim=0))
        return (similarity + self.bias).sigmoid()[:, None]


MEMORIES: dict[str, type[nn.Module]] = {
    "prototypes": PrototypeMemory,
    "spatial": SpatialMemory,
    "mean": MeanMemory,
    "ema": EmaMemory,
}


def build_memory(kind: str, channels: int, slots: int) -> nn.Module | None:
    """Build a bank of the given kind: F_fused float [B,C,g,g] → A_mem float [B,1,g,g] in [0,1]; None for `none`."""
    return None if kind == "none" else MEMORIES[kind](channels, slots)
