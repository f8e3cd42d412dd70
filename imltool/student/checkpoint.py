"""Checkpoints: safetensors with a `CheckpointHeader` as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from imltool.errors import WeightsError
from imltool.files import write_bytes
from imltool.student.header import HEADER_KEY, CheckpointHeader, read_header, refuse_other_traces
from imltool.student.model import Student


def save_checkpoint(path: Path, state: dict[str, Tensor], header: CheckpointHeader, half: bool = False) -> None:
    """Write weights and header atomically. Raises `OutputError`.

    Args:
        state: the student's state dict.
        half: store floating tensors as float16 (for shipping; half the size).
    """
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in state.items()
    }
    text = json.dumps(header.model_dump(mode="json"), sort_keys=True)
    write_bytes(path, save(tensors, metadata={HEADER_KEY: text}))


def load_checkpoint(path: Path) -> tuple[Student, CheckpointHeader]:
    """Rebuild the student of a checkpoint: float32, eval mode, on the CPU; tensors must fit strictly.

    Raises `WeightsError`.
    """
    header = read_header(path)
    refuse_other_traces(path, header)
    student = Student(header.architecture)
    try:
        state = {
            name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
            for name, tensor in load(path.read_bytes()).items()  # safetensors opens only files with UTF-8 names
        }
        student.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: the tensors do not fit the header's architecture: {detail}") from error
    return student.eval(), header


def is_half(path: Path) -> bool:
    """Whether all floating tensors of a checkpoint are stored as float16, as in released checkpoints."""
    with safe_open(path, framework="np") as handle:
        kinds = {handle.get_slice(name).get_dtype() for name in handle.keys()}  # noqa: SIM118 it is no mapping
    return "F16" in kinds and not kinds & {"F32", "BF16", "F64"}
