"""Losses on logits [B,1,H,W] against targets [B,1,H,W] in [0,1] (soft where a pixel is partly tampered)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, mean over pixels (the paper's loss against the pseudo-mask)."""
    return F.binary_cross_entropy_with_logits(logits, target)


def bce_dice(logits: Tensor, target: Tensor) -> Tensor:
    """BCE plus soft Dice over the tampered pictures (our choice: small regions then weigh as much as large ones)."""
    probability = logits.sigmoid().flatten(1)
    truth = target.flatten(1)
    overlap = 2 * (probability * truth).sum(dim=1) + 1.0
    dice = 1 - overlap / (probability.sum(dim=1) + truth.sum(dim=1) + 1.0)
    tampered = (truth.sum(dim=1) > 0).float()
    return bce(logits, target) + (dice * tampered).sum() / tampered.sum().clamp_min(1.0)


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss: BCE in which easy pixels count less."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-loss)) ** gamma * loss).mean()


def divergence(logits: Tensor, before: Tensor, target: Tensor) -> Tensor:
    """How far a student has moved from the maps of another one, mean over pixels of the KL divergence.

    Learning without forgetting (Li & Hoiem, ECCV 2016), except in tampered pixels that the other student misses: there
    the label is what the student has to learn (our choice).

    Args:
        before: probabilities of the other student, [B,1,H,W] in [0,1].
    """
    both = F.binary_cross_entropy_with_logits(logits, before, reduction="none")
    alone = F.binary_cross_entropy(before, before, reduction="none")
    kept = (target < 0.5) | (before > 0.5)
    return ((both - alone) * kept).mean()


LOSSES: dict[str, Loss] = {"bce": bce, "bce+dice": bce_dice, "focal": focal}


class Meter:
    """Mean loss since the last line of the log; part of the saved state, so that resuming does not change the log."""

    def __init__(self) -> None:
        self.total, self.steps = 0.0, 0

    def add(self, loss: float) -> None:
        self.total, self.steps = self.total + loss, self.steps + 1

    def take(self) -> float:
        mean = self.total / max(1, self.steps)
        self.total, self.steps = 0.0, 0
        return mean

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.steps = state["total"], state["steps"]
