"""Sources of synthetic forgeries, and a forge over them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from helpers.pictures import write_rgb
from imltool.pictures.images import write_mask
from imltool.synth.forge import Forge
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

BEFORE = {f"{who}_{step}": 0 for who in ("host", "donor") for step in ("jpeg", "resample", "noise")}
LOSSLESS = BEFORE | {"final_png": 1, "resize": 0, "blur": 0, "noise": 0, "double": 0, "social": 0}


def make_sources(root: Path) -> Path:
    """Three generated photos (smooth colour noise with grain) and two pictures with a masked ellipse."""
    rng = np.random.default_rng(1)

    def photo(height: int, width: int) -> np.ndarray:
        coarse = rng.integers(40, 215, (height // 20, width // 20, 3)).astype(np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)  # type: ignore[no-any-return]

    for index, (height, width) in enumerate([(220, 300), (300, 220), (240, 240)]):
        write_rgb(root / "photos" / f"photo{index}.png", photo(height, width))
    for index in range(2):
        mask = np.zeros((200, 260), np.uint8)
        cv2.ellipse(mask, (130, 100), (60, 35), 20 * index, 0, 360, 1, -1)
        write_rgb(root / "objects" / f"object{index}.png", photo(200, 260))
        write_mask(root / "object_masks" / f"object{index}.png", mask > 0)
    return root


def make_forge(sources: Path, **changes: object) -> Forge:
    settings = SynthSettings.model_validate({"long_side": [160, 224]} | changes)
    pool = SourcePool.from_folders([sources / "photos"], [(sources / "objects", sources / "object_masks")])
    return Forge(settings, pool)
