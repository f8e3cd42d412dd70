"""Processor time of the encoder and decoder of the teacher with every installed engine, alternating in one process.

Usage: OMP_NUM_THREADS=1 python benchmarks/teacher.py PICTURE [TURNS]
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from imltool.engines.network import threads
from imltool.engines.registry import GRAPH_ENGINES
from imltool.pictures.images import read_rgb
from imltool.teacher.registry import load_sam
from imltool.teacher.sam import SamTeacher

BOXES = (1, 3, 10)

torch.set_num_threads(threads())
rgb = read_rgb(Path(sys.argv[1]))
turns = int(sys.argv[2]) if len(sys.argv) > 2 else 6
height, width = rgb.shape[:2]
rng = np.random.default_rng(0)
start = rng.uniform(0, 0.5, (max(BOXES), 2))
boxes = (np.concatenate([start, start + 0.4], axis=1) * [width, height, width, height]).astype(np.float32)

teachers: dict[str, SamTeacher] = {}
for engine in ("torch", *(name for name, found in GRAPH_ENGINES.items() if found.installed)):
    teacher = load_sam("mobile-sam", None, "cpu", engine)
    teachers[engine] = teacher
embedding = teachers["torch"].embed(rgb)


def compare(what: str, run: Callable[[SamTeacher], object]) -> None:
    seconds: dict[str, list[float]] = {engine: [] for engine in teachers}
    for turn in range(turns + 1):
        for engine, teacher in teachers.items():
            begun = time.process_time()
            run(teacher)
            if turn:  # the first turn of a process is slower and not counted
                seconds[engine].append(time.process_time() - begun)
    torchs = median(seconds["torch"])
    for engine, found in seconds.items():
        print(f"{what:24} {teachers[engine].engine:20} {median(found):.3f} s  {torchs / median(found):.2f} times torch")


print(f"{threads()} threads, {turns} turns, medians of processor time")
compare("embed a picture", lambda teacher: teacher.embed(rgb))
for count in BOXES:
    compare(f"masks of {count} boxes", lambda teacher, count=count: teacher.decode(embedding, boxes[:count]))
