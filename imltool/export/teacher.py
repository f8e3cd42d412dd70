"""Export the teacher as two ONNX graphs, checked against torch before they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imltool.engines.graph_info import Precision
from imltool.errors import UsageError, WeightsError
from imltool.export.onnx_files import (
    OPSET,
    halve_weights,
    need_exporter,
    opened_for_trial,
    share_weights,
    trace_graph,
    with_info,
)
from imltool.files import make_folder, sha256_file, write_bytes
from imltool.pictures.images import RGB
from imltool.teacher.audit import iou
from imltool.teacher.graphs import (
    EXPORTABLE,
    FEATURES,
    LABELS,
    LOGITS,
    PARTS,
    PIXELS,
    POINTS,
    QUALITY,
    GraphSam,
    TeacherGraphInfo,
    graphs_of,
)
from imltool.teacher.mobile_sam import build_mobile_sam
from imltool.teacher.network import (
    BOTTOM_RIGHT,
    EMBED_DIM,
    EMBED_GRID,
    INPUT_SIZE,
    PADDING,
    TOP_LEFT,
    PromptedDecoder,
    SamNetwork,
    TorchSam,
)
from imltool.teacher.sam import SamTeacher

FEATURE_TOLERANCE = 1e-4
"""Largest accepted difference of an embedding to torch's; its values are about 0.07, engines differ by some 1e-6."""
LOGIT_TOLERANCE = 1e-2
"""The same for mask logits, which are about 10."""
IOU_TOLERANCE = 0.999


def export_teacher(name: str, weights: Path, folder: Path, precision: Precision = "fp16") -> list[TeacherGraphInfo]:
    """Write a teacher's encoder and decoder as ONNX graphs; returns their metadata.

    Graphs written beside their weights refer to that file for every tensor stored in it unchanged. Graphs written
    elsewhere are self-contained.

    Args:
        precision: fp16 stores weights in half precision; computation stays in float32.

    Raises `WeightsError` for bad weights or when a graph's results differ from torch's, `UsageError` for another
    teacher than `EXPORTABLE` or when packages for the export are missing, `OutputError` when nothing can be written.
    """
    if name != EXPORTABLE:
        raise UsageError(f"teacher {name} cannot be exported", f"torch runs it; {EXPORTABLE} can be exported")
    need_exporter()
    sam = build_mobile_sam(weights)
    common = {"name": name, "weights_sha256": sha256_file(weights), "precision": precision, "opset": OPSET}
    infos = [TeacherGraphInfo(**common, part=part, torch_version=str(torch.__version__)) for part in PARTS]
    encoder = trace_graph(sam.image_encoder, {PIXELS: torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE)}, [FEATURES])
    models = [encoder, _decoder_graph(sam)]
    make_folder(folder)
    for model in models:
        if precision == "fp16":
            halve_weights(model)
    checked = _check(models, infos, TorchSam(sam, torch.device("cpu")))
    for model, info, target in zip(models, checked, graphs_of(weights, folder), strict=True):
        if target.resolve().parent == weights.resolve().parent and weights.suffix == ".safetensors":
            share_weights(model, weights)
        write_bytes(target, with_info(model, info))
    return checked


def _decoder_graph(sam: Any) -> Any:
    # more than one of each: the exporter would take a size of one for a constant
    inputs = {
        FEATURES: torch.zeros(1, EMBED_DIM, EMBED_GRID, EMBED_GRID),
        POINTS: torch.zeros(2, 3, 2),
        LABELS: torch.full((2, 3), float(PADDING)),
    }
    free = {0: torch.export.Dim("prompts", min=1, max=4096), 1: torch.export.Dim("points", min=1, max=4096)}
    return trace_graph(
        PromptedDecoder(sam.prompt_encoder, sam.mask_decoder), inputs, [LOGITS, QUALITY], ({}, free, free)
    )


def _check(models: list[Any], infos: list[TeacherGraphInfo], reference: SamNetwork) -> list[TeacherGraphInfo]:
    """The metadata with the differences to torch on a trial picture, with the first engine that is installed."""
    with opened_for_trial(models, infos) as graphs:
        differences = compare(GraphSam(graphs), reference)
    for part, differing, tolerance in zip(PARTS, differences, (FEATURE_TOLERANCE, LOGIT_TOLERANCE), strict=True):
        most = differing["max_difference"]
        # False for NaN, too
        if not (most <= tolerance and differing["mask_iou"] >= IOU_TOLERANCE):
            raise WeightsError(
                f"the {part}'s graph does not compute what torch does: it differs by up to {most:.2g}, masks' IoU is "
                f"{differing['mask_iou']:.4f}",
                "try --precision fp32, or another version of torch or onnxscript",
            )
    return [info.model_copy(update=differing) for info, differing in zip(infos, differences, strict=True)]


def compare(network: SamNetwork, reference: SamNetwork) -> list[dict[str, float]]:
    """Differences of two networks' features, and of their logits for the same features, on a trial picture.

    Both include `mask_iou`, the lowest IoU between the masks that each network alone makes for a box.
    """
    rgb, boxes = trial_picture()
    teachers = [SamTeacher("trial", one) for one in (network, reference)]
    embeddings = [teacher.embed(rgb) for teacher in teachers]
    features = [embedding.features for embedding in embeddings]
    corners = boxes.reshape(-1, 2, 2)
    labels = np.tile(np.array([TOP_LEFT, BOTTOM_RIGHT], np.float32), (len(boxes), 1))
    logits = [one.decode(features[1], corners, labels)[0] for one in (network, reference)]
    answers = [teacher.decode(made, boxes) for teacher, made in zip(teachers, embeddings, strict=True)]
    worst = min(iou(one.mask, other.mask) for one, other in zip(*answers, strict=True))
    return [
        {
            "max_difference": float((one - other).abs().max()),
            "mean_difference": float((one - other).abs().mean()),
            "mask_iou": worst,
        }
        for one, other in (features, logits)
    ]


def trial_picture() -> tuple[RGB, NDArray[np.float32]]:
    """A seeded picture to compare engines on, uint8 [768,1024,3], and XYXY boxes: three discs on a ramp."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:768, :1024]
    rgb = np.stack([columns / 4, rows / 3, 255 - columns / 5], axis=2) + rng.normal(0, 6, (768, 1024, 3))
    boxes = []
    for x, y, radius, colour in ((220, 250, 120, 230), (600, 480, 180, 20), (860, 160, 60, 140)):
        rgb[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = colour + rng.normal(0, 6, 3)
        boxes.append([x - radius - 12, y - radius - 7, x + radius + 9, y + radius + 15])
    return np.clip(rgb, 0, 255).astype(np.uint8), np.array(boxes, dtype=np.float32)
