"""Faults of annotations: whose picture they concern, and what a run counts as left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imltool.data.box_formats import BoxedImage, read_boxes
from imltool.data.boxes import BoxReport, match_boxes
from imltool.data.rle import encode_mask

RECT = {"name": "rect", "x": 16, "y": 12, "width": 16, "height": 12}
POINT = {"name": "point", "cx": 1, "cy": 2}
VIA_HEAD = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
VIA_ROW = 'a.png,1,"{}",1,0,"{""name"":""rect"",""x"":16,""y"":12,""width"":16,""height"":12}","{}"'


def report_of(tmp_path: Path, file: str, text: str, picture: str = "a.png") -> BoxReport:
    """The report on an annotation file `file` for a folder that holds `picture`, 64x48."""
    boxes = tmp_path / "boxes" / file
    boxes.parent.mkdir(parents=True)
    boxes.write_text(text, encoding="utf-8")
    image = tmp_path / "pictures" / picture
    image.parent.mkdir(parents=True)
    Image.new("RGB", (64, 48), (90, 120, 60)).save(image)
    return match_boxes(tmp_path / "pictures", read_boxes(tmp_path / "boxes"))


def regions(*shapes: dict[str, object]) -> list[dict[str, object]]:
    return [{"shape_attributes": shape, "region_attributes": {}} for shape in shapes]


STUDIO = {"x": 25, "y": 25, "width": 25, "height": 25, "rotation": 0}
PARTLY_FAULTY: dict[str, tuple[str, str]] = {
    "via": ("b.json", json.dumps({"1": {"filename": "C:\\x\\a.png", "regions": regions(RECT, POINT)}})),
    "via table": ("b.csv", f"{VIA_HEAD}\n./{VIA_ROW}\n./a.png,1,{{}},1,1,{{,{{}}\n"),
    "createml": (
        "b.json",
        json.dumps(
            [
                {
                    "image": ".\\a.png",
                    "annotations": [
                        {"label": "t", "coordinates": {"x": 24, "y": 18, "width": 16, "height": 12}},
                        {"label": "t"},
                    ],
                }
            ]
        ),
    ),
    "label studio": (
        "b.json",
        json.dumps(
            [
                {
                    "data": {"image": "d\\a.png"},
                    "annotations": [{"result": [{"value": STUDIO}, {"value": {"x": 1, "y": 1}}]}],
                }
            ]
        ),
    ),
    "csv": ("b.csv", "image,x1,y1,x2,y2\n.\\a.png,16,12,32,24\n.\\a.png,16,?,32,24\n"),
    "open images": ("b.csv", "ImageID,XMin,XMax,YMin,YMax\n./a,.25,.5,.25,.5\n./a,.25,?,.25,.5\n"),
    "retinanet": ("b.csv", "./a.png,16,12,32,24,t\n./a.png,16,?,32,24,t\n"),
    "yolo, suffix kept": ("a.png.txt", "0 0.375 0.375 0.25 0.25\n0 0.5\n"),
    "cvat": (
        "b.xml",
        '<annotations><image name=".\\a.png"><box label="t" xtl="16" ytl="12" xbr="32" ybr="24"/>'
        '<points label="t" points="1,2"/></image></annotations>',
    ),
}


@pytest.mark.parametrize("below", ["", "sub/"])
@pytest.mark.parametrize("case", list(PARTLY_FAULTY))
def test_picture_with_a_faulty_and_a_good_box_is_used_and_not_counted_as_left_out(
    tmp_path: Path, case: str, below: str
) -> None:
    file, text = PARTLY_FAULTY[case]
    report = report_of(tmp_path, f"{below}{file}", text, f"{below}a.png")
    assert [item.name for item in report.matched] == [f"{below}a.png"]
    assert len(report.faults) == 1
    assert not report.lost


def test_table_of_the_first_via_is_read(tmp_path: Path) -> None:
    report = report_of(tmp_path, "b.csv", f"#{VIA_HEAD}\n{VIA_ROW}\n")
    assert report.matched[0].boxes.tolist() == [[16, 12, 32, 24]]


def test_region_of_a_via_table_without_a_picture_is_a_fault(tmp_path: Path) -> None:
    report = report_of(tmp_path, "b.csv", f"{VIA_HEAD}\n{VIA_ROW}\n{VIA_ROW.removeprefix('a.png')}\n")
    assert [fault.message.partition(": ")[2] for fault in report.faults] == [
        "line 3 names no picture: this region is left out"
    ]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("b.csv", "image,x1,y1,x2,y2\na.png,.25,.25,.5,.5\n"),
        ("b.csv", "image,x,y,w,h\na.png,0,0,1,1\n"),
        (
            "b.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "a.png"}],
                    "annotations": [{"image_id": 1, "bbox": [0.25, 0.25, 0.25, 0.25]}],
                }
            ),
        ),
    ],
)
def test_shares_of_the_sides_in_a_format_of_pixels_are_refused(tmp_path: Path, file: str, text: str) -> None:
    report = report_of(tmp_path, file, text)
    assert not report.matched
    assert "seem to be shares of the sides, not pixels" in report.faults[0].message
    assert report.lost == {"a.png": "no usable box"}


@pytest.mark.parametrize("names", ["3", "[a, b]", "{0: a}", "a", "[[a], b]", ""])
def test_class_names_of_any_form_end_no_reading_of_yolo(tmp_path: Path, names: str) -> None:
    (tmp_path / "data.yaml").write_text(f"names: {names}\n", encoding="utf-8")
    assert report_of(tmp_path, "a.txt", "0 0.375 0.375 0.25 0.25\n").matched[0].boxes.tolist() == [[16, 12, 32, 24]]


@pytest.mark.parametrize("keypoints", ["0.1 0.2 0.9 0.8", "0.1 0.2 2 0.9 0.8 1"])  # x y, and x y visibility
@pytest.mark.parametrize("name", ["data.yaml", "pose.yml"])
def test_keypoints_of_yolo_poses_do_not_change_the_box(tmp_path: Path, keypoints: str, name: str) -> None:
    shape = [2, len(keypoints.split()) // 2]
    (tmp_path / name).write_text(f"nc: 1\nkpt_shape: {shape}\n", encoding="utf-8")
    (tmp_path / "classes.txt").write_text("edit\n", encoding="utf-8")
    report = report_of(tmp_path, "a.txt", f"0 0.375 0.375 0.25 0.25 {keypoints}\n")
    assert report.matched[0].boxes.tolist() == [[16, 12, 32, 24]] and not report.faults


def test_yolo_polygons_are_read_where_no_keypoints_are_described(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [edit]\nkpt_shape:\n", encoding="utf-8")
    report = report_of(tmp_path, "a.txt", "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n")
    assert report.matched[0].boxes.tolist() == [[16, 12, 32, 24]]


def test_table_with_a_blank_first_line_is_split_by_its_own_delimiter(tmp_path: Path) -> None:
    report = report_of(tmp_path, "b.csv", "\nimage;x1;y1;x2;y2\na.png;16;12;32;24\n")
    assert report.matched[0].boxes.tolist() == [[16, 12, 32, 24]]


def test_only_the_named_pictures_are_considered(tmp_path: Path) -> None:
    for folder in ("tampered", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (64, 48)).save(tmp_path / folder / "a.png")
    annotated = [BoxedImage("a.png", ((16, 12, 32, 24),))]
    assert not match_boxes(tmp_path, annotated).matched, "two pictures have that file name"
    report = match_boxes(tmp_path, annotated, names=["tampered/a.png"])
    assert [item.name for item in report.matched] == ["tampered/a.png"]


@pytest.mark.parametrize(("side", "boxes"), [(64, [[16, 12, 32, 24]]), (32, [])])
def test_run_lengths_of_another_size_than_the_image_are_refused(tmp_path: Path, side: int, boxes: list[object]) -> None:
    mask = np.zeros((side * 3 // 4, side), dtype=bool)
    mask[12:24, 16:32] = True
    images = [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}]
    annotations = [{"image_id": 1, "segmentation": dict(encode_mask(mask))}]
    report = report_of(tmp_path, "b.json", json.dumps({"images": images, "annotations": annotations}))
    assert [item.boxes.tolist() for item in report.matched] == ([boxes] if boxes else [])
    assert [
        fault.message for fault in report.faults if "segmentation is 32x24, its image 64x48" in fault.message
    ] or boxes
