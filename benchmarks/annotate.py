"""Waiting times in `imltool annotate`: embedding a picture, the mask of a box, the full mask of an accepted box.

Usage: python benchmarks/annotate.py FOLDER [PICTURES]
"""

import sys
import time
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from imltool.annotate.embedding_worker import MASK_SIDE, EmbeddingWorker
from imltool.annotate.pictures import find_pictures
from imltool.annotate.records import DrawnBox
from imltool.teacher.registry import load_sam

BOXES = 20
"""Boxes drawn in each picture."""
PATIENCE = 600.0

pictures = find_pictures([Path(sys.argv[1])], Path("boxes.json"))
names = pictures.names[: int(sys.argv[2]) if len(sys.argv) > 2 else 10]
teacher = load_sam("mobile-sam", steppable=True)
worker = EmbeddingWorker(pictures, teacher)
rng = np.random.default_rng(0)
waits: dict[str, list[float]] = {"embedding": [], "mask": [], "mask while embedding": [], "full mask": []}


def drawn(name: str) -> DrawnBox:
    view = worker.view(name)
    side = min(view.width, view.height)
    x, y = rng.uniform(0, view.width - side / 2), rng.uniform(0, view.height - side / 2)
    return DrawnBox(box=(x, y, x + rng.uniform(0.1, 0.5) * side, y + rng.uniform(0.1, 0.5) * side))


def timed(what: str, name: str, full: bool = False) -> None:
    box = drawn(name)
    begun = time.perf_counter()
    (worker.full_mask if full else worker.mask)(name, box)
    waits[what].append(time.perf_counter() - begun)


for now, later in zip(names[::2], names[1::2], strict=False):
    begun = time.perf_counter()
    worker.want([now])
    assert worker.ready(now, PATIENCE), now
    waits["embedding"].append(time.perf_counter() - begun)
    timed("mask", now)  # the first decoding of a process is slower and not counted
    waits["mask"].pop()
    for _ in range(BOXES):
        timed("mask", now)
        timed("full mask", now, full=True)
    worker.want([now, later])
    while not worker.ready(later, 0.0):
        timed("mask while embedding", now)
worker.close()
print(f"{len(names)} pictures, {BOXES} boxes each, masks shown at {MASK_SIDE} pixels at most; milliseconds")
for what, seconds in waits.items():
    if len(seconds) > 1:
        last = quantiles(seconds, n=20)[-1]
        print(f"{what:22s} median {1000 * median(seconds):7.0f}   95 % below {1000 * last:7.0f}   n {len(seconds)}")
