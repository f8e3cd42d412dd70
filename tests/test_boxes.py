"""Annotation formats and the matching of boxes to pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imltool.data.box_formats import BoxedImage, read_boxes
from imltool.data.box_writers import write_coco
from imltool.data.boxes import BoxReport, match_boxes
from imltool.errors import DataError, UsageError

SIZE = (40, 30)
BOX = (4.0, 6.0, 20.0, 18.0)


def picture(path: Path, size: tuple[int, int] = SIZE, orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", size, (90, 120, 60)).save(path, exif=exif)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def messages(report: BoxReport) -> list[str]:
    return [f"{fault.image}: {fault.message}" for fault in report.faults]


def voc(name: str, bounds: tuple[float, ...], size: tuple[int, int] = SIZE, head: str = "") -> str:
    tags = "".join(f"<{tag}>{x}</{tag}>" for tag, x in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True))
    return (
        f"{head}<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"<object><name>edit</name><bndbox>{tags}</bndbox></object></annotation>"
    )


def labelme(name: str, *shapes: tuple[str, list[list[float]]]) -> str:
    return json.dumps(
        {
            "imagePath": name,
            "imageWidth": SIZE[0],
            "imageHeight": SIZE[1],
            "shapes": [{"shape_type": kind, "points": points} for kind, points in shapes],
        }
    )


def coco(name: str, *bboxes: list[Any], size: tuple[int, int] = SIZE) -> str:
    return json.dumps(
        {
            "images": [{"id": 7, "file_name": name, "width": size[0], "height": size[1]}],
            "annotations": [{"id": n, "image_id": 7, "bbox": bbox} for n, bbox in enumerate(bboxes)],
        }
    )


def annotate(tmp_path: Path, format: str) -> Path:
    """The box (4, 6, 20, 18) of a picture `a.png`, in each format's own convention."""
    texts = {
        "coco": ("boxes.json", coco("a.png", [4, 6, 16, 12])),
        "csv": ("boxes.csv", "image,x1,y1,x2,y2\na.png,4,6,20,18\n"),
        "voc": ("voc/a.xml", voc("a.png", (5, 7, 20, 18))),
        "yolo": ("yolo/a.txt", "0 0.3 0.4 0.4 0.4\n"),
        "labelme": ("labelme/a.json", labelme("a.png", ("rectangle", [[20, 18], [4, 6]]))),
    }
    name, text = texts[format]
    path = write(tmp_path / name, text)
    return path.parent if format in ("voc", "yolo", "labelme") else path


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("format", ["coco", "csv", "voc", "yolo", "labelme"])
def test_every_format_gives_the_same_box(tmp_path: Path, format: str, named: bool) -> None:
    picture(tmp_path / "images/a.png")
    path = annotate(tmp_path, format)
    report = match_boxes(tmp_path / "images", read_boxes(path, format if named else None))
    assert messages(report) == []
    (item,) = report.matched
    assert item.name == "a.png" and item.size == SIZE and item.image == tmp_path / "images/a.png"
    assert item.boxes.dtype == np.float32 and item.boxes.shape == (1, 4)
    assert item.boxes[0].tolist() == pytest.approx(BOX, abs=1e-5)


@pytest.mark.parametrize("format", ["voc", "yolo", "labelme"])
def test_single_file_of_a_folder_format_is_read(tmp_path: Path, format: str) -> None:
    picture(tmp_path / "images/a.png")
    (file,) = annotate(tmp_path, format).iterdir()
    assert len(match_boxes(tmp_path / "images", read_boxes(file)).matched) == 1


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,edit,4,6,20,18\n",
        "image;x;y;w;h\na.png;4;6;16;12\n",
        "\ufeffImage,X1,Y1,X2,Y2\r\na.png, 4, 6, 20, 18\r\n\r\n",
        'label,file_name,x,y,w,h\n"two\nlines",a.png,4,6,16,12\n',
    ],
)
def test_csv_columns_are_found_by_name(tmp_path: Path, text: str) -> None:
    (entry,) = read_boxes(write(tmp_path / "b.csv", text)).images
    assert entry.name == "a.png" and entry.boxes == (BOX,)


