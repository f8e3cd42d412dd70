"""The learning rate as a pure function of the step, so that resuming needs no state."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, peak: float, warmup: int, final: float) -> float:
    """Linear warm-up to `peak`, then a cosine down to `final`·`peak` at the last step.

    Args:
        step: 0-based step about to be taken.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
