"""Cost of metrics relative to inference: milliseconds per picture of each, in one run, with ratios.

Usage: python benchmarks/metrics.py DATASET [CHECKPOINT]   (DATASET: tampered/, masks/, authentic/)
"""

import sys
import time
from pathlib import Path

import numpy as np

from imltool.data.folder import read_folder
from imltool.device import choose_device
from imltool.evaluation.compat import PROTOCOLS
from imltool.evaluation.degradations import DEGRADATIONS, degrade
from imltool.evaluation.roles import Overlap
from imltool.evaluation.rows import CALIBRATED, HALF, Counting
from imltool.evaluation.runner import count_image
from imltool.evaluation.summary import summarize_set
from imltool.inference.localizer import Localizer
from imltool.pictures.images import read_mask, read_rgb

BATCH = 8
samples = [sample for sample in read_folder(Path(sys.argv[1])).samples if sample.mask][:32]
localizer = Localizer.load(Path(sys.argv[2]) if len(sys.argv) > 2 else None, choose_device())
thresholds = {HALF: 0.5, CALIBRATED: localizer.header.pixel_threshold}

images = [read_rgb(sample.image) for sample in samples]
masks = [read_mask(sample.mask) for sample in samples if sample.mask]
localizer.maps(images[:BATCH])
passes = []
for _ in range(2):
    started = time.perf_counter()
    maps = [found for first in range(0, len(images), BATCH) for found in localizer.maps(images[first : first + BATCH])]
    passes.append(time.perf_counter() - started)
inference = min(passes) / len(samples)


def cost(counting: Counting) -> float:
    """Seconds per picture, the best of five passes to reduce the effect of other load."""
    passes = []
    for _ in range(5):
        begun = time.perf_counter()
        for sample, values, mask in zip(samples, maps, masks, strict=True):
            count_image(sample, values, mask, thresholds, counting=counting)
        passes.append(time.perf_counter() - begun)
    return min(passes) / len(samples)


print(f"{localizer.device}, {len(samples)} pictures of {np.mean([mask.size for mask in masks]) / 1e6:.2f} megapixels")
print(f"inference            {1000 * inference:8.2f} ms a picture (resize, model, back to size, batch {BATCH})")
plain = cost(Counting())
print(f"metrics              {1000 * plain:8.2f} ms ({plain / inference:.2f} of inference)")
bare = cost(Counting(curves=False))
print(f"  without curves     {1000 * bare:8.2f} ms ({bare / inference:.2f}; what --robust pays)")
for name in PROTOCOLS:
    more = cost(Counting((name,))) - plain
    print(f"  --compat {name:9} {1000 * more:+9.2f} ms ({more / inference:+.2f})")

rows = [count_image(*three, thresholds) for three in zip(samples, maps, masks, strict=True)]
started = time.perf_counter()
summarize_set("set", rows, Overlap("ood", False, 0, "", "", ""), score_threshold=0.5, seed=0)
print(f"set metrics          {1000 * (time.perf_counter() - started):8.2f} ms for the set, 2000 resamples each")
for name, step in DEGRADATIONS.items():
    started = time.perf_counter()
    for sample, rgb, mask in zip(samples, images, masks, strict=True):
        degrade(name, step.levels[-1], rgb, mask, sample.name, 0)
    seconds = (time.perf_counter() - started) / len(samples)
    print(f"  degrade {name:10} {1000 * seconds:8.2f} ms ({seconds / inference:.2f})")