def test_csv_rows_of_one_picture_are_merged_and_empty_cells_mean_no_box(tmp_path: Path) -> None:
    text = "image,x1,y1,x2,y2\na.png,1,2,3,4\nb.png,,,,\na.png,5,6,7,8\n"
    assert read_boxes(write(tmp_path / "b.csv", text)).images == [
        BoxedImage("a.png", ((1, 2, 3, 4), (5, 6, 7, 8))),
        BoxedImage("b.png", ()),
    ]


def test_voc_coordinates_start_at_one_and_include_both_ends(tmp_path: Path) -> None:
    """A VOC box with xmin = xmax = 1 is the first pixel column; a box of the whole picture runs from 1 to the width."""
    write(tmp_path / "a.xml", voc("a.png", (1, 1, 1, 1)))
    write(tmp_path / "b.xml", voc("b.png", (1, 1, *SIZE)))
    first, whole = read_boxes(tmp_path).images
    assert first.boxes == ((0, 0, 1, 1),) and whole.boxes == ((0, 0, *SIZE),)


def test_zero_based_voc_box_is_clipped_not_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "voc/a.xml", voc("a.png", (0, 0, *SIZE)))
    report = match_boxes(tmp_path / "images", read_boxes(tmp_path / "voc"))
    assert not report.faults and report.matched[0].boxes.tolist() == [[0, 0, *SIZE]]


def test_labelme_polygon_and_circle_give_their_bounds(tmp_path: Path) -> None:
    shapes = ("polygon", [[1, 9], [5, 2], [8, 7]]), ("circle", [[10, 10], [13, 14]])
    (entry,) = read_boxes(write(tmp_path / "a.json", labelme("a.png", *shapes))).images  # type: ignore[arg-type]
    assert entry.boxes == ((1, 2, 8, 9), (5, 5, 15, 15)) and entry.size == SIZE


def test_empty_yolo_file_means_no_box_and_classes_file_is_skipped(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "yolo/a.txt", "")
    write(tmp_path / "yolo/classes.txt", "edit\n")
    report = match_boxes(tmp_path / "images", read_boxes(tmp_path / "yolo"))
    assert (report.matched, report.faults, report.without_boxes) == ([], [], ["a.png"])


UNREADABLE = {
    "not JSON": ("b.json", '{"images": [', "line 1 is not valid JSON"),
    "a list of numbers": ("b.json", "[1]", "in no box format known here"),
    "JSON of something else": ("b.json", '{"rows": []}', "in no box format known here"),
    "no box columns": ("b.csv", "image,left,top\na.png,1,2\n", "line 1 lacks the columns of a box"),
    "no picture column": ("b.csv", "x1,y1,x2,y2\n1,2,3,4\n", "line 1 lacks the columns of a picture"),
    "empty CSV": ("b.csv", "", "is empty"),
    "XML": ("b/a.xml", "<annotation>", "is not valid XML"),
    "prose": ("b.txt", "the boxes are in the drawer\n", "in no box format known here"),
    "not text": ("b.csv", None, "is not text"),
    "a video of CVAT": ("b.xml", "<annotations><track/></annotations>", "a CVAT export of a video"),
}


@pytest.mark.parametrize("case", list(UNREADABLE))
def test_unreadable_annotation_file_is_an_error(tmp_path: Path, case: str) -> None:
    name, text, expected = UNREADABLE[case]
    path = tmp_path / name
    if text is None:
        path.write_bytes(b"image,x1,y1,x2,y2\n\x00\x81,1,2,3,4\n")
    else:
        write(path, text)
    with pytest.raises(DataError) as caught:
        read_boxes(tmp_path / name.partition("/")[0])
    assert str(path) in caught.value.message and expected in caught.value.message
    assert "\n" not in str(caught.value)


