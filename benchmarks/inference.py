"""Images per second of the student: decoding, traces, the network with every engine, and maps from pictures.

All in one process and run, with ratios, so that other load affects every measurement equally. Graphs that are
given are measured in addition to those of the checkpoint.

Usage: python benchmarks/inference.py FOLDER [CHECKPOINT [GRAPH ...]]
"""

import contextlib
import itertools
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from imltool.device import choose_device
from imltool.engines.graph import GraphNetwork
from imltool.engines.network import Compute
from imltool.engines.registry import GRAPH_ENGINES, graph_of, student_streams
from imltool.errors import UsageError, WeightsError
from imltool.files import walk_images
from imltool.inference.localizer import TTA_FLIPS, Localizer, resize_input
from imltool.pictures.images import read_rgb
from imltool.student.checkpoint import load_checkpoint
from imltool.student.model import normalise
from imltool.weights import student_file

BATCH, ROUNDS = 8, 20
PLAIN = "torch float32, plain"
paths = walk_images(Path(sys.argv[1]))[:80]
weights, device = student_file(Path(sys.argv[2]) if len(sys.argv) > 2 else None), choose_device()
localizer = Localizer.load(weights, device)
architecture = localizer.header.architecture

started = time.perf_counter()
images = [read_rgb(path) for path in paths]
decode = len(paths) / (time.perf_counter() - started)

traces = None
if localizer.sees_traces:
    started = time.perf_counter()
    traces = [localizer.traces(image) for image in images]
    tracing = len(paths) / (time.perf_counter() - started)

views = [resize_input(image, architecture.input_size) for image in images[:BATCH]]
batch_traces = traces and traces[:BATCH]


student, header = load_checkpoint(weights)
student.eval().to(device)


@torch.inference_mode()
def run_plainly() -> None:
    """Every flip with the plain module, in the default memory layout of PyTorch."""
    pixels = normalise(torch.from_numpy(np.stack(views)).to(device), header.mean, header.std).contiguous()
    stacks = None if batch_traces is None else torch.from_numpy(np.stack(batch_traces)).to(device).float()
    for axes in TTA_FLIPS[architecture.tta_flips]:
        student(pixels.flip(axes), None if stacks is None else stacks.flip(axes)).sigmoid().cpu()


networks = {"torch float32": Localizer.load(weights, device, "torch")}
graphs = GRAPH_ENGINES if device == "cpu" and graph_of(weights).is_file() else {}
for name in [name for name, engine in graphs.items() if engine.installed]:
    networks[name] = Localizer.load(weights, device, name)
    for path in map(Path, sys.argv[3:]):
        other = GraphNetwork(GRAPH_ENGINES[name].load(path, student_streams(), "fp32"))
        networks[f"{name} {path.name}"] = Localizer(other, header, device)
less: tuple[Compute, ...] = ("bf16", "int8")
for name, compute in itertools.product(["torch", *graphs], less):
    with contextlib.suppress(UsageError, WeightsError):  # unsupported by this engine or processor, or no such graph
        networks[f"{name} {compute}"] = Localizer.load(weights, device, name, compute)
runs: dict[str, Callable[[], object]] = {PLAIN: run_plainly}
runs |= {name: partial(engine.probabilities, views, batch_traces) for name, engine in networks.items()}
best = dict.fromkeys(runs, 0.0)
for turn in range(-1, ROUNDS):  # alternating, so that other load affects all equally; the first turn is a warm-up
    for name, run in runs.items():
        begun = time.perf_counter()
        run()
        if turn >= 0:
            best[name] = max(best[name], len(views) / (time.perf_counter() - begun))
network = best[PLAIN]
started = time.perf_counter()
for first in range(0, len(images), BATCH):
    localizer.maps(images[first : first + BATCH])
maps = len(images) / (time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
pixels = sum(image.shape[0] * image.shape[1] for image in images) / len(images) / 1e6
print(
    f"{localizer.header.name} on {device}, maps by {localizer.engine}, {torch.get_num_threads()} threads, "
    f"input {architecture.input_size}, flips {architecture.tta_flips}, "
    f"{len(paths)} pictures of {pixels:.2f} megapixels, batch {BATCH}"
)
print(f"decoding   {decode:7.1f} images/s on one thread ({decode / network:.2f} of the network)")
if traces is not None:
    print(f"traces     {tracing:7.1f} images/s on one thread ({tracing / network:.2f} of the network)")
for name, found in best.items():
    print(f"{name:<21} {found:5.1f} images/s, network alone ({found / network:.2f} of {PLAIN})")
print(f"maps       {maps:7.1f} images/s (traces, resize, network, back to size; {maps / network:.2f} of the network)")
print(f"peak memory {peak:6.2f} GB")
