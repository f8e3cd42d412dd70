"""Generated pictures and data sets. Nothing here replaces a part of imltool."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.pictures.images import write_mask

Picture = NDArray[np.uint8]


def photo(seed: int, width: int = 96, height: int = 64) -> Picture:
    """A smooth colour field with texture, uint8 RGB: compresses like a photo, differs for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return np.clip(smooth + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


def forged(seed: int, width: int = 96, height: int = 64) -> tuple[Picture, NDArray[np.bool_]]:
    """A picture with a clearly different disc pasted in, and its mask."""
    rgb, other = photo(seed, width, height), photo(seed + 1000, width, height)
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height
    rows, columns = np.mgrid[:height, :width]
    mask = (columns - x) ** 2 + (rows - y) ** 2 < (0.22 * height) ** 2
    return np.where(mask[..., None], 255 - other, rgb).astype(np.uint8), mask


def write_rgb(path: Path, rgb: Picture) -> None:
    """Save a picture in the format of its extension; create its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


def make_set(root: Path, tampered: int = 3, authentic: int = 2, seed: int = 0) -> Path:
    """A data set in the folder layout."""
    for index in range(tampered):
        rgb, mask = forged(seed + index)
        for folder in ("tampered", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(root / "tampered" / f"t{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"t{index}.png")
    for index in range(authentic):
        (root / "authentic").mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(seed + 500 + index)).save(root / "authentic" / f"a{index}.jpg", quality=90)
    return root


def noise_set(root: Path, tampered: int = 3, authentic: int = 2, seed: int = 0) -> Path:
    """Noise pictures 50x40; picture i has a tampered rectangle of 10·(i+1) by 20 pixels."""
    rng = np.random.default_rng(seed)
    for i in range(tampered):
        write_rgb(root / "tampered" / f"{i}.png", rng.integers(0, 255, (40, 50, 3), dtype=np.uint8))
        mask = np.zeros((40, 50), dtype=np.bool_)
        mask[5:25, 5 : 15 + 10 * i] = True
        write_mask(root / "masks" / f"{i}.png", mask)
    for i in range(authentic):
        write_rgb(root / "authentic" / f"a{i}.png", rng.integers(0, 255, (33, 50, 3), dtype=np.uint8))
    return root


def textured(seed: int, width: int = 320, height: int = 240) -> np.ndarray:
    """RGB noise at several scales: has keypoints everywhere and no repetitions."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for size, strength in ((40, 60.0), (12, 35.0), (5, 20.0), (2, 6.0)):
        coarse = rng.normal(0, 1, (height // size + 2, width // size + 2, 3))
        total += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total + 128, 0, 255).astype(np.uint8)
