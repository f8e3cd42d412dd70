"""The interface of a student's network, independent of its engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from imltool.errors import UsageError

Pictures = NDArray[np.uint8]
"""Pictures at the network's input size: [B,H,W,3] RGB."""
Pixels = NDArray[np.float32]
"""The same after `normalise`, as input of the network: [B,3,H,W]."""
Stacks = NDArray[np.float32]
"""Their traces: [B,len(TRACES),t,t]."""
Batch = tuple[Pixels, Stacks | None]
"""The input of one forward pass, without traces for a student that takes RGB alone."""
Probabilities = NDArray[np.float32]
"""Maps [B,H,W] in [0,1]."""
Compute = Literal["fp32", "bf16", "int8"]
"""Inference precision: float32; bfloat16 products if the processor has instructions for them; or 8-bit integers, which
need a separate graph.
"""

_CPU_FACTS = Path("/proc/cpuinfo")
_BFLOAT16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")
"""Names of bfloat16 instructions in Linux on x86 and ARM. Other processors emulate them, slower than float32."""
_OUT_OF_MEMORY = re.compile(r"out of ?memory|not enough memory|allocat|bad_alloc", re.IGNORECASE)
"""Wordings of torch, ONNX Runtime and OpenVINO, each of which has its own error class."""


class Network(Protocol):
    """A student's network, ready to run.

    Attributes:
        engine: the engine's name in `registry.ENGINES`.
        version: the engine's version.
        compute: the inference precision.
        batched: True if a batch is one forward pass: its size then affects speed, memory and the last bits of a map.
            Otherwise every picture is computed separately.
    """

    engine: str
    version: str
    compute: Compute
    batched: bool

    def forward(self, batches: Iterable[Batch]) -> list[Probabilities]:
        """One forward pass for each batch, without test-time augmentation; the maps in the order of the batches.

        Raises MemoryError when memory does not suffice.
        """
        ...


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError instead of an engine's own error for lack of memory; other errors pass unchanged."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or not _OUT_OF_MEMORY.search(f"{type(error).__name__} {error}"):
            raise
        raise MemoryError(" ".join(str(error).split())[:200]) from error


def normalise(pictures: Pictures, mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """uint8 [B,H,W,3] RGB → float32 [B,3,H,W], scaled to [0,1], minus `mean`, divided by `std`."""
    scale = 1.0 / (255.0 * np.asarray(std, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    return np.ascontiguousarray((pictures * scale - shift).transpose(0, 3, 1, 2), dtype=np.float32)


def threads() -> int:
    """Threads an engine may use: `OMP_NUM_THREADS`, which torch obeys too, else the cores this process may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_compute(compute: Compute, device: str) -> None:
    """Raises `UsageError` when a device (torch's name of it) does not support (or report) native bfloat16."""
    if compute == "bf16" and not _supports_bfloat16(device.partition(":")[0]):
        raise UsageError(f"{device} does not support (or report) native bfloat16", "leave out --precision bf16")


def _supports_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    if sys.platform == "darwin":
        answer = subprocess.run(
            ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() == "1"
    return bool(_BFLOAT16.search(_CPU_FACTS.read_text(encoding="utf-8"))) if _CPU_FACTS.is_file() else False
