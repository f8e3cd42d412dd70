"""Throughput of a whole scan against its parts, in one run; and peak memory by number of files.

Usage: python benchmarks/scan.py FOLDER [--weights FILE|NAME] [--precision fp32|bf16|int8] [--rounds N]
       python benchmarks/scan.py --memory 1000 10000 [--weights FILE|NAME]

The parts are measured as in the scan: reading (hash, decoding, context) and traces in the same number of threads, the
student in the same batches. Computing traces is neither decoding nor the network, so both ratios are reported: with
traces counted for the student, which needs them, and for reading, where the scan computes them. The
whole scan ends with the last row on disk. Parts and whole scan alternate and medians are used, because other load
affects wall times; processor time per picture is affected less.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np

from imltool.device import choose_device
from imltool.engines.network import Compute, threads
from imltool.evidence.reading import read_evidence
from imltool.inference.localizer import Localizer
from imltool.inference.tiles import take_traces
from imltool.pictures.images import RGB, encode_jpeg
from imltool.scan.inputs import plan_inputs
from imltool.scan.pipeline import WORKERS
from imltool.scan.runner import scan

BATCH = 8

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path)
parser.add_argument("--weights", type=Path)
parser.add_argument("--precision", choices=get_args(Compute), default="fp32")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument(
    "--memory", type=int, nargs="+", metavar="FILES", help="scan this number of small generated pictures"
)
arguments = parser.parse_args()
if (arguments.folder is None) == (arguments.memory is None):
    parser.error("give FOLDER or --memory")


def read(path: Path) -> RGB:
    rgb = read_evidence(path).rgb
    assert rgb is not None, path
    return rgb


def throughput(folder: Path) -> None:
    localizer = Localizer.load(arguments.weights, choose_device(), compute=arguments.precision)
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(WORKERS) as pool:
        out = Path(place) / "out"
        plan = plan_inputs([folder], out)
        images = [*pool.map(read, [item.path for item in plan.inputs])]
        stacks = [*pool.map(lambda rgb: take_traces(localizer, rgb, False), images)]
        localizer.maps(images[:BATCH])

        def network() -> None:
            for first in range(0, len(images), BATCH):
                part = slice(first, first + BATCH)
                localizer.maps(images[part], [stack[0] for stack in stacks[part] if stack] or None)

        parts: dict[str, Callable[[], object]] = {
            "reading": lambda: [*pool.map(read, [item.path for item in plan.inputs])],
            "network": network,
            "whole scan": lambda: [*scan(plan, localizer, out, batch=BATCH, restart=True)],
        }
        if localizer.sees_traces:
            parts["traces"] = lambda: [*pool.map(lambda rgb: take_traces(localizer, rgb, False), images)]
        wall: dict[str, list[float]] = {name: [] for name in parts}
        work: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(arguments.rounds):
            for name, part in parts.items():
                begun, used = time.perf_counter(), time.process_time()
                part()
                wall[name].append((time.perf_counter() - begun) / len(images))
                work[name].append((time.process_time() - used) / len(images))
    seconds = {name: statistics.median(values) for name, values in wall.items()}
    megapixels = sum(rgb.shape[0] * rgb.shape[1] for rgb in images) / len(images) / 1e6
    print(f"{localizer.header.name} by {localizer.engine}, {threads()} threads, {WORKERS} workers")
    print(f"{len(images)} pictures of {megapixels:.2f} megapixels, {arguments.rounds} rounds, medians")
    for name, each in seconds.items():
        used = 1000 * statistics.median(work[name])
        print(
            f"{name:11s} {1 / each:8.1f} pictures/s  {1000 * each:8.1f} ms, {used:.1f} ms of processor time a picture"
        )
    traces = seconds.get("traces", 0.0)
    views = {"": (seconds["reading"], seconds["network"])}
    if traces:
        views = {
            ", traces counted as the student's": (seconds["reading"], seconds["network"] + traces),
            ", traces counted as reading": (seconds["reading"] + traces, seconds["network"]),
        }
    for how, slower in views.items():
        print(f"whole scan over the slower part{how}: {max(slower) / seconds['whole scan']:.2f}")


def memory(counts: list[int]) -> None:
    # the peak memory of a process starts with that of its parent: this one must stay small, without torch
    assert "torch" not in sys.modules
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        for count in sorted(counts):
            folder = Path(place) / str(count)
            folder.mkdir()
            for number in range(count):
                ground = rng.integers(0, 255, 3) + rng.normal(0, 12, (96, 128, 3))
                data = encode_jpeg(np.clip(ground, 0, 255).astype(np.uint8))
                (folder / f"{number:06}.jpg").write_bytes(data)
            command = [sys.executable, "-m", "imltool", "scan", str(folder), "-q", "--out", f"{place}/out-{count}"]
            if arguments.weights:
                command += ["--weights", str(arguments.weights)]
            begun = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            peak, took = usage.ru_maxrss / 1e6, time.perf_counter() - begun
            print(f"{count:7d} files: peak memory {peak:.2f} GB, {took:.0f} s, exit {child.returncode}", flush=True)


throughput(arguments.folder) if arguments.folder else memory(arguments.memory)
