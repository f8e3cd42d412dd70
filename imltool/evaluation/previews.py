"""Small copies of maps, kept beside the results so that galleries need no second prediction."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from imltool.data.folder import Sample
from imltool.evaluation.runner import OnMap
from imltool.files import write_bytes, writing
from imltool.pictures.draw import colour_map, fit
from imltool.pictures.images import RGB, Map, encode_png

FOLDER = "previews"
SIDE = 240
"""Longest side of a preview in pixels."""


def preview_path(out: Path, method: str, set_name: str, name: str) -> Path:
    """Where the preview of a picture's map lies: its name is a hash, so that any label and any path will do."""
    digest = hashlib.sha256("\0".join((method, set_name, name)).encode()).hexdigest()
    return out / FOLDER / f"{digest[:24]}.png"


def preview_writer(out: Path, method: str, set_name: str) -> OnMap:
    """Writes an 8-bit preview of each map it is given. Raises `OutputError`."""

    def write(sample: Sample, values: Map) -> None:
        small = np.rint(fit(values, SIDE) * 255.0).astype(np.uint8)
        write_bytes(preview_path(out, method, set_name, sample.name), encode_png(small))

    return write


def read_preview(path: Path) -> RGB | None:
    """A preview in colour, uint8 RGB [H,W,3]; None when there is none or it is damaged."""
    try:
        with Image.open(path) as picture:
            return colour_map(np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255.0))
    except (OSError, SyntaxError):
        return None


def remove_previews(out: Path) -> None:
    """Delete the previews in an evaluation's folder, and nothing else. Raises `OutputError`."""
    folder = out / FOLDER
    if not folder.is_dir():
        return
    with writing(folder):
        for path in folder.glob("*.png"):
            if len(path.stem) == 24 and set(path.stem) <= set("0123456789abcdef"):
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
