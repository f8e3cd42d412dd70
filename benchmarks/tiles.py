"""Effect of tiles on large pictures: paired F1, false-positive area and scores with and without tiles, in one run.

Usage: python benchmarks/tiles.py DIR... [--weights FILE|NAME]

DIR is in the folder layout (`tampered/` with `masks/`, `authentic/`). Pictures too small for tiles are left out.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from imltool.data.sets import named_sets
from imltool.device import choose_device
from imltool.evaluation.bootstrap import mean_interval
from imltool.inference.localizer import Localizer, image_score
from imltool.inference.tiles import is_tiled, take_traces, tiled_map
from imltool.pictures.images import Map, Mask, read_mask, read_rgb

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("sets", nargs="+", metavar="NAME=DIR")
parser.add_argument("--weights", type=Path)
arguments = parser.parse_args()
localizer = Localizer.load(arguments.weights, choose_device())
point = localizer.header.score_threshold


def f1(values: Map, mask: Mask) -> float:
    found = values > 0.5
    return float(2 * (found & mask).sum() / max(1, found.sum() + mask.sum()))


for one in named_sets(arguments.sets):
    f1s, areas, scores = [], [], {True: [], False: []}
    seconds = [0.0, 0.0]
    for sample in one.samples:
        rgb = read_rgb(sample.image)
        if not is_tiled(rgb.shape):
            continue
        begun = time.process_time()
        traces = take_traces(localizer, rgb, tiles=True)
        (whole,) = localizer.maps([rgb], traces[:1] or None)
        seconds[0] += time.process_time() - begun
        begun = time.process_time()
        tiled = tiled_map(localizer, rgb, traces)
        seconds[1] += time.process_time() - begun
        pair = whole, tiled
        scores[sample.mask is not None].append([image_score(values) for values in pair])
        if sample.mask:
            mask = read_mask(sample.mask)
            f1s.append([f1(values, mask) for values in pair])
        else:
            areas.append([float(np.mean(values > 0.5)) for values in pair])
    count = len(f1s) + len(areas)
    if not count:
        print(f"{one.name}: no picture is large enough")
        continue
    taken = [1000 * total / count for total in seconds]
    print(f"{one.name}: {count} pictures; {taken[0]:.0f} ms of processor time a picture, tiles {taken[1]:.0f} ms more")
    if f1s:
        pairs = np.array(f1s)
        low, high = mean_interval(pairs[:, 1] - pairs[:, 0], 0) or (float("nan"),) * 2
        print(f"  F1 of {len(pairs)} tampered     {pairs[:, 0].mean():.3f} → {pairs[:, 1].mean():.3f}", end="")
        print(f"  difference {np.mean(pairs[:, 1] - pairs[:, 0]):+.3f} [{low:+.3f}, {high:+.3f}]")
    if areas:
        before, after = np.mean(areas, axis=0)
        print(f"  false area of {len(areas)} authentic {before:.4f} → {after:.4f}")
    for tampered, found in scores.items():
        if found:
            above = (np.array(found) > point).sum(axis=0)
            kind = "tampered" if tampered else "authentic"
            print(f"  {kind} scored above {point:.3f}: {above[0]} → {above[1]} of {len(found)}")