FAULTY = {
    "bbox of three": ("b.json", coco("a.png", [1, 2, 3]), "annotation 1: bbox is [1, 2, 3], expected x, y"),
    "bbox of words": ("b.json", coco("a.png", [1, 2, 3, "wide"]), "annotation 1: bbox: 'wide' is not a number"),
    "unknown image": ("b.json", '{"images": [], "annotations": [{"image_id": 3, "bbox": [0,0,1,1]}]}', "image 3"),
    "image id twice": (
        "b.json",
        '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}',
        "image 2 (b) has the id 1 of an earlier image",
    ),
    "size not whole": ("b.json", coco("a.png", size=(-4, 3)), "-4x3 is not a size"),
    "a mask of a terapixel": (
        "b.json",
        '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, '
        '"segmentation": {"size": [1000000, 1000000], "counts": [1000000000000]}}]}',
        "more than 300 megapixels",
    ),
    "too few cells": ("b.csv", "image,x1,y1,x2,y2\na.png,1,2,3,4\na.png,1,2\n", "line 3 has 3 cells"),
    "CSV word": ("b.csv", "image,x1,y1,x2,y2\na.png,1,2,3,four\n", "line 2: 'four' is not a number"),
    "two sizes": (
        "b.csv",
        "image,x1,y1,x2,y2,width,height\na.png,1,2,3,4,40,30\na.png,1,2,3,4,41,30\n",
        "line 3: a.png has another width and height",
    ),
    "YOLO line": ("b/a.txt", "0 .5 .5 .1 .1\n0 .5 .5\n", "line 2 has 3 values"),
    "YOLO word": ("b/a.txt", "0 .5 .5 .1 wide\n", "line 1: 'wide' is not a number"),
    "YOLO pixels": ("b/a.txt", "0 24 18 16 12\n", "values are pixels, not shares"),
    "no bndbox": ("b/a.xml", "<annotation><object/></annotation>", "object 1 has no bndbox"),
    "bndbox side": ("b/a.xml", "<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>", "object 1"),
    "LabelMe line": ("b/a.json", labelme("a.png", ("line", [[1, 2], [3, 4]])), "shape 1 is of type 'line'"),
    "LabelMe points": ("b/a.json", labelme("a.png", ("rectangle", [[1, 2]])), "shape 1 (rectangle) has too few points"),
}


@pytest.mark.parametrize("case", list(FAULTY))
def test_invalid_entry_is_reported_with_file_and_position(tmp_path: Path, case: str) -> None:
    name, text, expected = FAULTY[case]
    path = write(tmp_path / name, text)
    read = read_boxes(tmp_path / name.partition("/")[0])
    (fault,) = read.faults
    assert str(path) in fault.message and expected in fault.message and "left out" in fault.message
    good = 1 if case in ("YOLO line", "too few cells", "two sizes") else 0
    assert sum(len(image.boxes) for image in read.images) == good


def test_damaged_file_is_a_fault_and_other_files_are_read(tmp_path: Path) -> None:
    for format, good, bad in (
        ("voc", voc("a.png", (5, 7, 20, 18)), "<annotation>"),
        ("labelme", labelme("a.png", ("rectangle", [[4, 6], [20, 18]])), '{"shapes": ['),
    ):
        suffix = {"voc": ".xml", "labelme": ".json"}[format]
        write(tmp_path / format / f"a{suffix}", good)
        write(tmp_path / format / f"b{suffix}", bad)
        read = read_boxes(tmp_path / format)
        assert [image.boxes for image in read.images] == [(BOX,)]
        assert [fault.image for fault in read.faults] == [f"b{suffix}"]


