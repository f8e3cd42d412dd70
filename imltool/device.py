"""Choice of the device, and seeds."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imltool.errors import UsageError

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of the drivers of NVIDIA, AMD, and Windows under WSL."""


def choose_device(name: str = "auto") -> str:
    """Torch's name of the device for `--device`; `auto` prefers cuda, then mps, then cpu.

    torch, which takes seconds to load, is imported only if there may be another device than the CPU.

    Raises `UsageError` when the device is unknown or not available on this machine.
    """
    kind = name.partition(":")[0]
    if kind not in DEVICE_NAMES:
        raise UsageError(f"unknown device {name!r}", f"choose one of {', '.join(DEVICE_NAMES)}")
    if name == "cpu" or (name == "auto" and not _may_have_accelerator()):
        return "cpu"
    import torch

    present = available_devices()
    if name == "auto":
        return present[-1]
    if kind not in present:
        raise UsageError(f"device {name} is not available here", f"this machine has {', '.join(present)}")
    try:
        return str(torch.device(name))
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is not understood", "write it as cuda or cuda:1") from error


def _may_have_accelerator() -> bool:
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return any(Path(driver).exists() for driver in _DRIVERS)


def available_devices() -> list[str]:
    """Device kinds torch can use here, slowest first; always starts with `cpu`."""
    import torch

    devices = ["cpu"]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if torch.cuda.is_available():
        devices.append("cuda")
    return devices


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (all devices)."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 for libraries that draw from it
    torch.manual_seed(seed)


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """While the block runs, the C library keeps freed memory for the next training step. Yields whether it can (glibc).

    By default glibc returns large blocks to the operating system at once, so every step gets its activations page by
    page again (docs/engines.md has measurements). Other C libraries are left as they are.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        yield False
        return
    trim_threshold, mmap_threshold, mmap_max = -1, -3, -4  # of malloc.h
    try:
        yield bool(libc.mallopt(trim_threshold, -1) and libc.mallopt(mmap_max, 0))
    finally:
        # the program that called may go on: what is free goes back. glibc has ended its own adjustment of thresholds;
        # these are the values that it reaches in programs with large arrays
        libc.mallopt(mmap_max, 65536)
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 64 << 20)
        libc.malloc_trim(0)
