"""The interface of a student's network, whichever engine runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from imltool.errors import UsageError

Views = NDArray[np.uint8]
"""Pictures at the network's input size S: [B,S,S,3] RGB. Torch and a graph of free size take [B,H,W,3] too."""
Stacks = NDArray[np.float16]
"""Their traces: [B,len(TRACES),GRID,GRID]."""
Probabilities = NDArray[np.float32]
"""Maps [B,S,S] in [0,1], or [B,H,W] of such pictures."""
Compute = Literal["fp32", "bf16", "int8"]
"""What a network computes in: float32; bfloat16 products where the processor has instructions for them; or 8-bit
integers, which a graph of its own holds."""

_CPU_FACTS = Path("/proc/cpuinfo")
_BFLOAT16 = re.compile(r"\b(avx512_bf16|amx_bf16|bf16)\b")
"""What Linux calls it on x86 processors and on those of ARM. Others emulate it, which is slower than float32."""

MIRRORS: dict[int, tuple[tuple[int, ...], ...]] = {1: ((),), 2: ((), (3,)), 4: ((), (3,), (2,), (2, 3))}
"""Axes of [B,C,H,W] to reverse, by `StudentSettings.mirrors`."""


class Network(Protocol):
    """A student's network, ready to run.

    Attributes:
        engine: its name in `registry.ENGINES`.
        version: the engine's.
        compute: what it computes in.
        joint: whether pictures of a batch are computed together, so that its size tells on speed and memory, and on
            the last digits of a map.
    """

    @property
    def engine(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def compute(self) -> Compute: ...

    @property
    def joint(self) -> bool: ...

    def probabilities(self, views: Views, traces: Stacks | None) -> Probabilities:
        """Maps of pictures, the mean over the architecture's mirror images.

        Traces are reversed with the picture, not made anew: they are those of the file, which nobody ever saved
        mirrored. A student that sees RGB alone does not look at them.

        Raises MemoryError when memory does not suffice.
        """
        ...


def normalise(views: Views, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8 [B,H,W,3] RGB → float32 [B,3,H,W], scaled to [0,1], minus `mean`, over `std`."""
    scale = 1.0 / (255.0 * np.asarray(std, np.float32))
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    return np.ascontiguousarray((views * scale - shift).transpose(0, 3, 1, 2), dtype=np.float32)


def threads() -> int:
    """Threads an engine may use: `OMP_NUM_THREADS`, which torch follows too, else the cores this process may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_compute(compute: Compute, device: str) -> None:
    """Raises `UsageError` when a device, as torch names it, has no instructions for what is to be computed in."""
    if compute == "bf16" and not _multiplies_bfloat16(device.partition(":")[0]):
        raise UsageError(
            f"{device} has no instructions for bfloat16 here, or does not tell of them", "leave out --precision bf16"
        )


def _multiplies_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    if sys.platform == "darwin":
        told = subprocess.run(["sysctl", "-n", "hw.optional.arm.FEAT_BF16"], capture_output=True, text=True)
        return told.stdout.strip() == "1"
    return bool(_BFLOAT16.search(_CPU_FACTS.read_text(encoding="utf-8"))) if _CPU_FACTS.is_file() else False
