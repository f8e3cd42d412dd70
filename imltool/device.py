"""Devices, seeds and what this machine runs on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from imltool.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The torch device for `--device`: `auto` takes cuda, then mps, then cpu.

    Raises `UsageError` when the device is unknown or absent on this machine.
    """
    import torch

    present = available_devices()
    kind = name.partition(":")[0]
    if name == "auto":
        return torch.device(present[-1])
    if kind not in DEVICE_NAMES:
        raise UsageError(f"unknown device {name!r}", f"choose one of {', '.join(DEVICE_NAMES)}")
    if kind not in present:
        raise UsageError(f"device {name} is not available here", f"this machine has {', '.join(present)}")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is not understood", "write it as cuda or cuda:1") from error


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
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
