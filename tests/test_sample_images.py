"""The shipped sample pictures: labels, licences, file sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imltool.data.box_formats import read_boxes
from imltool.data.boxes import match_boxes
from imltool.data.folder import read_folder
from imltool.pictures.images import read_mask, read_rgb, read_size
from imltool.scan.results import read_results

ROOT = Path(__file__).parents[1] / "sample_images"


@pytest.mark.parametrize(("name", "tampered", "authentic"), [("splices", 6, 5), ("copymoves", 5, 5)])
def test_sample_set_is_complete_and_boxes_cover_masks(name: str, tampered: int, authentic: int) -> None:
    samples = read_folder(ROOT / name).samples
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


def test_every_sample_has_a_licence_and_total_size_is_small() -> None:
    text = (ROOT / "LICENSES.md").read_text(encoding="utf-8")
    names = [
        f"{name}/{sample.name}" for name in ("splices", "copymoves") for sample in read_folder(ROOT / name).samples
    ]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 8_000_000


@pytest.mark.slow
def test_documented_results_of_the_default_student_match_a_scan(
    tmp_path: Path, imltool: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "out"
    assert imltool("scan", ROOT, "--out", out, "--device", "cpu", "-q")[0] == 0
    results = {result.path.rsplit("/", 1)[-1]: result for result in read_results(out)}
    masks = {
        sample.name: sample.mask for name in ("splices", "copymoves") for sample in read_folder(ROOT / name).samples
    }
    documented = re.findall(r"^\| (`.+?) \| ([\d., –]+) \| ([a-z ]+) \|", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert len(documented) > 8
    named = set()
    for names, scores, verdict in documented:
        for number, name in enumerate(re.findall(r"`(?:\w+/\w+/)?([^`]+)`", names)):
            result = results[name]
            named.add(result.path)
            assert result.verdict == verdict, name
            if scores.strip() != "–":
                found, truth = result.read_mask(), masks[f"tampered/{name}"]
                assert truth
                mask = read_mask(truth, (found.shape[1], found.shape[0]))
                f1 = 2 * (mask & found).sum() / max(mask.sum() + found.sum(), 1)
                every = [float(score) for score in scores.split(",")]
                assert f1 == pytest.approx(every[min(number, len(every) - 1)], abs=0.02), name
    flagged = {result.path for result in results.values() if result.verdict != "no indication"}
    forged = {result.path for result in results.values() if "/tampered/" in result.path}
    assert flagged | forged <= named, "every forgery and every flagged picture is in the table"


def test_one_portrait_is_rotated_by_exif() -> None:
    with Image.open(ROOT / "copymoves/tampered/window_dog.jpg") as picture:
        assert picture.width > picture.height and picture.getexif()[0x0112] == 6
    assert read_rgb(ROOT / "copymoves/tampered/window_dog.jpg").shape[:2] == (900, 599)
