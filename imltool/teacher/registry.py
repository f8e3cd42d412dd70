"""Teachers by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.errors import UsageError, WeightsError
from imltool.files import sha256_file
from imltool.teacher.teacher import Teacher

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from imltool.teacher.embeddings import EmbeddingFolder
    from imltool.teacher.network import SamNetwork, TorchSam
    from imltool.teacher.sam import SamTeacher

log = logging.getLogger("imltool")


def _mobile_sam(weights: Path) -> Sam:
    from imltool.teacher.mobile_sam import build_mobile_sam

    return build_mobile_sam(weights)


def _official(name: str) -> Callable[[Path], Sam]:
    def build(weights: Path) -> Sam:
        import torch
        from segment_anything import sam_model_registry

        with torch.device("meta"):  # without initial weights, which would take seconds and as much memory again
            sam = sam_model_registry[name.replace("-", "_")]()
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            sam.load_state_dict(state, strict=True, assign=True)
        except Exception as error:  # torch.load raises UnpicklingError, EOFError, RuntimeError, …
            detail = " ".join(str(error).split())[:160]
            raise WeightsError(
                f"{weights} does not hold SAM {name}: {detail}", f"imltool weights fetch {name}, or check the file"
            ) from error
        return sam.float()

    return build


def _hq(kind: str) -> Callable[[Path], Sam]:
    def build(weights: Path) -> Sam:
        from imltool.teacher.sam_hq import build_sam_hq

        return build_sam_hq(kind, weights)

    return build


def _non_learned(name: str) -> Teacher:
    from imltool.teacher.non_learned import BoxTeacher, GrabCutTeacher

    return BoxTeacher() if name == "box" else GrabCutTeacher()


WITH_WEIGHTS: dict[str, Callable[[Path], Sam]] = {
    "mobile-sam": _mobile_sam,
    "mobile-sam-official": _mobile_sam,
    "vit-b": _official("vit-b"),
    "vit-l": _official("vit-l"),
    "vit-h": _official("vit-h"),
    "hq-vit-tiny": _hq("vit_tiny"),
    "hq-vit-b": _hq("vit_b"),
    "hq-vit-l": _hq("vit_l"),
    "hq-vit-h": _hq("vit_h"),
}
SAM2 = "sam2"
BY_FILE = ("hq-vit-tiny", "hq-vit-b", "hq-vit-l", "hq-vit-h", SAM2)
"""Teachers whose weights must be given as a file, or as a folder for `SAM2`, because they have no known name."""
NON_LEARNED = ("box", "grabcut")
TEACHERS = (*WITH_WEIGHTS, SAM2, *NON_LEARNED)
NAMED_TEACHERS = tuple(name for name in TEACHERS if name not in BY_FILE)
"""Teachers that need no file: those that a study can compare."""


def teacher_weights(name: str, weights: Path | None = None) -> Path | None:
    """The weights file that a teacher would load, or None for one without weights.

    Raises `UsageError` for an unknown name and `WeightsError` when the file is not on this machine.
    """
    if name not in TEACHERS:
        raise UsageError(f"unknown teacher {name!r}", f"choose one of {', '.join(TEACHERS)}")
    if name in NON_LEARNED:
        if weights is not None:
            raise UsageError(f"teacher {name} takes no weights", "leave --weights out")
        return None
    from imltool.weights import given_file, locate

    if name not in BY_FILE:
        return locate(name, weights)
    if name == SAM2:
        if weights is None:
            raise UsageError("teacher sam2 needs its folder", "give --weights FOLDER, such as sam2.1-hiera-tiny")
        from imltool.teacher.sam2 import sam2_weights

        return sam2_weights(weights)
    if weights is None:
        file = f"sam_{name.replace('-', '_')}.pth"
        raise UsageError(f"teacher {name} needs its file", f"give --weights {file}, from the authors of SAM-HQ")
    return given_file(name, weights)


def teacher_files(teacher: Teacher) -> list[Path]:
    """The files needed to load a teacher again: its weights, then the files beside them."""
    assert teacher.weights is not None, "a teacher that was not loaded has no file"
    if teacher.name == SAM2:
        from imltool.teacher.sam2 import sam2_files

        return sam2_files(teacher.weights)
    from imltool.teacher.graphs import graphs_of

    return [teacher.weights, *(path for path in graphs_of(teacher.weights) if path.is_file())]


def load_teacher(
    name: str,
    weights: Path | None = None,
    device: str = "auto",
    engine: str = "torch",
    embeddings: EmbeddingFolder | None = None,
) -> Teacher:
    """Build a teacher by name (`TEACHERS`), frozen and in eval mode; see `load_sam` for those with weights.

    Raises `UsageError` for an unknown name, and for an engine or embeddings with a teacher that has no weights.
    """
    if name == SAM2:
        return _sam2(weights, device, engine, embeddings)
    if name not in NON_LEARNED:
        return load_sam(name, weights, device, engine, embeddings)
    teacher_weights(name, weights)
    if embeddings is not None or engine not in ("auto", "torch"):
        raise UsageError(f"teacher {name} has no network", "leave --engine and --embeddings out")
    return _non_learned(name)


def _sam2(weights: Path | None, device: str, engine: str, embeddings: EmbeddingFolder | None) -> Teacher:
    path = teacher_weights(SAM2, weights)
    assert path is not None
    _refuse_embeddings(SAM2, embeddings)
    if engine not in ("auto", "torch"):
        raise UsageError("teacher sam2 is run by torch alone", "leave --engine out")
    from imltool.device import choose_device
    from imltool.teacher.sam2 import Sam2Teacher

    return Sam2Teacher(path, choose_device(device))


def _refuse_embeddings(name: str, embeddings: EmbeddingFolder | None) -> None:
    if name in BY_FILE and embeddings is not None:
        raise UsageError(f"embeddings of teacher {name} cannot be cached", "leave --embeddings out")


def load_sam(
    name: str,
    weights: Path | None = None,
    device: str = "auto",
    engine: str = "torch",
    embeddings: EmbeddingFolder | None = None,
    steppable: bool = False,
) -> SamTeacher:
    """Build a Segment Anything teacher by name (`WITH_WEIGHTS`), frozen and in eval mode.

    Args:
        weights: file to load instead of the bundled or cached one.
        device: see `choose_device`.
        engine: one of `engines.registry.ENGINES`.
        embeddings: a cache of image embeddings from earlier runs; missing ones are added.
        steppable: run the encoder with torch, so that its layers can be stepped through, and the decoder with the
            fastest engine; `engine` is ignored.

    Raises `UsageError` (unknown teacher or one without weights, unavailable engine) and `WeightsError` (file or graph
    missing, damaged or another model's).
    """
    if name not in WITH_WEIGHTS and name in TEACHERS:
        raise UsageError(f"teacher {name} takes no clicks", f"choose one of {', '.join(WITH_WEIGHTS)}")
    path = teacher_weights(name, weights)
    assert path is not None, "all of these have weights"
    _refuse_embeddings(name, embeddings)
    import torch

    from imltool.device import choose_device
    from imltool.teacher.network import TorchSam
    from imltool.teacher.sam import SamTeacher

    chosen = choose_device(device)
    network = None if steppable else _graph_sam(name, path, engine, chosen == "cpu")
    if network is None:
        plain = TorchSam(WITH_WEIGHTS[name](path), torch.device(chosen))
        network = (_graph_sam(name, path, "auto", chosen == "cpu", plain) if steppable else None) or plain
    if embeddings is not None:
        from imltool.teacher.embeddings import CachingSam

        network = CachingSam(network, sha256_file(path), embeddings)
    return SamTeacher(name, network, path, chosen)


def _graph_sam(
    name: str, weights: Path, engine: str, on_cpu: bool, encoder: TorchSam | None = None
) -> SamNetwork | None:
    """The exported graphs of a teacher in the requested engine; None if torch is to run the teacher.

    Args:
        encoder: torch's encoder, which needs only the graph of the decoder.
    """
    from imltool.engines.registry import GRAPH_ENGINES, pick_engine
    from imltool.teacher.graphs import EXPORTABLE, graphs_of, load_graph_sam

    if name != EXPORTABLE and engine in GRAPH_ENGINES:
        raise UsageError(f"teacher {name} is run by torch alone", f"leave --engine out, or choose {EXPORTABLE}")
    graphs = graphs_of(weights)[1:] if encoder else graphs_of(weights)
    picked = pick_engine(engine, on_cpu and name == EXPORTABLE, "fp32", graphs)
    if picked == "torch":
        return None
    try:
        return load_graph_sam(weights, picked, encoder)
    except WeightsError as error:
        if engine != "auto":
            raise
        log.warning("%s; torch runs %s instead", error.message, weights.name)
        return None