def test_non_label_files_are_not_read_as_labels(tmp_path: Path) -> None:
    write(tmp_path / "obj_train_data/a.txt", "0 0.3 0.4 0.4 0.4\n")
    write(tmp_path / "train.txt", "data/obj_train_data/a.png\n")
    write(tmp_path / "ImageSets/Main/default.txt", "000001\n000002\n")
    write(tmp_path / "ImageSets/Main/edit_train.txt", "000001 -1\n000002  1\n")
    write(tmp_path / "classes.txt", "edit\n")
    write(tmp_path / "README.roboflow.txt", "2 classes were exported\n")
    write(tmp_path / "notes.json", '{"categories": [], "info": {}}')
    picture(tmp_path / "images/a.png")
    read = read_boxes(tmp_path)
    assert not read.faults and len(read.images) == 1
    (note,) = [note for note in read.notes if note.startswith("not read")]
    assert "train.txt" in note and "and 1 more" in note
    assert [item.boxes.tolist() for item in match_boxes(tmp_path / "images", read).matched] == [[pytest.approx([*BOX])]]


def test_xml_with_a_dtd_is_refused_before_entity_expansion(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "boom"><!ENTITY y "&x;&x;&x;">]>'
    write(tmp_path / "a.xml", voc("&y;.png", (1, 1, 2, 2), head=bomb))
    with pytest.raises(DataError, match="DTD"):
        read_boxes(tmp_path)


def test_mixed_formats_in_one_folder_require_a_format(tmp_path: Path) -> None:
    write(tmp_path / "mixed/a.xml", voc("a.png", (1, 1, 2, 2)))
    write(tmp_path / "mixed/a.txt", "0 .5 .5 .1 .1\n")
    with pytest.raises(DataError, match=r"voc and yolo annotations.*--format"):
        read_boxes(tmp_path / "mixed")
    for format in ("voc", "yolo"):
        assert len(read_boxes(tmp_path / "mixed", format).images) == 1
    (tmp_path / "empty").mkdir()
    for path, error in ((tmp_path / "empty", "holds no annotation"), (tmp_path / "none", "do not exist")):
        with pytest.raises(DataError, match=error):
            read_boxes(path)
    with pytest.raises(UsageError, match="unknown box format 'cocoa'"):
        read_boxes(tmp_path, "cocoa")


