"""Pseudo-masks made by a study for its rows: boxes, teachers and quality."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import results_in
from helpers.pictures import make_set

from imltool.evaluation.events import Advanced
from imltool.pictures.images import read_mask, write_mask
from imltool.study.labels import OneEmbedding, label_overrides, label_quality, make_labels
from imltool.study.runner import data_digest
from imltool.study.settings import LabelSettings
from imltool.teacher.non_learned import BoxTeacher
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.training.settings import TrainSettings
from imltool.training.sources import read_source

QUICK = ("--tiny", "--steps", "1", "--device", "cpu", "-q")


def test_jittered_boxes_give_pseudo_masks_for_training(tmp_path: Path, imltool: Imltool) -> None:
    root, out = make_set(tmp_path / "set", 3, 1), tmp_path / "out"
    arguments = ("--teacher", "box", "--data", f"set={root}", "--out", out, "--only", "jitter-20")
    assert imltool("study", "boxes", *QUICK, *arguments)[0] == 0
    results = results_in(out)
    quality = results["rows"]["jitter-20"]["label_quality"]
    ious = []
    for path in (root / "masks").iterdir():
        truth = read_mask(path)
        height, width = truth.shape
        rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        tall, wide = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        box = np.zeros_like(truth)
        y1, y2 = max(0, rows[0] - 0.2 * tall), min(height, rows[-1] + 1 + 0.2 * tall)
        x1, x2 = max(0, columns[0] - 0.2 * wide), min(width, columns[-1] + 1 + 0.2 * wide)
        centres_y, centres_x = np.arange(height) + 0.5, np.arange(width) + 0.5
        box[np.ix_((centres_y >= y1) & (centres_y < y2), (centres_x >= x1) & (centres_x < x2))] = True
        ious.append((box & truth).sum() / (box | truth).sum())
    assert quality["images"] == 3 and quality["iou_mean"] == pytest.approx(np.mean(ious), abs=0.02)
    assert quality["iou_mean"] < 0.6, "the disc fills 79 % of its exact box and 40 % of one that is 1.4 times as wide"
    used = json.loads((out / "jitter-20/seed-0/parameters.json").read_text())["data"]["train"][0]
    assert used["kind"] == "pseudo" and Path(used["pseudo"]).is_relative_to(out)


def test_label_quality_counts_shares_of_pictures(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", 2, 0)
    rows, columns = np.nonzero(read_mask(root / "masks/t0.png"))
    boxes = tmp_path / "boxes.csv"
    tight = f"{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}"
    height, width = read_mask(root / "masks/t1.png").shape
    boxes.write_text(f"image,x1,y1,x2,y2\nt0.png,{tight}\nt1.png,0,0,{width},{height}\n")
    out = tmp_path / "out"
    assert imltool("pseudo", root / "tampered", "--boxes", boxes, "--teacher", "box", "--out", out, "-q")[0] == 0
    source = {"name": "set", "kind": "pseudo", "images": str(root / "tampered"), "pseudo": str(out)}
    found = label_quality(TrainSettings.model_validate({"data": {"train": [source]}}))
    assert found is not None and (found.images, found.under_half, found.fallback) == (2, 0.5, 0)


def test_drawn_boxes_are_used_with_other_teachers(tmp_path: Path, imltool: Imltool) -> None:
    images = make_set(tmp_path / "set", 3, 0) / "tampered"
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2\n" + "".join(f"t{i}.png,{10 + i},8,60,50\n" for i in range(3))
    )
    pseudo = (
        "pseudo",
        images,
        "--boxes",
        tmp_path / "boxes.csv",
        "--teacher",
        "box",
        "--out",
        tmp_path / "drawn",
        "-q",
    )
    assert imltool(*pseudo)[0] == 0
    (tmp_path / "train.txt").write_text("tampered/t0.png\ntampered/t2.png\n")
    source = {"name": "set", "kind": "pseudo", "images": str(images), "pseudo": str(tmp_path / "drawn")}
    data = {"train": [{**source, "list": str(tmp_path / "train.txt")}]}
    settings = TrainSettings.model_validate({"data": data})
    labels = LabelSettings(teacher="grabcut")
    made = list(make_labels(settings, [labels], tmp_path / "out", "cpu"))
    assert sum(isinstance(event, Advanced) for event in made) == 2
    again = make_labels(settings, [labels], tmp_path / "out", "cpu")
    assert not any(isinstance(event, Advanced) for event in again), "labels are made once"
    kind, folder = label_overrides(settings, labels, tmp_path / "out")
    assert kind == "data.train.0.kind=pseudo"
    rows = read_pseudo(Path(json.loads(folder.partition("=")[2])))
    assert [[box.box for box in row.boxes] for row in rows] == [[(10, 8, 60, 50)], [(12, 8, 60, 50)]]
    assert {row.teacher for row in rows} == {"grabcut"}
    found = label_quality(settings)
    assert found is not None and found.images == 2 and 0.1 < found.iou_mean < 0.6
    before = data_digest(settings)
    (tmp_path / "drawn/masks/t2.png").unlink()
    assert data_digest(settings) != before
    account = read_source(settings.data, settings.data.train[0]).account  # training would refuse to start
    assert account.left_out == {"file missing": ["t2.png"]} and account.share > settings.data.max_left_out
    (tmp_path / "drawn/masks/t2.png").write_bytes((tmp_path / "drawn/masks/t1.png").read_bytes())
    (images / "t0.png").write_bytes((images / "t0.png").read_bytes() + b"\0")
    assert data_digest(settings) != before


@pytest.mark.slow
def test_pseudo_masks_of_another_study_are_reused_for_equal_boxes(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", 3, 1)
    options = (*QUICK, "--teacher", "box", "--data", f"set={root}", "--only", "jitter-20")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert imltool("study", "boxes", *options, "--out", first)[0] == 0
    (made,) = first.glob("labels/*/0")
    marked = next((made / "masks").iterdir())
    # more steps: the run cannot be reused, but its pseudo-masks can
    assert imltool("study", "boxes", *options, "--steps", "2", "--reuse", first, "--out", second)[0] == 0
    taken = second / made.relative_to(first)
    assert read_pseudo(taken) == read_pseudo(made), "rows are copied, including their seconds"
    assert (taken / "masks" / marked.name).read_bytes() == marked.read_bytes()
    mask = sorted((root / "masks").iterdir())[0]
    write_mask(mask, np.roll(read_mask(mask), 3, axis=1))
    assert imltool("study", "boxes", *options, "--reuse", first, "--out", third)[0] == 0
    other = read_pseudo(third / made.relative_to(first))
    assert [row.boxes for row in other] != [row.boxes for row in read_pseudo(made)]


def test_picture_is_embedded_once_for_all_its_boxes() -> None:
    class Counting(BoxTeacher):
        embedded = 0

        def embed(self, rgb: Any) -> Any:
            self.embedded += 1
            return super().embed(rgb)

    inner = Counting()
    teacher, first, second = OneEmbedding(inner), np.zeros((8, 8, 3), np.uint8), np.ones((8, 8, 3), np.uint8)
    for rgb in (first, first.copy(), second, second, first):
        assert teacher.embed(rgb) is not None
    assert inner.embedded == 3 and teacher.name == "box"
    (mask,) = teacher.decode(teacher.embed(first), np.array([[1, 1, 4, 4]], np.float32))
    assert mask.mask.sum() == 9


@pytest.mark.parametrize("order", ["boxes first", "masks first"])
def test_given_boxes_are_kept_beside_a_source_with_pixel_masks(tmp_path: Path, imltool: Imltool, order: str) -> None:
    root = make_set(tmp_path / "set", 2, 0)
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\nt0.png,1,2,60,50\n")
    drawn = tmp_path / "drawn"
    pseudo = ("pseudo", root / "tampered", "--boxes", tmp_path / "boxes.csv", "--teacher", "box", "--out", drawn, "-q")
    assert imltool(*pseudo)[0] == 0
    sources: list[dict[str, Any]] = [
        {"kind": "pseudo", "pseudo": str(drawn)},
        {"kind": "masks", "masks": str(root / "masks")},
    ]
    for number, source in enumerate(sources):
        (tmp_path / f"{number}.txt").write_text(f"tampered/t{number}.png\n")
        source |= {"name": f"s{number}", "images": str(root / "tampered"), "list": str(tmp_path / f"{number}.txt")}
    train = sources if order == "boxes first" else sources[::-1]
    labels = LabelSettings(teacher="box")
    list(make_labels(TrainSettings.model_validate({"data": {"train": train}}), [labels], tmp_path, "cpu"))
    rows = {row.image: row.boxes[0].box for row in read_pseudo(tmp_path / "labels" / labels.folder / "0")}
    assert rows["t0.png"] == (1, 2, 60, 50), "the given box"
    truth = read_mask(root / "masks/t1.png")
    left, top, right, bottom = rows["t1.png"]  # one made from the mask, at most 15 % too large on a side
    height, width = (int(np.ptp(found)) + 1 for found in np.nonzero(truth))
    assert width * 0.85 < right - left < width * 1.35 and height * 0.85 < bottom - top < height * 1.35
