"""Parameters and operations of a student, counted by the tools named in the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imltool.files import sha256_file
from imltool.student.checkpoint import load_checkpoint
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.tables import Table
from imltool.traces.stack import TRACES
from imltool.weights import WEIGHTS, student_file


def count_parameters(student: Student) -> dict[str, int]:
    """Number of learned parameters by part and in total."""
    parts = {"backbone": student.backbone, "traces": student.traces, **dict(student.fusion.named_children())}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None}
    return counts | {"total": sum(p.numel() for p in student.parameters())}


def count_operations(module: nn.Module, *inputs: Tensor) -> int:
    """Floating-point operations of a module in eval mode on `inputs`: convolutions and matrix products, as is usual.

    A multiply-add counts as two operations, so the number of MACs is half of it.
    """
    module.eval()
    # attention without the fused kernel: the counter does not support its CPU version
    unfused = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), unfused, FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


def count_flops(student: Student) -> int:
    """`count_operations` of one small picture, with its test-time augmentation."""
    total = 0
    for side in student.settings.sides_for((1, 1)):
        grid = student.settings.trace_grid(side)
        inputs = torch.zeros(1, 3, side, side), torch.zeros(1, len(TRACES), grid, grid)
        total += count_operations(student, *inputs) * student.settings.tta_flips
    return total


def describe_architecture(settings: StudentSettings) -> dict[str, Any]:
    """Switches, parameters and FLOPs of an architecture."""
    return _describe(Student(settings))


def describe_checkpoint(path: Path | None) -> dict[str, Any]:
    """`describe_architecture` of a checkpoint (see `Localizer.load`) and facts of its header. Raises `WeightsError`."""
    path = student_file(path)
    digest = sha256_file(path)
    student, header = load_checkpoint(path)
    return {
        "name": header.name,
        "version": next((known.version for known in WEIGHTS.values() if known.sha256 == digest), None),
        "file": path.name,
        "sha256": digest,
        **_describe(student),
        "step": header.step,
        "pixel_threshold": header.pixel_threshold,
        "score_threshold": header.score_threshold,
        "score_fpr": header.score_fpr,
        "score_authentic": header.score_authentic,
        "reliability": [found.model_dump(mode="json") for found in header.reliability],
        "trained_on": {found.name: len(found.files) for found in header.training_sets},
        "tool_version": header.tool_version,
    }


def _describe(student: Student) -> dict[str, Any]:
    return {
        "architecture": student.settings.model_dump(mode="json"),
        "parameters": count_parameters(student),
        "flops": count_flops(student),
        "counted_by": f"parameters: numel; FLOPs: torch.utils.flop_counter {torch.__version__}, 2 per multiply-add, "
        f"one picture at {' and '.join(f'{side}x{side}' for side in student.settings.sides_for((1, 1)))}",
    }


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Facts of `describe_architecture` or `describe_checkpoint`, one value in each row."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        plain = name.replace("_", " ")
        if name == "reliability":
            for one in value:
                score = f"score {one['low']:.3f} to {one['high']:.3f}"
                rows.append((score, f"{one['tampered']} of {one['pictures']} calibration pictures tampered"))
        elif isinstance(value, dict):
            rows += [(f"{plain}: {part.replace('_', ' ')}", shown(item)) for part, item in value.items()]
        elif value is not None:
            rows.append((plain, shown(value)))
    return Table("", ("fact", "value"), rows, 2)


def shown(value: object) -> str:
    """A value as text: numbers with at most six digits, dictionaries as `key value, …`."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(shown, value)) if isinstance(value, list | tuple) else str(value)
