"""Teachers by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imltool.errors import UsageError, WeightsError
from imltool.images import RGB
from imltool.teacher.sam import BoxMask


class Teacher(Protocol):
    """Anything that turns a picture and boxes into masks: the dear half once a picture, the cheap one a box."""

    name: str

    def embed(self, rgb: RGB) -> Any: ...

    def decode(self, embedding: Any, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]: ...


def _mobile_sam(weights: Path, device: str) -> Teacher:
    import torch

    from imltool.device import choose_device
    from imltool.teacher.mobile_sam import build_mobile_sam
    from imltool.teacher.sam import SamTeacher

    return SamTeacher("mobile-sam", build_mobile_sam(weights), torch.device(choose_device(device)))


def _official(name: str) -> Callable[[Path, str], Teacher]:
    def build(weights: Path, device: str) -> Teacher:
        import torch
        from segment_anything import sam_model_registry

        from imltool.device import choose_device
        from imltool.teacher.sam import SamTeacher

        sam = sam_model_registry[name.replace("-", "_")]()
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            sam.load_state_dict(state, strict=True)
        except Exception as error:  # torch.load raises UnpicklingError, EOFError, RuntimeError, …
            detail = " ".join(str(error).split())[:160]
            raise WeightsError(
                f"{weights} does not hold SAM {name}: {detail}", f"imltool weights fetch {name}, or check the file"
            ) from error
        return SamTeacher(name, sam, torch.device(choose_device(device)))

    return build


def _weightless(name: str) -> Teacher:
    from imltool.teacher.weightless import BoxTeacher, GrabCutTeacher

    return BoxTeacher() if name == "box" else GrabCutTeacher()


WITH_WEIGHTS: dict[str, Callable[[Path, str], Teacher]] = {
    "mobile-sam": _mobile_sam,
    "vit-b": _official("vit-b"),
    "vit-l": _official("vit-l"),
    "vit-h": _official("vit-h"),
}
WEIGHTLESS = ("box", "grabcut")
TEACHERS = (*WITH_WEIGHTS, *WEIGHTLESS)


def teacher_weights(name: str, weights: Path | None = None) -> Path | None:
    """The weights file a teacher would load, or None for a weightless one.

    Raises `UsageError` for an unknown name and `WeightsError` when the file is not on this machine.
    """
    if name not in TEACHERS:
        raise UsageError(f"unknown teacher {name!r}", f"choose one of {', '.join(TEACHERS)}")
    if name in WEIGHTLESS:
        if weights is not None:
            raise UsageError(f"teacher {name} takes no weights", "leave --weights out")
        return None
    from imltool.weights import locate

    return locate(name, weights)


def load_teacher(name: str, weights: Path | None = None, device: str = "auto") -> Teacher:
    """Build a teacher by name (`TEACHERS`), frozen and in eval mode.

    Args:
        weights: file to load instead of the bundled or cached one.
        device: as `choose_device` takes it.

    Raises `UsageError` (unknown name) and `WeightsError` (absent, damaged or another model's file).
    """
    path = teacher_weights(name, weights)
    if path is None:
        return _weightless(name)
    return WITH_WEIGHTS[name](path, device)
