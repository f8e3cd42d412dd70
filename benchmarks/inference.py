"""Images a second of the student: decoding, traces and network alone, and maps from pictures, in one run with ratios.

Usage: python benchmarks/inference.py FOLDER [CHECKPOINT]
"""

import resource
import sys
import time
from pathlib import Path

import torch

from imltool.device import choose_device
from imltool.files import walk_images
from imltool.images import read_rgb
from imltool.student.localizer import Localizer, resize_input
from imltool.traces.stack import picture_traces

BATCH, ROUNDS = 8, 6
paths = walk_images(Path(sys.argv[1]))[:80]
localizer = Localizer.load(Path(sys.argv[2]) if len(sys.argv) > 2 else None, choose_device())
architecture = localizer.header.architecture

started = time.perf_counter()
images = [read_rgb(path) for path in paths]
decode = len(paths) / (time.perf_counter() - started)

traces = None
if localizer.sees_traces:
    started = time.perf_counter()
    traces = [picture_traces(image) for image in images]
    tracing = len(paths) / (time.perf_counter() - started)

views = [resize_input(image, architecture.input_size) for image in images[:BATCH]]
seen = traces and traces[:BATCH]


def network_rate(dtype: torch.dtype | None) -> float:
    with torch.autocast(localizer.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        localizer.probabilities(views, seen)
        begun = time.perf_counter()
        for _ in range(ROUNDS):
            localizer.probabilities(views, seen)
        return ROUNDS * len(views) / (time.perf_counter() - begun)


network, half = network_rate(None), network_rate(torch.bfloat16)
started = time.perf_counter()
for first in range(0, len(images), BATCH):
    localizer.maps(images[first : first + BATCH])
maps = len(images) / (time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
pixels = sum(image.shape[0] * image.shape[1] for image in images) / len(images) / 1e6
print(
    f"{localizer.header.name} on {localizer.device}, {torch.get_num_threads()} threads, "
    f"input {architecture.input_size}, mirror images {architecture.mirrors}, "
    f"{len(paths)} pictures of {pixels:.2f} megapixels, batch {BATCH}"
)
print(f"decoding   {decode:7.1f} images/s on one thread ({decode / network:.2f} of the network)")
if traces is not None:
    print(f"traces     {tracing:7.1f} images/s on one thread ({tracing / network:.2f} of the network)")
print(f"network    {network:7.1f} images/s float32, {half:.1f} bfloat16 (ratio {half / network:.2f})")
print(f"maps       {maps:7.1f} images/s (traces, resize, network, back to size; {maps / network:.2f} of the network)")
print(f"peak memory {peak:6.2f} GB")
