"""Time saved by JPEG decoding at a fraction of the size, and its effect on maps.

A JPEG can be decoded faster at 1/2, 1/4 or 1/8 of its size, without the higher frequencies of its blocks. A
student with 224 input pixels could use such a picture. Reported by the smallest fraction that gives at least
twice the input size of the student: milliseconds on one thread from file to network input, full and reduced, and the
change of map values and scores of a student without traces. Traces always need the full picture.

Usage: python benchmarks/shrunk_decoding.py FOLDER [CHECKPOINT]
"""

import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from imltool.files import walk_images
from imltool.inference.localizer import Localizer, image_score, resize_input
from imltool.pictures.images import read_rgb
from imltool.pictures.tags import ORIENTATION


def shrunk(path: Path, least: int) -> tuple[np.ndarray, int]:
    """The picture decoded at the smallest fraction with `least` pixels per side or more, and the inverse fraction."""
    with Image.open(path) as picture:
        width = picture.width
        picture.draft("RGB", (least, least))
        rgb = np.asarray(picture.convert("RGB"))
    return rgb, round(width / rgb.shape[1])


def is_upright_jpeg(path: Path) -> bool:
    with Image.open(path) as picture:
        return picture.format == "JPEG" and picture.mode == "RGB" and picture.getexif().get(ORIENTATION, 1) == 1


def main() -> None:
    cv2.setNumThreads(1)
    localizer = Localizer.load(Path(sys.argv[2] if len(sys.argv) > 2 else "boxprompt"), "cpu")
    if localizer.sees_traces:
        sys.exit("this student uses traces, which need the full picture")
    side = localizer.header.input_size
    found = defaultdict(list)
    for path in filter(is_upright_jpeg, walk_images(Path(sys.argv[1]))):
        times, views = [], []
        for _ in range(3):
            begun = time.perf_counter()
            whole = read_rgb(path)
            views = [resize_input(whole, side)]
            between = time.perf_counter()
            small, fraction = shrunk(path, 2 * side)
            views.append(resize_input(small, side))
            times.append((between - begun, time.perf_counter() - between))
        if fraction > 1:
            one, other = localizer.probabilities(views, None)
            moved = float(np.abs(one - other).max()), abs(image_score(one) - image_score(other))
            found[fraction].append((whole.size / 3e6, *(1000 * min(each) for each in zip(*times, strict=True)), *moved))
    print(f"{localizer.header.name} by {localizer.engine}")
    print("| decoded at | pictures | megapixels | whole, ms | shrunk, ms | map moves by at most | score moves by |")
    print("|---|---|---|---|---|---|---|")
    for fraction, rows in sorted(found.items()):
        pixels, whole_ms, shrunk_ms, moves, score = zip(*rows, strict=True)
        print(
            f"| 1/{fraction} | {len(rows)} | {statistics.median(pixels):.1f} | {statistics.median(whole_ms):.1f} | "
            f"{statistics.median(shrunk_ms):.1f} | {statistics.median(moves):.3f}, {max(moves):.3f} | "
            f"{statistics.median(score):.3f}, {max(score):.3f} |"
        )


if __name__ == "__main__":
    main()
