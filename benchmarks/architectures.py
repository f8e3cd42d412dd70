"""Speed, memory and size of the bundled students compared with architectures used by published localizers.

Every net runs at the usual input size of its kind, on the CPU, in float32, with random weights (nothing is
downloaded), each in a separate process to measure its peak memory. Only networks are timed: the preprocessing of
students with traces is included in the row "from pictures", for which --pictures names a folder of pictures.

Usage: python benchmarks/architectures.py [--seconds N] [--only NAME ...] [--pictures FOLDER]

DeepLabV3 is torchvision's. "SegFormer-B2-like" is timm's PVTv2-B2, whose stages are those of SegFormer's encoder
(overlapping patches, attention over reduced keys, depthwise convolutions), with SegFormer's head of 768 channels.
"ViT-B, windowed" is timm's ViT-B of Segment Anything: windows in 8 of 12 blocks, as in IML-ViT.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imltool.engines.network import threads
from imltool.engines.registry import GRAPH_ENGINES
from imltool.files import walk_images
from imltool.inference.localizer import Localizer
from imltool.pictures.images import read_rgb
from imltool.student.header import read_header
from imltool.traces.stack import GRID, TRACES
from imltool.weights import student_file

STUDENTS = ("boxprompt", "boxprompt-traces")
REFERENCE = STUDENTS[0]
STUDENT_BATCH = 8
FROM_PICTURES = "from pictures"


@dataclass(frozen=True)
class Kind:
    """A net to compare with: input side in pixels, batch size, and its constructor."""

    side: int
    batch: int
    build: Callable[[], Any]


def deeplab(depth: int) -> Any:
    from torch import nn
    from torchvision.models import segmentation

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            build = {50: segmentation.deeplabv3_resnet50, 101: segmentation.deeplabv3_resnet101}[depth]
            self.net = build(weights=None, weights_backbone=None, num_classes=1)

        def forward(self, pixels: Any) -> Any:
            return self.net(pixels)["out"].sigmoid()

    return Net()


def segformer_like() -> Any:
    import timm
    import torch
    from torch import nn
    from torch.nn.functional import interpolate

    class Net(nn.Module):
        def __init__(self, width: int = 768) -> None:
            super().__init__()
            self.encoder = timm.create_model("pvt_v2_b2", pretrained=False, features_only=True)
            self.align = nn.ModuleList(nn.Conv2d(found, width, 1) for found in self.encoder.feature_info.channels())
            self.fuse = nn.Sequential(nn.Conv2d(4 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            self.head = nn.Conv2d(width, 1, 1)

        def forward(self, pixels: Any) -> Any:
            stages = self.encoder(pixels)
            size = stages[0].shape[2:]
            aligned = [
                interpolate(align(found), size=size, mode="bilinear")
                for align, found in zip(self.align, stages, strict=True)
            ]
            logits = self.head(self.fuse(torch.cat(aligned, 1)))
            return interpolate(logits, size=pixels.shape[2:], mode="bilinear").sigmoid()

    return Net()


def windowed_vit() -> Any:
    import timm
    from torch import nn
    from torch.nn.functional import interpolate

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = timm.create_model("samvit_base_patch16", pretrained=False, num_classes=0)
            self.head = nn.Conv2d(256, 1, 1)

        def forward(self, pixels: Any) -> Any:
            logits = self.head(self.encoder.forward_features(pixels))
            return interpolate(logits, size=pixels.shape[2:], mode="bilinear").sigmoid()

    return Net()


KINDS = {
    "DeepLabV3-ResNet50": Kind(512, 4, lambda: deeplab(50)),
    "DeepLabV3-ResNet101": Kind(512, 4, lambda: deeplab(101)),
    "SegFormer-B2-like": Kind(512, 4, segformer_like),
    "ViT-B, windowed": Kind(1024, 1, windowed_vit),
}
PUBLISHED = (
    ("MVSS-Net", 512, 146.9, 166.5),
    ("SparseViT", 512, 50.4, 46.2),
    ("Mesorch", 512, 85.8, 121.5),
    ("IML-ViT", 1024, 91.8, 576.7),
)
"""Input side in pixels, millions of parameters and GMACs as published; not measured here."""


def parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def describe(name: str) -> dict[str, Any]:
    """Parameters and GMACs of a net, counted on the meta device without computing."""
    import torch

    from imltool.student.info import count_flops, count_operations
    from imltool.student.model import Student

    with torch.device("meta"):
        if name in STUDENTS:
            settings = read_header(student_file(Path(name))).architecture
            net, side, batch = Student(settings), settings.input_size, STUDENT_BATCH
            flops = count_flops(net)
        else:
            kind = KINDS[name]
            net, side, batch = kind.build(), kind.side, kind.batch
            flops = count_operations(net, torch.zeros(1, 3, side, side))
    return {"parameters": parameters(net), "gmacs": flops / 2e9, "side": side, "batch": batch}


def convert(name: str, folder: Path) -> None:
    """Write the OpenVINO graph of a net to `folder`."""
    import openvino
    import torch

    side = KINDS[name].side
    shown = torch.zeros(1, 3, side, side)
    model = openvino.convert_model(KINDS[name].build().eval(), example_input=shown, input=[-1, 3, side, side])
    openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)


def runner(name: str, engine: str, folder: Path) -> Callable[[int], object]:
    """Return a function that runs a net on a given number of pictures."""
    rng = np.random.default_rng(0)
    if name in STUDENTS:
        localizer = Localizer.load(Path(name), "cpu", engine)
        side = localizer.header.input_size
        views = rng.integers(0, 256, (STUDENT_BATCH, side, side, 3), dtype=np.uint8)
        traces = rng.random((STUDENT_BATCH, len(TRACES), GRID, GRID)).astype(np.float16)
        return lambda count: localizer.network.probabilities(views[:count], traces[:count])
    kind = KINDS[name]
    pixels = rng.standard_normal((kind.batch, 3, kind.side, kind.side), dtype=np.float32)
    if engine == "torch":
        import torch

        net = kind.build().eval().to(memory_format=torch.channels_last)
        inputs = torch.from_numpy(pixels).to(memory_format=torch.channels_last)

        def run(count: int) -> object:
            with torch.inference_mode():
                return net(inputs[:count])

        return run
    import openvino

    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
    compiled = openvino.Core().compile_model(folder / f"{name}.xml", "CPU", hints)
    return lambda count: compiled([pixels[:count]])


def rate(run: Callable[[int], object], count: int, seconds: float) -> float:
    """Pictures per second in the best run within `seconds`, without the first run."""
    run(count)
    best, begun = 0.0, time.perf_counter()
    while not best or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        run(count)
        best = max(best, count / (time.perf_counter() - started))
    return best


def measure(name: str, engine: str, folder: Path, batch: int, seconds: float) -> dict[str, float]:
    run = runner(name, engine, folder)
    one = rate(run, 1, seconds)
    many = rate(run, batch, seconds) if batch > 1 else one
    return {"one": one, "many": many, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def measure_pictures(name: str, engine: str, pictures: Path) -> dict[str, float]:
    """The same for decoded pictures: resizing, traces, network, and resizing the map."""
    localizer = Localizer.load(Path(name), "cpu", engine)
    images = [read_rgb(path) for path in walk_images(pictures)[: 5 * STUDENT_BATCH]]
    localizer.maps(images[:1])
    rates = {}
    for key, count in {"one": 1, "many": STUDENT_BATCH}.items():
        begun = time.perf_counter()
        for first in range(0, len(images), count):
            localizer.maps(images[first : first + count])
        rates[key] = len(images) / (time.perf_counter() - begun)
    return rates | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def run_separately(*task: object) -> Any:
    """The result of a task of this script in a separate process.

    On Linux its peak memory starts with that of this process, so torch must not be loaded here before.
    """
    command = [sys.executable, __file__, "--task", json.dumps([str(one) for one in task])]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def perform(task: list[str]) -> Any:
    what, name, *rest = task
    if what == "describe":
        return describe(name)
    if what == "convert":
        return convert(name, Path(rest[0]))
    if what == "pictures":
        return measure_pictures(name, rest[0], Path(rest[1]))
    return measure(name, rest[0], Path(rest[1]), int(rest[2]), float(rest[3]))


def compare(names: list[str], seconds: float, pictures: Path | None, folder: Path) -> None:
    installed = [name for name, engine in GRAPH_ENGINES.items() if engine.installed]
    facts = {name: run_separately("describe", name) for name in names}
    print(
        f"{threads()} threads; GMACs: torch.utils.flop_counter, half its FLOPs; one picture, mirror images included\n"
    )
    print("| net | input | parameters, M | GMACs | engine | 1 picture/s | batch/s (of) | boxprompt is | peak, GB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    reference: dict[str, float] = {}
    for name, fact in facts.items():
        engines = ["torch", *installed] if name in STUDENTS else ["torch", *({"openvino"} & {*installed})]
        if name in KINDS and "openvino" in engines:
            run_separately("convert", name, folder)
        rows = {one: run_separately("measure", name, one, folder, fact["batch"], seconds) for one in engines}
        if name in STUDENTS and pictures is not None:
            engine = [*installed, "torch"][0]
            rows[f"{engine}, {FROM_PICTURES}"] = run_separately("pictures", name, engine, pictures)
        if name == REFERENCE:
            reference = {engine: max(row["one"], row["many"]) for engine, row in rows.items()}
        for engine, row in rows.items():
            times = reference[engine] / max(row["one"], row["many"]) if engine in reference else float("nan")
            print(
                f"| {name} | {fact['side']} | {fact['parameters'] / 1e6:.1f} | {fact['gmacs']:.2f} | {engine} | "
                f"{row['one']:.3g} | {row['many']:.3g} ({fact['batch']}) | {times:.3g}× as fast | {row['peak']:.2f} |",
                flush=True,
            )


def count_only() -> None:
    """Parameters and GMACs of backbone and student at two sizes, next to published values."""
    import torch

    from imltool.student.info import count_flops, count_operations
    from imltool.student.model import Student
    from imltool.student.settings import StudentSettings

    print("\n| net | input | parameters, M | GMACs | |\n|---|---|---|---|---|")
    for side in (224, 512):
        with torch.device("meta"):
            student = Student(StudentSettings(input_size=side))
            backbone = count_operations(student.backbone, torch.zeros(1, 3, side, side))
            whole = count_flops(student)
        for name, net, flops in (
            ("TinyViT-5M, the backbone", student.backbone, backbone),
            ("boxprompt", student, whole),
        ):
            print(f"| {name} | {side} | {parameters(net) / 1e6:.2f} | {flops / 2e9:.2f} | measured |")
    for name, side, millions, gmacs in PUBLISHED:
        print(f"| {name} | {side} | {millions} | {gmacs} | published |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement")
    parser.add_argument("--only", nargs="+", choices=[*STUDENTS, *KINDS], default=[*STUDENTS, *KINDS])
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(perform(arguments.task)))
    else:
        with tempfile.TemporaryDirectory() as place:
            wanted = [name for name in [*STUDENTS, *KINDS] if name in {REFERENCE, *arguments.only}]
            compare(wanted, arguments.seconds, arguments.pictures, Path(place))
        count_only()
