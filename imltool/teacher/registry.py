"""Teachers by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file
from imltool.teacher.teacher import Teacher

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from imltool.teacher.embeddings import EmbeddingFolder


def _mobile_sam(weights: Path) -> Sam:
    from imltool.teacher.mobile_sam import build_mobile_sam

    return build_mobile_sam(weights)


def _official(name: str) -> Callable[[Path], Sam]:
    def build(weights: Path) -> Sam:
        import torch
        from segment_anything import sam_model_registry

        sam = sam_model_registry[name.replace("-", "_")]()
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            sam.load_state_dict(state, strict=True)
        except Exception as error:  # torch.load raises UnpicklingError, EOFError, RuntimeError, …
            detail = " ".join(str(error).split())[:160]
            raise WeightsError(
                f"{weights} does not hold SAM {name}: {detail}", f"imltool weights fetch {name}, or check the file"
            ) from error
        return sam

    return build


def _weightless(name: str) -> Teacher:
    from imltool.teacher.weightless import BoxTeacher, GrabCutTeacher

    return BoxTeacher() if name == "box" else GrabCutTeacher()


WITH_WEIGHTS: dict[str, Callable[[Path], Sam]] = {
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


def load_teacher(
    name: str,
    weights: Path | None = None,
    device: str = "auto",
    engine: str = "torch",
    embeddings: EmbeddingFolder | None = None,
    steppable: bool = False,
) -> Teacher:
    """Build a teacher by name (`TEACHERS`), frozen and in eval mode.

    Args:
        weights: file to load instead of the bundled or cached one.
        device: as `choose_device` takes it.
        engine: of `engines.registry.ENGINES`, what computes its network; a weightless teacher has none.
        embeddings: a folder of embeddings made earlier; those that it lacks are added.
        steppable: have torch run the encoder, whose layers can then be stepped into, and the fastest engine the
            decoder; `engine` does not count.

    Raises `UsageError` (unknown name, engine that cannot be had) and `WeightsError` (absent, damaged or another model's
    file or graph).
    """
    path = teacher_weights(name, weights)
    if path is None:
        if embeddings is not None or engine not in ("auto", "torch"):
            raise UsageError(f"teacher {name} has no network", "leave --engine and --embeddings out")
        return _weightless(name)
    import torch

    from imltool.device import choose_device
    from imltool.teacher.graphs import choose_graph_sam, with_graph_decoder
    from imltool.teacher.network import SamNetwork, TorchSam
    from imltool.teacher.sam import SamTeacher

    chosen = choose_device(device)
    engine = "torch" if steppable else engine
    network: SamNetwork | None = choose_graph_sam(name, path, engine, on_cpu=chosen == "cpu")
    if network is None:
        network = plain = TorchSam(WITH_WEIGHTS[name](path), torch.device(chosen))
        if steppable:
            network = with_graph_decoder(name, path, plain) or plain
    if embeddings is not None:
        from imltool.teacher.embeddings import RememberingSam

        network = RememberingSam(network, sha256_file(path), embeddings)
    return SamTeacher(name, network, path, chosen)
