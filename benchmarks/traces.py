"""Traces: recall of copies per set, share of authentic pictures with a copy found, and CPU milliseconds per stage.

python benchmarks/traces.py --copies NAME=PICTURES,MASKS --both NAME=PICTURES,MASKS --authentic NAME=PICTURES NAME=...

Masks have the pictures' stems. With --copies they mark the pasted place only: a pair is right when one end of most of
its keypoints lies inside; with --both they mark original and copy: both ends must. Times are CPU time of one process
(set OMP_NUM_THREADS=1), so that other work disturbs them less; compare two versions by turns all the same.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB, read_mask, read_rgb
from imltool.traces.copy_regions import CopyPair, find_copies
from imltool.traces.jpeg_grid import CrossDifference, grid_offset, history_likelihood
from imltool.traces.residual import error_level, fine_energy, grid_strength
from imltool.traces.stack import picture_traces
from imltool.traces.strips import LumaRows

CONFIDENCES = (0.0, 0.5, 0.8)
"""Pairs with at least this confidence count, one column each."""
ENDS = 0.6
"""Share of a pair's keypoints that must lie where the masks say."""
T = TypeVar("T")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name in ("copies", "both", "authentic"):
        parser.add_argument(f"--{name}", nargs="+", default=[], metavar="NAME=FOLDERS")
    parser.add_argument("--only", default="", help="pictures of --copies whose names start with this")
    parser.add_argument("--limit", type=int, default=0, help="pictures per set, evenly picked (0: all)")
    parser.add_argument("--stages", type=int, default=5, help="pictures per set whose stages are timed")
    return parser.parse_args()


def pictures(folder: Path, start: str, limit: int) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name.startswith(start))
    return found[:: max(1, len(found) // limit)][:limit] if limit else found


def is_right(pair: CopyPair, mask: NDArray[np.bool_], both: bool) -> bool:
    inside = []
    for points in (pair.first, pair.second):
        columns, rows = np.rint(points).astype(int).T
        inside.append(mask[np.clip(rows, 0, mask.shape[0] - 1), np.clip(columns, 0, mask.shape[1] - 1)])
    good = inside[0] & inside[1] if both else inside[0] ^ inside[1]
    return bool(good.mean() > ENDS)


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = function()
    return result, 1000 * (time.process_time() - start)


def stages(rgb: RGB) -> dict[str, float]:
    """CPU milliseconds per megapixel of each stage."""
    took: dict[str, float] = {}
    luma, took["luma"] = timed(lambda: LumaRows(rgb))
    _, took["error level 90"] = timed(lambda: error_level(rgb, 90))
    _, took["error level 75"] = timed(lambda: error_level(rgb, 75))
    difference = CrossDifference(luma)
    offset, took["grid offset"] = timed(lambda: grid_offset(difference))
    _, took["histories"] = timed(lambda: history_likelihood(luma, offset))
    _, took["grid strength"] = timed(lambda: grid_strength(difference, offset))
    _, took["fine structure"] = timed(lambda: fine_energy(luma))
    _, took["copies"] = timed(lambda: find_copies(rgb))
    _, took["all, grid 112"] = timed(lambda: picture_traces(rgb, 112))
    _, took["all, grid 224"] = timed(lambda: picture_traces(rgb, 224))
    return {name: value / (rgb.shape[0] * rgb.shape[1] / 1e6) for name, value in took.items()}


def main() -> None:
    asked = arguments()
    cv2.setNumThreads(1)
    times: dict[str, dict[str, list[float]]] = {}
    for kind in ("copies", "both", "authentic"):
        for entry in getattr(asked, kind):
            name, _, folders = entry.partition("=")
            folder, *masks = (Path(part) for part in folders.split(","))
            found, megapixels, took = [], [], []
            chosen = pictures(folder, asked.only if kind == "copies" else "", asked.limit)
            for path in chosen:
                rgb = read_rgb(path)
                pairs, milliseconds = timed(partial(find_copies, rgb))
                if masks:
                    mask = read_mask(next(masks[0].glob(f"{path.stem}.*")))
                    pairs = [pair for pair in pairs if is_right(pair, mask, kind == "both")]
                best = max((pair.confidence for pair in pairs), default=-1.0)
                found.append([best >= least for least in CONFIDENCES])
                megapixels.append(rgb.shape[0] * rgb.shape[1] / 1e6)
                took.append(milliseconds)
            shares = " / ".join(f"{share:.3f}" for share in np.mean(found, axis=0))
            what = "with a copy found" if kind == "authentic" else "recall"
            print(
                f"{name}: {len(chosen)} pictures, {what} {shares}, {np.mean(took):.0f} ms a picture of "
                f"{np.mean(megapixels):.2f} MP",
                flush=True,
            )
            kept = times.setdefault(name, defaultdict(list))
            for path in chosen[:: max(1, len(chosen) // max(1, asked.stages))][: asked.stages]:
                for stage, value in stages(read_rgb(path)).items():
                    kept[stage].append(value)
    print("confidence of at least", " / ".join(str(least) for least in CONFIDENCES))
    for name, kept in times.items():
        print(f"{name}, ms per megapixel: " + ", ".join(f"{s} {np.median(v):.0f}" for s, v in kept.items()))


if __name__ == "__main__":
    main()