def test_pictures_are_matched_by_path_then_by_unique_name(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png", "y/b.png", "c.png"):
        picture(tmp_path / name)
    found = match_boxes(tmp_path, [BoxedImage(name, (BOX,)) for name in ("y/a.png", "elsewhere/b.png", "c.png")])
    assert [item.name for item in found.matched] == ["c.png", "y/a.png", "y/b.png"]
    assert found.without_boxes == ["x/a.png"] and not found.faults
    lost = match_boxes(tmp_path, [BoxedImage("a.png", (BOX,)), BoxedImage("d.png", (BOX,))])
    assert not lost.matched
    assert messages(lost) == [
        "a.png: 2 pictures have the file name a.png (x/a.png, y/a.png): left out",
        "d.png: no such picture: its boxes are left out",
    ]


def test_different_suffix_is_accepted_only_if_the_format_allows_it(tmp_path: Path) -> None:
    picture(tmp_path / "images/s/a.jpg")
    write(tmp_path / "labels/a.json", labelme("a.png", ("rectangle", [[4, 6], [20, 18]])))
    assert match_boxes(tmp_path / "images", read_boxes(tmp_path / "labels")).matched[0].name == "s/a.jpg"
    strict = match_boxes(tmp_path / "images", [BoxedImage("s/a.png", (BOX,))])
    assert not strict.matched and "no such picture" in strict.faults[0].message
    picture(tmp_path / "images/s/a.webp")
    assert "2 pictures have" in match_boxes(tmp_path / "images", read_boxes(tmp_path / "labels")).faults[0].message


def test_yolo_names_may_have_dots_and_subfolders(tmp_path: Path) -> None:
    picture(tmp_path / "images/s/v1.2.png")
    picture(tmp_path / "images/v1.png")
    write(tmp_path / "labels/s/v1.2.txt", "0 .5 .5 .5 .5\n")
    report = match_boxes(tmp_path / "images", read_boxes(tmp_path / "labels"))
    assert [item.name for item in report.matched] == ["s/v1.2.png"]
    assert report.matched[0].boxes[0].tolist() == [10, 7.5, 30, 22.5]


def test_windows_paths_are_matched(tmp_path: Path) -> None:
    picture(tmp_path / "s/a.png")
    text = "image,x1,y1,x2,y2\n.\\s\\a.png,4,6,20,18\n"
    assert match_boxes(tmp_path, read_boxes(write(tmp_path / "b.csv", text))).matched[0].name == "s/a.png"


def test_faulty_boxes_are_left_out_individually_and_good_ones_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    faulty = {
        (float("nan"), 0.0, 5.0, 5.0): "is not finite",
        (5.0, 5.0, 5.0, 9.0): "has no positive size (0x4)",
        (9.0, 5.0, 5.0, 9.0): "has no positive size (-4x4)",
        (30.0, 5.0, 42.5, 9.0): "reaches 2.5 px outside the picture (40x30)",
        (-3.0, 5.0, 9.0, 9.0): "reaches 3 px outside the picture (40x30)",
        (-0.9, 5.0, 0.0, 9.0): "leaves nothing inside the picture (40x30)",
    }
    report = match_boxes(tmp_path, [BoxedImage("a.png", (BOX, *faulty, (-0.5, 3.0, 40.9, 31.0)))])
    assert report.matched[0].boxes.tolist() == [list(BOX), [0.0, 3.0, 40.0, 30.0]]
    assert len(report.faults) == len(faulty)
    for position, (fault, expected) in enumerate(zip(report.faults, faulty.values(), strict=True), 2):
        assert fault.image == "a.png" and fault.message.startswith(f"box {position} of 8 (")
        assert f"{expected}: this box is left out" in fault.message
    assert report.without_boxes == []


def test_picture_with_only_faulty_boxes_counts_as_without_boxes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    report = match_boxes(tmp_path, [BoxedImage("a.png", ((50.0, 50.0, 60.0, 60.0),))])
    assert (report.matched, len(report.faults), report.without_boxes) == ([], 1, ["a.png"])


def test_recorded_size_must_be_the_displayed_size(tmp_path: Path) -> None:
    picture(tmp_path / "plain.png")
    picture(tmp_path / "turned.jpg", orientation=6)
    entries = [BoxedImage("plain.png", (BOX,), (41, 30)), BoxedImage("turned.jpg", (BOX,), (31, 40))]
    report = match_boxes(tmp_path, entries)
    assert messages(report) == [
        "plain.png: recorded as 41x30, the picture is 40x30: its boxes are left out",
        "turned.jpg: recorded as 31x40, the picture is 30x40: its boxes are left out",
    ]
    assert report.lost == dict.fromkeys(("plain.png", "turned.jpg"), "recorded with another size")
    (sideways,) = match_boxes(tmp_path, [BoxedImage("plain.png", (BOX,), SIZE[::-1])]).faults
    assert "recorded as 30x40, the picture is 40x30, the same rotated by 90°" in sideways.message
    upright = match_boxes(tmp_path, [BoxedImage("turned.jpg", (BOX,), (30, 40))])
    assert not upright.faults and upright.matched[0].size == (30, 40)


def test_unreadable_and_doubly_annotated_pictures_are_faults(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "bad.png", "no picture at all")
    entries = [BoxedImage("bad.png", (BOX,)), BoxedImage("a.png", (BOX,)), BoxedImage("z/a.png", ((0, 0, 2, 2),))]
    report = match_boxes(tmp_path, entries)
    assert [item.boxes.tolist() for item in report.matched] == [[list(BOX)]]
    second, first = report.faults
    assert first.image == "bad.png" and "not a picture format" in first.message
    assert second.message == "no such picture (a.png has an annotation of its own): its boxes are left out"
    again = match_boxes(tmp_path, [BoxedImage("a.png", (BOX,)), BoxedImage("a.png", ((0, 0, 2, 2), BOX))])
    assert again.matched[0].boxes.tolist() == [list(BOX), [0, 0, 2, 2]]
    assert not again.faults and again.notes == ["annotated more than once, boxes united: 1 (a.png)"]
    with pytest.raises(DataError, match="not a folder"):
        match_boxes(tmp_path / "a.png", entries)


def test_boxes_of_a_missing_picture_are_not_given_to_a_namesake(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    own, others = BoxedImage("a.png", (BOX,)), [BoxedImage(f"{top}/a.png", ((0, 0, 2, 2),)) for top in ("x", "y")]
    for entries in ([own, others[0]], [others[0], own]):
        report = match_boxes(tmp_path, entries)
        assert [item.boxes.tolist() for item in report.matched] == [[list(BOX)]]
        assert [fault.image for fault in report.faults] == ["x/a.png"]
    unknown = match_boxes(tmp_path, others)
    assert not unknown.matched and unknown.without_boxes == ["a.png"]
    assert [fault.image for fault in unknown.faults] == ["x/a.png", "y/a.png"]
    assert "fits several annotations by its file name (x/a.png and y/a.png)" in unknown.faults[0].message


sides = st.integers(1, 4000)
coordinates = st.floats(-100, 5000, allow_nan=False, width=32)
names = st.lists(st.text("abcé .-_", min_size=1, max_size=8).map(str.strip).filter(lambda s: s.strip(".")), min_size=1)
entries = st.builds(
    lambda name, boxes, size: BoxedImage("/".join(name) + ".png", tuple(boxes), size),
    names,
    st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=3),
    st.none() | st.tuples(sides, sides),
)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(entries, max_size=4))
def test_coco_round_trip(tmp_path: Path, written: list[BoxedImage]) -> None:
    write_coco(tmp_path / "boxes.json", written)
    read = read_boxes(tmp_path / "boxes.json").images
    assert [(entry.name, entry.size) for entry in read] == [(entry.name, entry.size) for entry in written]
    for found, original in zip(read, written, strict=True):
        assert np.asarray(found.boxes) == pytest.approx(np.asarray(original.boxes), rel=1e-12, abs=1e-9)


