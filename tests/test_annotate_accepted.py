"""Accepted masks: their encoding, and how `imltool pseudo` uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.pictures import photo, write_rgb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from imltool.data.box_writers import outlines
from imltool.data.rle import check_rle, decode_mask, encode_mask, runs_of
from imltool.errors import DataError
from imltool.pictures.images import read_mask, write_mask
from imltool.teacher.pseudo_rows import read_pseudo

SIZE = (64, 96)
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(MASKS)
def test_mask_encoding_round_trips_and_matches_coco_run_lengths(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    assert np.array_equal(decode_mask(check_rle(json.loads(json.dumps(rle)), "here")), mask)
    runs = runs_of(mask)
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    assert np.array_equal(flat.reshape(mask.shape, order="F"), mask)
    theirs = coco.decode({"size": rle["size"], "counts": rle["counts"].encode()})
    assert np.array_equal(theirs, mask)
    again = coco.frPyObjects({"size": rle["size"], "counts": runs}, *rle["size"])
    assert again["counts"].decode() == rle["counts"]


@given(st.text(max_size=30), st.lists(st.integers(1, 40), min_size=2, max_size=2))
def test_damaged_run_lengths_raise_only_data_errors(counts: str, size: list[int]) -> None:
    try:
        mask = decode_mask(check_rle({"size": size, "counts": counts}, "here"))
    except DataError:
        return
    assert mask.shape == tuple(size)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [[1, 2, 3, 4]],
        {"size": [2, 2], "counts": [4]},
        {"size": [2], "counts": "4"},
        {"size": [True, 2], "counts": ""},
    ],
)
def test_other_segmentation_types_are_not_accepted_as_masks(value: Any) -> None:
    with pytest.raises(DataError, match=r"^here"):
        check_rle(value, "here")


def document(**annotation: Any) -> dict[str, Any]:
    """One picture with two boxes, the first with the given annotation keys."""
    first = {"id": 1, "image_id": 1, "bbox": [10, 10, 30, 20], **annotation}
    second = {"id": 2, "image_id": 1, "bbox": [60, 30, 20, 20]}
    image = {"id": 1, "file_name": "a.png", "width": SIZE[1], "height": SIZE[0]}
    return {"images": [image], "annotations": [first, second], "categories": []}


@pytest.fixture
def blob() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[12:20, 5:30] = True
    return mask


def make(root: Path, content: dict[str, Any]) -> tuple[Path, Path]:
    write_rgb(root / "images/a.png", photo(3))
    (root / "boxes.json").write_text(json.dumps(content))
    return root / "images", root / "boxes.json"


def filled(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_pseudo_uses_accepted_masks_and_the_teacher_for_other_boxes(
    tmp_path: Path, blob: Any, imltool: Imltool
) -> None:
    images, boxes = make(tmp_path, document(imltool={"accepted": "mask", "mask": encode_mask(blob)}))
    write_mask(tmp_path / "truth/a.png", blob)
    out = tmp_path / "out"
    command = ("pseudo", images, "--boxes", boxes, "--out", out, "--teacher", "grabcut", "--set", "min_coverage=1")
    assert imltool(*command, "--gt", tmp_path / "truth")[0] == 0
    (row,) = (json.loads(line) for line in (out / "pseudo.jsonl").read_text().splitlines())
    assert [record["used"] for record in row["boxes"]] == ["annotator", "box"]
    assert row["boxes"][0]["coverage"] == pytest.approx(20 * 8 / (30 * 20), abs=1e-4)
    assert np.array_equal(read_mask(out / row["mask"]), blob | filled(60, 30, 80, 50))
    assert (
        json.loads((out / "audit.json").read_text())["fallback"] == 1
    )  # the second box; an accepted mask is not a fallback
    boxes.write_text(json.dumps(document(imltool={"accepted": "box"})))
    assert imltool(*command)[0] == 0  # another label of the same box: the mask is made again
    (made,) = read_pseudo(out)
    assert np.array_equal(read_mask(out / made.mask), filled(10, 10, 40, 30) | filled(60, 30, 80, 50))


def test_accepted_box_is_filled_and_plain_segmentation_is_ignored(tmp_path: Path, blob: Any, imltool: Imltool) -> None:
    images, boxes = make(tmp_path, document(imltool={"accepted": "box"}))
    assert imltool("pseudo", images, "--boxes", boxes, "--out", tmp_path / "kept", "--teacher", "box")[0] == 0
    both = filled(10, 10, 40, 30) | filled(60, 30, 80, 50)
    assert np.array_equal(read_mask(tmp_path / "kept/masks/a.png"), both)
    boxes.write_text(json.dumps(document(segmentation=[[1, 1, 50, 1, 50, 50]])))
    assert imltool("pseudo", images, "--boxes", boxes, "--out", tmp_path / "plain", "--teacher", "box")[0] == 0
    assert np.array_equal(read_mask(tmp_path / "plain/masks/a.png"), both)


@pytest.mark.parametrize(
    ("annotation", "code", "message"),
    [
        ({"imltool": {"accepted": "mask"}}, 3, "annotation 1: imltool.mask is no mask"),
        ({"imltool": {"accepted": "yes"}}, 3, "expected mask, box or null"),
        ({"imltool": {"accepted": "mask", "mask": {"size": [64, 96], "counts": "0"}}}, 3, "do not fill 96x64"),
        ({"imltool": {"accepted": "mask", "mask": {"size": [9, 9], "counts": "0"}}}, 3, "of another size"),
    ],
)
def test_damaged_accepted_mask_is_a_one_line_error(
    tmp_path: Path, imltool: Imltool, annotation: dict[str, Any], code: int, message: str
) -> None:
    images, boxes = make(tmp_path, document(**annotation))
    found, _, stderr = imltool("pseudo", images, "--boxes", boxes, "--out", tmp_path / "o", "--teacher", "box", "-q")
    assert found == code and message in stderr.splitlines()[0] and "Traceback" not in stderr


def test_outlines_follow_pixel_edges() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[2, 3] = mask[5:6, 10:30] = True
    mask[10:30, 8] = mask[20:24, 8:40] = True
    assert outlines(mask[:4]) == [[3.0, 2.0, 3.0, 3.0, 4.0, 3.0, 4.0, 2.0]]
    assert sum(_area(np.reshape(one, (-1, 2))) for one in outlines(mask)) == mask.sum()


@given(MASKS)
def test_outlines_rasterized_by_pycocotools_give_the_mask_without_holes(mask: np.ndarray) -> None:
    polygons = outlines(mask)
    if not mask.any():
        assert polygons == []
        return
    drawn = coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.shape))).astype(bool)
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, regions = cv2.connectedComponents(outside, connectivity=4)
    assert np.array_equal(drawn, (regions != regions[0, 0])[1:-1, 1:-1])
    areas = [_area(np.reshape(one, (-1, 2))) for one in polygons]
    assert areas == sorted(areas, reverse=True)


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)
