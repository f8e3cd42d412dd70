"""Benchmark of a machine with a GPU in under eight minutes: parity, training, whole scans, out-of-memory handling.

Usage: benchmarks/gpu.sh [--device cuda] [--steps 200] [--pictures 300] [--out FILE.json]

Needs only the package: the pictures are the bundled samples and forgeries made from them. `--device cpu --steps 2
--pictures 8` tests the script itself.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from imltool.engines.network import Compute
from imltool.engines.torch_network import TorchNetwork
from imltool.files import walk_images
from imltool.inference.localizer import Localizer
from imltool.pictures.images import RGB, encode_jpeg, read_rgb
from imltool.pictures.pixels import resize
from imltool.scan.inputs import plan_inputs
from imltool.scan.runner import scan
from imltool.training.loop import Training
from imltool.training.settings import TrainSettings

SAMPLES = Path(__file__).parents[1] / "sample_images"
COMPUTES: tuple[Compute, ...] = ("fp32", "bf16")
ROOM = 8 * 60
"""Time limit of the whole run in seconds."""

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--device", default="cuda")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--pictures", type=int, default=300)
parser.add_argument("--out", type=Path)
arguments = parser.parse_args()
begun = time.perf_counter()
results: dict[str, Any] = {"torch": torch.__version__, "cores": os.cpu_count(), "python": sys.version.split()[0]}


def report(name: str, value: object) -> None:
    """Store a result, and print it with the seconds since the start."""
    results[name] = value
    print(f"{time.perf_counter() - begun:6.0f} s  {name}: {json.dumps(value)}", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


@contextmanager
def part(name: str) -> Iterator[None]:
    """Report a failing part and continue with the next one."""
    try:
        yield
    except Exception as error:
        report(f"{name} failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def localizer_on(device: str, compute: Compute = "fp32") -> Localizer:
    return Localizer.load(None, device, "torch", compute)


def parity() -> None:
    """Maps of the device against float32 maps of the CPU, on the sample pictures."""
    images = [read_rgb(path) for path in walk_images(SAMPLES) if "masks" not in path.parts]
    truth = localizer_on("cpu").maps(images)
    for compute in COMPUTES:
        maps = localizer_on(arguments.device, compute).maps(images)
        gaps = [float(np.abs(one - other).max()) for one, other in zip(maps, truth, strict=True)]
        means = [float(np.abs(one - other).mean()) for one, other in zip(maps, truth, strict=True)]
        report(f"parity {compute}", {"pictures": len(images), "largest": max(gaps), "mean": float(np.mean(means))})


@dataclass(frozen=True)
class Pace:
    images_per_second: float
    loader_alone: float
    waiting_share: float
    peak_gb: float


def settings(place: Path, batch: int, steps: int, workers: int) -> TrainSettings:
    """The architecture of the default student on the samples, with a cached pool."""
    photos = [str(SAMPLES / name / "authentic") for name in ("splices", "copymoves")]
    source = {"name": "made", "kind": "synth", "photos": photos, "pool": 64, "synth": {"long_side": [320, 640]}}
    return TrainSettings.model_validate(
        {
            "init": "boxprompt-traces",
            "student": localizer_on("cpu").header.architecture.model_dump(),
            "data": {"cache": str(place / "cache"), "train": [source]},
            "optim": {"steps": steps, "batch_size": batch, "loss": "bce+dice", "ema": 0.99, "warmup": 1},
            "workers": workers,
            "validate_every": steps,
            "save_every": steps,
            "log_every": max(1, steps // 10),
        }
    )


def training(place: Path) -> None:
    """Images per second of training in bf16, and the share of time spent waiting for data."""
    workers = min(8, max(1, (os.cpu_count() or 2) - 1))
    run = Training(settings(place, arguments.batch, arguments.steps, workers), place / "run", arguments.device)
    for index in range(min(256, len(run.data))):  # make the pool with its traces first: it is not part of a step
        run.data[index]
    first, count = time.perf_counter(), 0
    for number, _ in enumerate(run.loader):
        if number == 3:
            first, count = time.perf_counter(), 0
        count += arguments.batch
        if number >= min(40, arguments.steps - 1):
            break
    alone = count / (time.perf_counter() - first)
    if arguments.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    rates = [event["images_per_second"] for event in run.run() if event["event"] == "train"]
    peak = torch.cuda.max_memory_allocated() / 1e9 if arguments.device.startswith("cuda") else 0.0
    rate = float(np.median(rates[1:] or rates))
    # if the loader alone is as fast as training, training waits for it
    report("training bf16", {"workers": workers, **asdict(Pace(rate, alone, min(1.0, rate / alone), peak))})


def memory(place: Path) -> None:
    """A batch too large for memory must end with a one-line error and a saved state, and a smaller one must run."""
    if not arguments.device.startswith("cuda"):
        return
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2e9 / total))  # like a card with 2 GB
    batch, tried = 256, []
    try:
        while batch >= 4:
            try:
                run = Training(settings(place, batch, 2, 1), place / f"memory-{batch}", arguments.device)
                list(run.run())
                tried.append({"batch": batch, "ended": "ok"})
                break
            except Exception as error:
                tried.append({"batch": batch, "ended": f"{type(error).__name__}: {str(error)[:80]}"})
                torch.cuda.empty_cache()
                batch //= 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    report("training in 2 GB", tried)


def pictures(place: Path) -> Path:
    """One-megapixel JPEGs made from the samples."""
    folder = place / "pictures"
    folder.mkdir()
    found = [path for path in walk_images(SAMPLES) if "masks" not in path.parts]
    rng = np.random.default_rng(0)
    for number in range(arguments.pictures):
        rgb: RGB = resize(read_rgb(found[number % len(found)]), (1152, 868))
        noisy = np.clip(rgb + rng.normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
        (folder / f"{number:05}.jpg").write_bytes(encode_jpeg(noisy, 92))
    return folder


def scans(place: Path) -> None:
    """Whole scans of one-megapixel pictures with all outputs, with and without torch.compile."""
    folder = pictures(place)
    compile_it: Callable[[Any], Any] = torch.compile
    for compute in COMPUTES:
        for compiled in (False, True):
            with part(f"scan {compute} compiled {compiled}"):
                localizer = localizer_on(arguments.device, compute)
                if compiled:
                    network = cast(TorchNetwork, localizer.network)
                    network.student = compile_it(network.student)
                size = 32
                localizer.maps([read_rgb(path) for path in walk_images(folder)[:size]], fill=size)
                out = place / f"out-{compute}-{compiled}"
                plan = plan_inputs([folder], out)
                at = time.perf_counter()
                rows = sum(1 for _ in scan(plan, localizer, out, batch=size))
                took = time.perf_counter() - at
                name = f"scan {compute}{', torch.compile' if compiled else ''}"
                report(name, {"pictures": rows, "pictures_per_second": round(rows / took, 2)})
            if time.perf_counter() - begun > ROOM - 60:
                report("left out", "further scans: the time is up")
                return


def main() -> None:
    if arguments.device.startswith("cuda"):
        report("device", torch.cuda.get_device_name())
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with part("parity"):
            parity()
        with part("training"):
            training(place)
        with part("memory"):
            memory(place)
        with part("scans"):
            scans(place)
    report("seconds", round(time.perf_counter() - begun))


if __name__ == "__main__":  # data worker processes import this file
    main()
