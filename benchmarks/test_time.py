"""Test-time augmentation: paired F1 of averaged flips or input sizes against the plain map, in one run.

Usage: python benchmarks/test_time.py NAME=DIR[,LIST] ... [--weights FILE|NAME]
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from imltool.data.sets import apply_lists, named_sets
from imltool.device import choose_device
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import mean_interval
from imltool.evaluation.methods import Method
from imltool.evaluation.rows import HALF
from imltool.evaluation.runner import evaluate_set
from imltool.inference.localizer import Localizer
from imltool.pictures.images import RGB, Map
from imltool.traces.stack import Traces

SIDES = (192, 256)
"""Additional input sizes in pixels."""
BATCH = 8

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sets", nargs="+", metavar="NAME=DIR[,LIST]")
parser.add_argument("--weights", type=Path)
arguments = parser.parse_args()
localizer = Localizer.load(arguments.weights, choose_device())
others = []
for side in SIDES:
    other = Localizer.load(arguments.weights, choose_device(), "torch")  # the exported graph has a fixed size
    architecture = other.header.architecture.model_copy(update={"input_size": side, "max_input_size": None})
    other.header = other.header.model_copy(update={"architecture": architecture})
    others.append(other)


def predict(one: Localizer, images: list[RGB], traces: list[Traces] | None, across: bool, down: bool) -> list[Map]:
    """Maps of flipped pictures, flipped back; traces are flipped, not recomputed: the file was not saved flipped."""
    rows, columns = (slice(None, None, -1 if flag else 1) for flag in (down, across))
    flipped = [np.ascontiguousarray(image[rows, columns]) for image in images]
    stacks = [np.ascontiguousarray(stack[:, rows, columns]) for stack in traces] if traces else None
    return [values[rows, columns] for values in one.maps(flipped, stacks)]


Variant = Callable[[list[RGB], list[Traces] | None], list[list[Map]]]
plain: Variant = lambda i, t: [predict(localizer, i, t, False, False)]  # noqa: E731
VARIANTS: dict[str, Variant] = {
    "plain": plain,
    "flipped left-right": lambda i, t: [*plain(i, t), predict(localizer, i, t, True, False)],
    "flipped both ways": lambda i, t: [
        predict(localizer, i, t, across, down) for across in (False, True) for down in (False, True)
    ],
    f"sides {', '.join(map(str, SIDES))} too": lambda i, t: [
        *plain(i, t),
        *(predict(other, i, t, False, False) for other in others),
    ],
}
known: dict[bytes, Traces] = {}


def traces_of(images: list[RGB]) -> list[Traces] | None:
    if not localizer.sees_traces:
        return None
    for image in images:
        if image.tobytes() not in known:
            known[image.tobytes()] = localizer.traces(image)
    return [known[image.tobytes()] for image in images]


def mean_maps(variant: Variant, images: list[RGB], traces: list[Traces] | None) -> list[Map]:
    return [np.mean(maps, axis=0) for maps in zip(*variant(images, traces_of(images)), strict=True)]


sets = named_sets([given.partition(",")[0] for given in arguments.sets])
lists = [given.partition("=")[0] + "=" + given.partition(",")[2] for given in arguments.sets if "," in given]
apply_lists(sets, lists)
for one in sets:
    reference = None
    for name, variant in VARIANTS.items():
        method = Method(name, "checkpoint", {HALF: 0.5}, predict=partial(mean_maps, variant))
        rows = [row for _, row in evaluate_set(one.samples, [method], batch=BATCH)]
        f1 = np.array([float(metrics.f1(row.counts[HALF])) for row in rows if row.ok and row.tampered])
        area = [float(metrics.flagged_area(row.counts[HALF])) for row in rows if row.ok and not row.tampered]
        scores = [[row.score for row in rows if row.ok and row.tampered is side] for side in (True, False)]
        auc = metrics.image_auc(*scores) if all(scores) else float("nan")
        line = f"{one.name:14s} {name:20s} F1 {f1.mean():.3f}  image AUC {auc:.3f}"
        line += f"  false area {np.mean(area):.3f}" if area else ""
        if reference is not None:
            low, high = mean_interval(f1 - reference, 0) or (float("nan"),) * 2
            line += f"  difference {np.mean(f1 - reference):+.3f} [{low:+.3f}, {high:+.3f}]"
        else:
            reference = f1
        print(line, flush=True)
