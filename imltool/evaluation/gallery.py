"""Pictures of a report: best, median and worst of each method on each set, with truth and map.

Small copies of maps are stored with the results, so that a gallery needs no second prediction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from imltool.data.folder import Sample
from imltool.data.samples import read_sample_mask
from imltool.errors import ImlError
from imltool.evaluation.rows import ImageRow
from imltool.files import write_bytes, writing
from imltool.pictures.draw import colour_map, fit
from imltool.pictures.images import RGB, Map, encode_jpeg, encode_png, read_rgb
from imltool.pictures.sheet import TRUTH, draw_contours
from imltool.texts import data_uri

SHOWN = 3
SIDE = 480
"""Longest side in pixels of pictures and maps in the report, where they are shown small and enlarged by a click."""
PREVIEWS = "previews"


@dataclass(frozen=True)
class Tile:
    """A picture of a gallery: its name, F1, and data URIs (None for files that can no longer be read)."""

    name: str
    f1: float
    picture: str | None
    truth: str | None
    map: str | None


@dataclass(frozen=True)
class Gallery:
    """Best, median or worst pictures of a method on a set."""

    set_name: str
    method: str
    heading: str
    tiles: list[Tile]


def galleries(
    out: Path, rows: Mapping[tuple[str, str], Sequence[ImageRow]], samples: Mapping[tuple[str, str], Sample]
) -> list[Gallery]:
    """Galleries of every method and set, in the order of `rows`.

    Args:
        rows: (set, method) → rows.
        samples: (set, name) → sample.
    """
    found = []
    for (set_name, method), scored in rows.items():
        known = [(f1, row.name) for row in scored if (f1 := row.metric("f1")) is not None]
        ranked = sorted(known, key=lambda one: (-one[0], one[1]))
        for heading, part in choose(ranked).items():
            tiles = [
                make_tile(samples.get((set_name, name)), name, f1, preview_path(out, method, set_name, name))
                for f1, name in part
            ]
            found.append(Gallery(set_name, method, heading, tiles))
    return found


def choose(ranked: Sequence[tuple[float, str]]) -> dict[str, list[tuple[float, str]]]:
    """Best, median and worst three of a ranking (best first); a picture is shown only in the first that applies."""
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


def make_tile(sample: Sample | None, name: str, f1: float, preview: Path) -> Tile:
    """Shrink a picture, its truth and its map's preview to data URIs."""
    found = read_preview(preview)
    picture, truth = picture_and_truth(sample, SIDE) if sample is not None else (None, None)
    return Tile(name, f1, _uri(picture), _uri(truth), _uri(None if found is None else fit(found, SIDE)))


def picture_and_truth(sample: Sample, side: int) -> tuple[RGB | None, RGB | None]:
    """A picture with the outline of its truth, and the truth, uint8 RGB, at most `side` pixels; None if unreadable."""
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
    return None if rgb is None else data_uri("jpeg", encode_jpeg(rgb, 75))


def preview_path(out: Path, method: str, set_name: str, name: str) -> Path:
    """Path of the preview of a picture's map; its name is a hash, so that all labels and paths are possible."""
    digest = hashlib.sha256(f"{method}\0{set_name}\0{name}".encode()).hexdigest()
    return out / PREVIEWS / f"{digest[:24]}.png"


def write_preview(path: Path, values: Map) -> None:
    """Write an 8-bit preview of a map, float32 [H,W] in [0,1]. Raises `OutputError`."""
    write_bytes(path, encode_png(np.rint(fit(values, SIDE) * 255.0).astype(np.uint8)))


def read_preview(path: Path) -> RGB | None:
    """A preview in colour, uint8 RGB [H,W,3]; None if it is missing or damaged."""
    try:
        with Image.open(path) as picture:
            return colour_map(np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255.0))
    except (OSError, SyntaxError):
        return None


def remove_previews(out: Path) -> None:
    """Delete the previews in an evaluation's folder, and nothing else. Raises `OutputError`."""
    folder = out / PREVIEWS
    if not folder.is_dir():
        return
    with writing(folder):
        for path in folder.glob("*.png"):
            if len(path.stem) == 24 and set(path.stem) <= set("0123456789abcdef"):
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
