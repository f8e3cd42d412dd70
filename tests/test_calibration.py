"""Calibration: thresholds come from the split that is for nothing else, and travel in the checkpoint."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import make_set, photo
from PIL import Image

from imltool.files import sha256_file
from imltool.student.checkpoint import read_header
from imltool.training.validation import score_operating_point

CPU = ("--device", "cpu", "-q")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run of a student with traces, validated on one set and calibrated on another."""
    make_set(tmp_path / "data/set", tampered=3, authentic=2)
    make_set(tmp_path / "data/held", tampered=2, authentic=2, seed=50)
    make_set(tmp_path / "data/kept", tampered=3, authentic=20, seed=70)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
name: tiny
init: random
workers: 0
student: {{input_size: 64, traces: [copy, jpeg, noise]}}
data:
  root: {tmp_path / "data"}
  cache: {tmp_path / "cache"}
  train:
    - {{name: set, kind: masks, images: set/tampered, masks: set/masks, variants: 2}}
    - {{name: set, kind: authentic, images: set/authentic, variants: 2}}
  validation:
    - {{name: held, kind: masks, images: held/tampered, masks: held/masks}}
    - {{name: held, kind: authentic, images: held/authentic}}
  calibration:
    - {{name: kept, kind: masks, images: kept/tampered, masks: kept/masks}}
    - {{name: kept, kind: authentic, images: kept/authentic}}
optim: {{steps: 4, batch_size: 2, warmup: 2, precision: fp32}}
validate_every: 4
save_every: 4
"""
    )
    return path


def test_thresholds_come_from_the_calibration_split(config: Path, tmp_path: Path, imltool) -> None:
    run, out = tmp_path / "run", tmp_path / "student.safetensors"
    assert imltool("train", "--config", config, "--out", run, *CPU)[0] == 0
    code, stdout, _ = imltool("model", "release", run, "--out", out, "--json", *CPU)
    assert code == 0
    figures = json.loads(stdout)["calibration"]
    assert figures["n_tampered"] == 3 and figures["n_authentic"] == 20
    header = read_header(out)
    assert header.score_fpr == 0.0 and header.score_authentic == 20
    seen = {item.name: set(item.files) for item in header.validation_sets}
    kept = [*(tmp_path / "data/kept/tampered").iterdir(), *(tmp_path / "data/kept/authentic").iterdir()]
    assert seen["kept"] == {sha256_file(path) for path in kept} and "held" in seen
    bins = header.reliability
    assert sum(found.pictures for found in bins) == 23 and sum(found.tampered for found in bins) == 3
    assert bins[0].low == 0.0 and bins[-1].high == 1.0
    assert all(a.high == b.low for a, b in pairwise(bins))

    # the checkpoint is all that eval and scan need, traces included
    code, stdout, _ = imltool("eval", "--weights", out, "--data", tmp_path / "data/held", "--out", tmp_path / "e", *CPU)
    assert code == 0, stdout
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "case").mkdir(exist_ok=True)
        Image.fromarray(photo(len(name), 120, 90)).save(tmp_path / "case" / name)
    assert imltool("scan", tmp_path / "case", "--weights", out, "--out", tmp_path / "s", *CPU)[0] == 0
    single = ("scan", tmp_path / "case" / "b.jpg", "--weights", out, "--out", tmp_path / "t", "--batch", "2", *CPU)
    assert imltool(*single)[0] == 0
    together = np.asarray(Image.open(next((tmp_path / "s").rglob("maps/b*.png"))), dtype=np.int64)
    alone = np.asarray(Image.open(next((tmp_path / "t").rglob("maps/b*.png"))), dtype=np.int64)
    assert np.abs(together - alone).max() <= 2


@pytest.mark.parametrize(("count", "above"), [(5, 0), (19, 0), (20, 0), (39, 1), (100, 4), (199, 9)])
def test_the_operating_point_leaves_a_new_picture_five_percent(count: int, above: int) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(count) / count).tolist()
    point = score_operating_point({"a": scores})
    assert sum(score > point for score in scores) == above
    # slow oracle: of count + 1 exchangeable pictures, how often is the new one above the point of the others?
    if count in (19, 39):
        pool = np.arange(count + 1) / (count + 1)
        rests = [(new, [score for score in pool if score != new]) for new in pool]
        assert np.mean([new > score_operating_point({"a": rest}) for new, rest in rests]) <= 0.05 + 1e-9
    assert score_operating_point({"a": scores, "b": [2.0, 1.0]}) == 2.0


def test_a_picture_cannot_validate_and_calibrate(config: Path, tmp_path: Path, imltool) -> None:
    text = config.read_text().replace("images: kept/authentic", "images: held/authentic")
    config.write_text(text)
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "run", *CPU)
    assert code == 1 and "calibration set kept are in validation set held" in stderr


@pytest.mark.parametrize(("name", "known"), [("boxprompt", True), ("boxpromt", False)])
def test_a_student_is_known_by_its_name(name: str, known: bool, imltool) -> None:
    code, stdout, stderr = imltool("model", "info", "--weights", name, "--json")
    if known:
        assert code == 0 and json.loads(stdout)["name"] == name
    else:
        assert code == 1 and "known student: boxprompt" in stderr