def test_write_coco_scales_normalised_boxes_and_refuses_non_finite_ones(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    write_coco(path, [BoxedImage("a.png", ((0.25, 0.5, 0.75, 1.0),), (40, 30), normalised=True)])
    assert read_boxes(path).images[0].boxes == ((10, 15, 30, 30),)
    before = path.read_bytes()
    for entry in (
        BoxedImage("a.png", ((0.25, 0.5, 0.75, 1.0),), None, normalised=True),
        BoxedImage("a.png", ((0.0, 0.0, float("inf"), 1.0),)),
    ):
        with pytest.raises(DataError, match=r"a\.png"):
            write_coco(path, [entry])
    assert path.read_bytes() == before


@quick
@given(st.lists(st.tuples(*[st.floats(-60, 60) | st.sampled_from([-1.0, 0.0, 40.0, 41.0])] * 4), max_size=4))
def test_matched_boxes_are_always_inside_the_picture(
    tmp_path: Path, boxes: list[tuple[float, float, float, float]]
) -> None:
    if not (tmp_path / "a.png").exists():
        picture(tmp_path / "a.png")
    report = match_boxes(tmp_path, [BoxedImage("a.png", tuple(boxes))])
    kept = sum(len(item.boxes) for item in report.matched)
    left_out = {int(fault.message.split()[1]) for fault in report.faults}
    usable = [box for number, box in enumerate(boxes, 1) if number not in left_out]
    # a box that is given twice is kept once
    assert kept == len({tuple(np.clip(box, 0, (*SIZE, *SIZE)).astype(np.float32).tolist()) for box in usable})
    assert [item.name for item in report.matched] + report.without_boxes == ["a.png"]
    for x1, y1, x2, y2 in (box for item in report.matched for box in item.boxes):
        assert 0 <= x1 < x2 <= SIZE[0] and 0 <= y1 < y2 <= SIZE[1]
