"""The pictures of a report: best, median and worst of each method on each set, with truth and map."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imltool.data.folder import Sample
from imltool.data.samples import read_sample_mask
from imltool.errors import ImlError
from imltool.evaluation.previews import preview_path, read_preview
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB, encode_jpeg, read_rgb
from imltool.pictures.sheet import TRUTH, draw_contours

SHOWN = 3
SIDE = 200


@dataclass(frozen=True)
class Tile:
    """One picture of a gallery: its name, figure, and data URIs (None where a file can no longer be read)."""

    name: str
    figure: float
    picture: str | None
    truth: str | None
    map: str | None


@dataclass(frozen=True)
class Gallery:
    """Best, median or worst pictures of one method on one set."""

    set_name: str
    method: str
    heading: str
    tiles: list[Tile]


def galleries(
    out: Path, lines: Sequence[Mapping[str, Any]], samples: Mapping[tuple[str, str], Sample]
) -> list[Gallery]:
    """Galleries of every method and set, in the order of `lines`.

    Args:
        lines: rows of `per_image.csv`.
        samples: (set, name) → sample.
    """
    groups: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for line in lines:
        if line["status"] == "ok" and line.get("f1") not in (None, ""):
            groups.setdefault((line["set"], line["method"]), []).append((float(line["f1"]), line["image"]))
    found = []
    for (set_name, method), rows in groups.items():
        ranked = sorted(rows, key=lambda row: (-row[0], row[1]))
        for heading, part in choose(ranked).items():
            tiles = [
                make_tile(samples.get((set_name, name)), name, f1, preview_path(out, method, set_name, name))
                for f1, name in part
            ]
            found.append(Gallery(set_name, method, heading, tiles))
    return found


def choose(ranked: Sequence[tuple[float, str]]) -> dict[str, list[tuple[float, str]]]:
    """Best, median and worst three of a ranking (best first); a picture is shown once, in the first that it fits."""
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    parts = {
        "best": list(range(min(SHOWN, len(ranked)))),
        "worst": list(range(max(0, len(ranked) - SHOWN), len(ranked)))[::-1],
        "median": list(range(middle, min(middle + SHOWN, len(ranked)))),
    }
    shown: set[int] = set()
    chosen: dict[str, list[tuple[float, str]]] = {}
    for heading, part in parts.items():
        chosen[heading] = [ranked[i] for i in part if i not in shown]
        shown |= set(part)
    return {heading: chosen[heading] for heading in ("best", "median", "worst") if chosen[heading]}


def make_tile(sample: Sample | None, name: str, figure: float, preview: Path) -> Tile:
    """Shrink a picture, its truth and its map's preview to data URIs."""
    found = read_preview(preview)
    picture, truth = picture_and_truth(sample, SIDE) if sample is not None else (None, None)
    return Tile(name, figure, _uri(picture), _uri(truth), _uri(None if found is None else fit(found, SIDE)))


def picture_and_truth(sample: Sample, side: int) -> tuple[RGB | None, RGB | None]:
    """A picture with the outline of its truth, and the truth, uint8 RGB at most `side` pixels; None when unreadable."""
    try:
        rgb = read_rgb(sample.image)
        small = fit(rgb, side)
        if sample.mask is None:
            return small, None
        mask = read_sample_mask(sample)
    except (ImlError, MemoryError):
        return None, None
    size = (small.shape[1], small.shape[0])
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    grey = np.rint(share * 255).astype(np.uint8)
    return draw_contours(small, share > 0.5, TRUTH, 1), np.repeat(grey[..., None], 3, axis=2)


def _uri(rgb: RGB | None) -> str | None:
    if rgb is None:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(rgb, 75)).decode()}"
