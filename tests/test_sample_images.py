"""The shipped sample pictures: labelled, licensed, small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imltool.data.box_formats import read_boxes
from imltool.data.boxes import match_boxes
from imltool.data.folder import read_folder
from imltool.pictures.images import read_mask, read_rgb, read_size

ROOT = Path(__file__).parents[1] / "sample_images"


@pytest.mark.parametrize(("name", "tampered", "authentic"), [("splices", 6, 5), ("copymoves", 5, 5)])
def test_a_set_is_complete_and_its_boxes_hold_its_masks(name: str, tampered: int, authentic: int) -> None:
    samples = read_folder(ROOT / name)
    assert sum(sample.tampered for sample in samples) == tampered
    assert len(samples) == tampered + authentic
    report = match_boxes(ROOT / name / "tampered", read_boxes(ROOT / name / "boxes.json"))
    assert not report.faults and not report.without_boxes
    boxes = {f"tampered/{item.name}": item.boxes for item in report.matched}
    for sample in samples:
        height, width = read_rgb(sample.image).shape[:2]
        assert (width, height) == read_size(sample.image) and 384 <= max(width, height) <= 1200
        if sample.mask is None:
            continue
        mask = read_mask(sample.mask, (width, height))
        assert 0.005 < mask.mean() < 0.2
        inside = np.zeros_like(mask)
        for x1, y1, x2, y2 in boxes[sample.name]:
            inside[round(float(y1)) : round(float(y2)), round(float(x1)) : round(float(x2))] = True
        assert mask[inside].sum() > 0.85 * mask.sum()


def test_every_picture_has_a_licence_and_all_are_small() -> None:
    text = (ROOT / "LICENSES.md").read_text(encoding="utf-8")
    names = [f"{name}/{sample.name}" for name in ("splices", "copymoves") for sample in read_folder(ROOT / name)]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 8_000_000


def test_one_portrait_lies_on_its_side() -> None:
    with Image.open(ROOT / "copymoves/tampered/window_dog.jpg") as picture:
        assert picture.width > picture.height and picture.getexif()[0x0112] == 6
    assert read_rgb(ROOT / "copymoves/tampered/window_dog.jpg").shape[:2] == (900, 599)
