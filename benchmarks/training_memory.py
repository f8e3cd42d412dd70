"""Training steps on the CPU with and without `freed_memory_kept`: images per second, system time, page faults.

Usage: python benchmarks/training_memory.py [--side 224] [--batch 8] [--steps 10] [--rounds 3]

Each measurement is a separate process, because the setting cannot be reverted; both kinds alternate.
"""

import argparse
import resource
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch

from imltool.device import freed_memory_kept
from imltool.student.model import Student
from imltool.student.settings import StudentSettings
from imltool.traces.stack import TRACES
from imltool.training.losses import LOSSES

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--side", type=int, default=224)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--one", choices=("as is", "kept"), help=argparse.SUPPRESS)


def measure(side: int, batch: int, steps: int) -> list[float]:
    """Images/s, seconds of system time and page faults per image, after one warm-up step."""
    torch.manual_seed(0)
    settings = StudentSettings(traces=("copy", "jpeg", "noise"))
    student = Student(settings).train()
    grid = settings.trace_grid(side)
    rgb, traces = torch.rand(batch, 3, side, side), torch.rand(batch, len(TRACES), grid, grid)
    target = (torch.rand(batch, 1, side, side) > 0.9).float()
    began = [0.0, 0.0, 0.0]
    for step in range(steps + 1):
        if step == 1:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            began = [time.perf_counter(), usage.ru_stime, float(usage.ru_minflt)]
        logits = student(rgb, traces)
        target_here = torch.nn.functional.interpolate(target, logits.shape[-2:])
        LOSSES["bce+dice"](logits, target_here).backward()
        student.zero_grad(set_to_none=True)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    images = steps * batch
    wall = time.perf_counter() - began[0]
    return [images / wall, (usage.ru_stime - began[1]) / images, (usage.ru_minflt - began[2]) / images]


args = parser.parse_args()
if args.one:
    with freed_memory_kept() if args.one == "kept" else nullcontext(True) as possible:
        if not possible:
            sys.exit("this C library has no such setting")
        print(*measure(args.side, args.batch, args.steps))
    sys.exit()

found: dict[str, list[list[float]]] = {"as is": [], "kept": []}
sizes = [f"--side={args.side}", f"--batch={args.batch}", f"--steps={args.steps}"]
for _ in range(args.rounds):
    for kind, rows in found.items():
        done = subprocess.run(
            [sys.executable, __file__, *sizes, "--one", kind], check=True, capture_output=True, text=True
        )
        rows.append([float(value) for value in done.stdout.split()])
medians = {kind: np.median(rows, axis=0) for kind, rows in found.items()}
for kind, (rate, system, faults) in medians.items():
    print(f"{kind:6} {rate:6.2f} images/s, {system:.3f} s of system time and {faults:,.0f} page faults an image")
print(f"ratio  {medians['kept'][0] / medians['as is'][0]:.2f}")
