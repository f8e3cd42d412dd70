"""Images a second of the student: model alone, decoding alone, and both, in one run, with their ratios.

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
from imltool.student.localizer import Localizer, normalise, resize_input

BATCH = 8
paths = walk_images(Path(sys.argv[1]))[:160]
localizer = Localizer.load(Path(sys.argv[2]) if len(sys.argv) > 2 else None, choose_device())
side = localizer.header.input_size

started = time.perf_counter()
images = [read_rgb(path) for path in paths]
decode = len(paths) / (time.perf_counter() - started)

batch = torch.stack([torch.from_numpy(resize_input(image, side)) for image in images[:BATCH]]).to(localizer.device)
x = normalise(batch, localizer.header.mean, localizer.header.std).contiguous(memory_format=torch.channels_last)


def model_rate(dtype: torch.dtype | None) -> float:
    with (
        torch.inference_mode(),
        torch.autocast(localizer.device.type, dtype or torch.bfloat16, enabled=dtype is not None),
    ):
        localizer.student(x)
        begun = time.perf_counter()
        for _ in range(12):
            localizer.student(x)
        return 12 * BATCH / (time.perf_counter() - begun)


model, half = model_rate(None), model_rate(torch.bfloat16)
started = time.perf_counter()
for first in range(0, len(images), BATCH):
    localizer.maps(images[first : first + BATCH])
maps = len(images) / (time.perf_counter() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"{localizer.device}, {torch.get_num_threads()} threads, input {side}, {len(paths)} pictures, batch {BATCH}")
print(f"model alone   {model:7.1f} images/s float32, {half:.1f} bfloat16 (ratio {half / model:.2f})")
print(f"maps          {maps:7.1f} images/s (resize, model, back to size; {maps / model:.2f} of the model alone)")
print(f"decoding      {decode:7.1f} images/s on one thread ({decode / model:.2f} of the model alone)")
print(f"peak memory   {peak:7.2f} GB")
