"""How much of an adaptation is kept: weights between the student before and after it.

A student that learns a new kind from few pictures loses some of what it knew. The weights on the straight line between
both students often keep nearly all of both (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from imltool.adapt.comparison import GREATEST_LOSS, Case, f1_of
from imltool.config import Frozen
from imltool.inference.localizer import Localizer
from imltool.pictures.images import read_rgb
from imltool.student.header import CheckpointHeader
from imltool.student.model import Student

SHARES = (0.7, 0.55, 0.4)
"""Shares of the adapted weights that are tried, the largest first (our choice). None keeps all of them: forgeries made
from authentic pictures do not show all that real forgeries of known kinds lose.
"""

State = Mapping[str, Tensor]


class Mixing(Frozen):
    """Which share of the adapted weights was kept, and why.

    Attributes:
        share: of the adapted student's weights; the rest is of the student before.
        known_before: mean F1 of the student before on forgeries of known kinds that nothing else uses; None where there
            are no authentic pictures to make them from.
        known: the same of each share that was tried.
    """

    share: float
    known_before: float | None = None
    known: dict[float, float] = Field(default={})


def mixed(before: State, after: State, share: float) -> dict[str, Tensor]:
    """Weights at `share` of the way from `before` to `after`; what is no floating-point number is that of `after`."""
    return {
        name: before[name].lerp(weight, share) if weight.is_floating_point() else weight
        for name, weight in after.items()
    }


def choose_share(known: Callable[[float], float], greatest_loss: float = GREATEST_LOSS) -> Mixing:
    """The largest share that loses at most `greatest_loss`, or else the one that loses least.

    Args:
        known: share → mean F1 on forgeries of known kinds; share 0 is the student before.
        greatest_loss: of that F1.
    """
    before, tried = known(0.0), dict[float, float]()
    for share in SHARES:
        tried[share] = known(share)
        if tried[share] >= before - greatest_loss:
            break
    else:
        share = max(tried, key=lambda one: (tried[one], one))
    return Mixing(share=share, known_before=before, known=tried)


def keep_known(
    before: State, student: Student, header: CheckpointHeader, cases: Sequence[Case], device: str
) -> tuple[Localizer, Mixing]:
    """Give an adapted student as much of its new weights as `choose_share` says, and the localizer of it.

    Args:
        before: weights of the student it started from.
        student: the adapted one, whose weights change.
        header: of the adapted student.
        cases: forgeries of known kinds with their masks, which nothing else uses.
    """
    after = {name: weight.clone() for name, weight in student.state_dict().items()}
    pictures = [read_rgb(case.image) for case in cases]

    def at(share: float) -> Localizer:
        student.load_state_dict(mixed(before, after, share))
        return Localizer.of(student, header, torch.device(device))

    first = at(1.0)
    traces = [first.traces(rgb) if first.sees_traces else None for rgb in pictures]

    def known(share: float) -> float:
        localizer, found = at(share), []
        for case, rgb, seen in zip(cases, pictures, traces, strict=True):
            (probabilities,) = localizer.maps([rgb], None if seen is None else [seen])
            found.append(f1_of(probabilities, case))
        return float(np.mean(found))

    mixing = choose_share(known)
    return at(mixing.share), mixing
