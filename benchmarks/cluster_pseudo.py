"""Pseudo-masks over Ray with one and two workers, compared with one process.

Usage: python benchmarks/cluster_pseudo.py IMAGES BOXES [--teacher NAME] [--workers N ...]

For each run: seconds until the first row (processes start and load the teacher), pictures per second from there to the
last row. Masks are compared byte by byte, rows without their seconds.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from imltool.cluster.ray_cluster import RayCluster
from imltool.data.box_formats import read_boxes
from imltool.data.boxes import match_boxes
from imltool.teacher.pseudo import MASKS, PseudoSettings, write_pseudo_masks
from imltool.teacher.registry import load_teacher

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("images", type=Path)
parser.add_argument("boxes", type=Path)
parser.add_argument("--teacher", default="mobile-sam")
parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
arguments = parser.parse_args()


def main() -> None:
    matched = match_boxes(arguments.images, read_boxes(arguments.boxes)).matched
    teacher = load_teacher(arguments.teacher, engine="auto")
    found: list[Any] = []
    print(f"{len(matched)} pictures, {teacher.name} by {teacher.engine}")
    print("| | to the first row, s | pictures/s from there |\n|---|---|---|")
    for workers in (None, *arguments.workers):
        with tempfile.TemporaryDirectory() as place:
            out = Path(place)
            started, times, rows = time.perf_counter(), [], []
            cluster = RayCluster(None, workers) if workers else None
            for row in write_pseudo_masks(matched, teacher, PseudoSettings(), out, cluster):
                times.append(time.perf_counter())
                rows.append(row | {"seconds": None})
            found.append((rows, {path.name: path.read_bytes() for path in (out / MASKS).rglob("*.png")}))
        name = f"Ray, {workers} workers" if workers else "one process"
        rate = (len(times) - 1) / (times[-1] - times[0])
        print(f"| {name} | {times[0] - started:.1f} | {rate:.2f} |", flush=True)
    if any(one != found[0] for one in found):
        sys.exit("results differ")
    print("results are the same")


if __name__ == "__main__":
    main()
