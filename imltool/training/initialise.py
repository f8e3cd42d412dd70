"""Initial weights of a student: the bundled teacher's encoder, timm's ImageNet weights, random, or another student."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from imltool.errors import WeightsError
from imltool.files import sha256_file
from imltool.student.backbone import TIMM_NAMES, TimmBackbone, load_teacher_encoder, restore_batch_norm
from imltool.student.header import Ancestor, CheckpointHeader, read_header, refuse_other_traces
from imltool.student.model import Student
from imltool.weights import locate, student_file

log = logging.getLogger("imltool")
BATCH_NORM_BATCHES = 4
Batches = Callable[[], list[Tensor]]


def _from_teacher(student: Student, batches: Batches) -> None:
    from imltool.teacher.mobile_sam import read_mobile_sam

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
    """Fill a module with timm's pretrained weights of the model `name`, without its classifier."""
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


@dataclass(frozen=True)
class Start:
    """The student that a run starts from: its file and its header."""

    path: Path
    header: CheckpointHeader

    @property
    def ancestry(self) -> tuple[Ancestor, ...]:
        """This student and those it was trained from, the most recent first."""
        own = Ancestor(name=self.header.name, sha256=sha256_file(self.path), step=self.header.step)
        return (own, *self.header.ancestry)


def find_start(init: str) -> Start | None:
    """The student given by `init`, a name or a file; None for a key of `INITIALISERS`. Raises `WeightsError`."""
    if init in INITIALISERS:
        return None
    path = student_file(Path(init))
    return Start(path, read_header(path))


def initialise(student: Student, init: str, batches: Batches) -> None:
    """Initialise the student in place: only its backbone, or, from another student, all tensors that fit.

    Args:
        init: a key of `INITIALISERS`, or a known student's name, or a checkpoint file.
        batches: returns normalised training pictures, float [B,3,H,W], for the BatchNorm statistics of the teacher's
            encoder.

    Raises `WeightsError` when weights are missing or do not fit the backbone.
    """
    start = find_start(init)
    if start is None:
        INITIALISERS[init](student, batches)
    else:
        _from_student(student, start)


def _from_student(student: Student, start: Start) -> None:
    """Copy the tensors that fit by name and shape, and log the others: another head or other traces may be intended."""
    refuse_other_traces(start.path, start.header)
    theirs, ours = start.header.architecture.backbone, student.settings.backbone
    if theirs != ours:
        raise WeightsError(
            f"{start.path} has the backbone {theirs}, this run has {ours}", f"set student.backbone to {theirs}"
        )
    try:
        tensors = load(start.path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{start.path} cannot be read: {error}") from error
    wanted = student.state_dict()
    fitting = {name: one for name, one in tensors.items() if name in wanted and wanted[name].shape == one.shape}
    student.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in fitting.items()}, strict=False)
    reshaped = [name for name in tensors if name in wanted and name not in fitting]
    for what, names in (
        ("of another shape, at their own start", reshaped),
        ("not in it, at their own start", [name for name in wanted if name not in tensors]),
        ("not in this student, left out", [name for name in tensors if name not in wanted]),
    ):
        if names:
            log.warning("start from %s: %s %s", start.header.name, _modules(names), what)


def _modules(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
