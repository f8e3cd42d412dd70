"""Where the student's backbone starts: the bundled teacher's encoder, timm's ImageNet weights, or at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from imltool.errors import WeightsError
from imltool.student.backbone import TIMM_NAMES, TimmBackbone, load_teacher_encoder, restore_batch_norm
from imltool.student.model import Student

BATCH_NORM_BATCHES = 4
Batches = Callable[[], list[Tensor]]


def _from_teacher(student: Student, batches: Batches) -> None:
    from imltool.teacher.mobile_sam import read_mobile_sam
    from imltool.weights import locate

    load_teacher_encoder(student.backbone, read_mobile_sam(locate("mobile-sam")))
    with torch.no_grad():
        restore_batch_norm(student.backbone, batches())


def _from_timm(student: Student, batches: Batches) -> None:
    backbone, name = student.backbone, student.settings.backbone
    if isinstance(backbone, TimmBackbone):
        _copy_pretrained(name, backbone.net, features_only=True, out_indices=backbone.out_indices)
        return
    if name not in TIMM_NAMES:
        raise WeightsError(f"timm has no weights for backbone {name}", "set init to random")
    _copy_pretrained(f"{TIMM_NAMES[name]}.dist_in22k_ft_in1k", backbone, num_classes=0)


def _copy_pretrained(name: str, module: nn.Module, **options: Any) -> None:
    """Fill a module with timm's pretrained weights of the model `name`, its classifier left out."""
    try:
        net = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # huggingface_hub and its transport raise many types
        detail = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"timm's weights {name} could not be fetched: {detail}", "connect to the internet, or set init to teacher"
        ) from error
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("head.")}
    module.load_state_dict(state, strict=True)


def _at_random(student: Student, batches: Batches) -> None:
    pass


INITIALISERS: dict[str, Callable[[Student, Batches], None]] = {
    "teacher": _from_teacher,
    "timm": _from_timm,
    "random": _at_random,
}


def initialise(student: Student, init: str, batches: Callable[[], list[Tensor]]) -> None:
    """Fill the student's backbone in place.

    Args:
        init: a key of `INITIALISERS`.
        batches: gives normalised training pictures, float [B,3,H,W], for the teacher's BatchNorm statistics.

    Raises `WeightsError` when weights are absent, or do not fit the backbone.
    """
    INITIALISERS[init](student, batches)
