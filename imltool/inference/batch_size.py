"""How many pictures at once a network is fastest with, found by a short probe."""

from __future__ import annotations

import time

import numpy as np

from imltool.engines.network import Network
from imltool.student.settings import StudentSettings
from imltool.traces.stack import GRID, TRACES

USUAL = 8
"""Where nothing was probed."""
MOST = 256
GAIN = 1.05
"""A batch twice as large has to be so much faster a picture, or the smaller one is kept: it takes less memory."""


def fastest_batch(network: Network, architecture: StudentSettings) -> int:
    """The smallest power of two, up to `MOST`, whose double is not `GAIN` times as fast; it fits into memory.

    Every size is shown grey pictures twice, and the first time is not counted: it warms the engine up. That takes as
    long as some fifty pictures. `USUAL` without a probe for a network that sees every picture of a batch by itself.
    """
    if not network.joint:
        return USUAL
    best, size = _rate(network, architecture, 1), 1
    while size < MOST:
        found = _rate(network, architecture, 2 * size)
        if found < GAIN * best:
            return size
        best, size = found, 2 * size
    return size


def _rate(network: Network, architecture: StudentSettings, size: int) -> float:
    """Pictures a second in batches of `size`; 0 where memory does not suffice."""
    side = architecture.input_size
    views = np.full((size, side, side, 3), 128, np.uint8)
    stacks = np.zeros((size, len(TRACES), GRID, GRID), np.float16) if architecture.traces else None
    try:
        network.probabilities(views, stacks)
        begun = time.perf_counter()
        network.probabilities(views, stacks)
    except (RuntimeError, MemoryError):  # torch tells both kinds of memory in a RuntimeError
        if size == 1:
            raise
        return 0.0
    return size / (time.perf_counter() - begun)
