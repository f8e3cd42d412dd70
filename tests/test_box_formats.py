"""Box formats of other programs: each gives the same box of the same picture."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from imltool.data.box_formats import BoxedImage, read_boxes
from imltool.data.box_writers import FOLDER_WRITERS, write_coco
from imltool.data.boxes import BoxReport, displayed_box, match_boxes
from imltool.data.coco_masks import write_masks
from imltool.data.rle import decode_mask, encode_mask
from imltool.errors import UsageError
from imltool.pictures.images import PictureShape, read_shape, write_mask
from imltool.pictures.orientation import upright

SIZE = (64, 48)
BOX = [16.0, 12.0, 32.0, 24.0]
SHARES = "0.25,0.5,0.25,0.5"
RECT = {"name": "rect", "x": 16, "y": 12, "width": 16, "height": 12}


def coco_entry(name: str = "a.png", **changes: Any) -> dict[str, Any]:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [16, 12, 16, 12]} | changes
    return {
        "images": [{"id": 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]}],
        "annotations": [{key: value for key, value in annotation.items() if value is not None}],
        "categories": [{"id": 1, "name": "t"}],
    }


def labelme(kind: str, points: list[list[float]]) -> str:
    return json.dumps({"imagePath": "a.png", "shapes": [{"shape_type": kind, "points": points, "label": "t"}]})


def studio(value: dict[str, Any], **more: Any) -> str:
    region = {"original_width": 64, "original_height": 48, "type": "rectanglelabels", "value": value} | more
    return json.dumps([{"data": {"image": "/data/upload/4/cb0618f6-a.png"}, "annotations": [{"result": [region]}]}])


RUNS = [12 + 48 * 16, 12, *[36, 12] * 15, 48 * 32 + 24]
SAME: dict[str, tuple[str, str]] = {
    "yolo": ("y/a.txt", "0 0.375 0.375 0.25 0.25\n"),
    "yolo with confidence": ("y/a.txt", "0 0.375 0.375 0.25 0.25 0.91\n"),
    "yolo polygon": ("y/a.txt", "0 0.25 0.25 0.5 0.25 0.4 0.5\n"),
    "yolo oriented": ("y/a.txt", "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n"),
    "yolo, suffix kept": ("y/a.png.txt", "0 0.375 0.375 0.25 0.25\n"),
    "yolo of CVAT": ("y/obj_train_data/a.txt", "0 0.375 0.375 0.25 0.25\n"),
    "coco": ("b.json", json.dumps(coco_entry())),
    "coco polygon": ("b.json", json.dumps(coco_entry(bbox=None, segmentation=[[16, 12, 32, 12, 32, 24]]))),
    "coco run lengths": (
        "b.json",
        json.dumps(coco_entry(bbox=None, segmentation={"size": [48, 64], "counts": RUNS})),
    ),
    "coco of texts": ("b.json", json.dumps(coco_entry(image_id="1", bbox=["16", "12", "16", "12"]))),
    "coco turned": ("b.json", json.dumps(coco_entry(bbox=[18, 10, 12, 16], attributes={"rotation": 90}))),
    "coco a picture": ("c/a.json", json.dumps(coco_entry())),
    "coco of CVAT": ("c/annotations/instances_default.json", json.dumps(coco_entry())),
    "voc": (
        "v/a.xml",
        "<annotation><filename>a.png</filename><object><bndbox><xmin>17.0</xmin><ymin>13</ymin><xmax>32</xmax>"
        "<ymax>24</ymax></bndbox></object></annotation>",
    ),
    "voc without a name": (
        "v/a.xml",
        "<annotation><object><bndbox><xmin>17</xmin><ymin>13</ymin><xmax>32</xmax><ymax>24</ymax></bndbox></object>"
        "</annotation>",
    ),
    "voc of another name": (
        "v/a.xml",
        "<annotation><filename>IMG_0001.jpg</filename><object><bndbox><xmin>17</xmin><ymin>13</ymin><xmax>32</xmax>"
        "<ymax>24</ymax></bndbox></object></annotation>",
    ),
    "voc turned": (
        "v/a.xml",
        "<annotation><filename>a</filename><object><robndbox><cx>24</cx><cy>18</cy><w>12</w><h>16</h>"
        "<angle>1.5707963267948966</angle></robndbox></object></annotation>",
    ),
    "voc polygon": (
        "v/a.xml",
        "<annotation><filename>a</filename><object><polygon><x1>16</x1><y1>12</y1><x2>32</x2><y2>12</y2><x3>20</x3>"
        "<y3>24</y3></polygon></object></annotation>",
    ),
    "labelme": ("l/a.json", labelme("rectangle", [[16, 12], [32, 24]])),
    "labelme mask": ("l/a.json", labelme("mask", [[16, 12], [31, 23]])),
    "labelme rotation": ("l/a.json", labelme("rotation", [[24, 12], [32, 18], [24, 24], [16, 18]])),
    "cvat": (
        "x.xml",
        '<annotations><image id="0" name="a.png" width="64" height="48"><box label="t" xtl="16" ytl="12" xbr="32" '
        'ybr="24"/><tag label="x"/></image></annotations>',
    ),
    "cvat turned": (
        "x.xml",
        '<annotations><image id="0" name="a.png" width="64" height="48"><box label="t" xtl="18" ytl="10" xbr="30" '
        'ybr="26" rotation="90.0"/></image></annotations>',
    ),
    "cvat polygon": (
        "x.xml",
        '<annotations><image id="0" name="f/a.png" width="64" height="48"><polygon label="t" '
        'points="16.00,12.00;32.00,12.00;20.00,24.00"/></image></annotations>',
    ),
    "cvat ellipse": (
        "x.xml",
        '<annotations><image name="a.png"><ellipse label="t" cx="24" cy="18" rx="8" ry="6"/></image></annotations>',
    ),
    "cvat mask": (
        "x.xml",
        '<annotations><image name="a.png"><mask label="t" rle="0, 1" left="16" top="12" width="16" height="12"/>'
        "</image></annotations>",
    ),
    "via": (
        "b.json",
        json.dumps({"a.png1": {"filename": "a.png", "size": 1, "regions": [{"shape_attributes": RECT}]}}),
    ),
    "via project": (
        "b.json",
        '{"_via_settings":{},"_via_img_metadata":{"k":{"filename":"a.png","regions":{"0":{"shape_attributes":'
        '{"name":"polygon","all_points_x":[16,32,20],"all_points_y":[12,12,24]}}}}}}',
    ),
    "via csv": (
        "b.csv",
        "filename,file_size,region_count,region_id,region_shape_attributes,region_attributes\n"
        + 'a.png,1,1,0,"{}","{{}}"\n'.format(json.dumps(RECT).replace('"', '""')),
    ),
    "createml": (
        "b.json",
        '[{"image":"a.png","annotations":[{"label":"t","coordinates":{"x":24,"y":18,"width":16,"height":12}}]}]',
    ),
    "openimages": ("b.csv", f"ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,x,/m/01,1,{SHARES}\n"),
    "retinanet": ("b.csv", "images/a.png,16,12,32,24,t\n"),
    "label studio": ("b.json", studio({"x": 25, "y": 25, "width": 25, "height": 25, "rectanglelabels": ["t"]})),
    "label studio turned": (
        "b.json",
        studio({"x": 50, "y": 25, "width": 18.75, "height": 100 / 3, "rotation": 90, "rectanglelabels": ["t"]}),
    ),
    "label studio polygon": (
        "b.json",
        studio({"points": [[25, 25], [50, 25], [30, 50]], "polygonlabels": ["t"]}),
    ),
    "label studio ellipse": (
        "b.json",
        studio({"x": 37.5, "y": 37.5, "radiusX": 12.5, "radiusY": 12.5, "ellipselabels": ["t"]}),
    ),
    "label studio min": (
        "b.json",
        '[{"image":"/data/upload/1/a.png","id":1,"label":[{"x":25,"y":25,"width":25,"height":25,"rotation":0,'
        '"rectanglelabels":["t"],"original_width":64,"original_height":48}]}]',
    ),
    "csv with Excel's first line": ("b.csv", "sep=;\nimage;x1;y1;x2;y2\na.png;16;12;32;24\n"),
    "decimal comma": ("b.csv", "image;x1;y1;x2;y2\na.png;16,0;12,0;32,0;24,0\n"),
}


def image(path: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (90, 120, 60)).save(path, exif=exif)
    return path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def matched(root: Path, boxes: Path, **options: Any) -> BoxReport:
    return match_boxes(root, read_boxes(boxes), **options)


@pytest.mark.parametrize("case", list(SAME))
def test_every_variant_gives_the_same_box(tmp_path: Path, case: str) -> None:
    name, text = SAME[case]
    written(tmp_path / "labels" / name, text)
    image(tmp_path / "images/a.png")
    boxes = tmp_path / "labels" / name.partition("/")[0]
    report = matched(tmp_path / "images", boxes)
    assert not report.faults
    (item,) = report.matched
    assert item.name == "a.png" and item.boxes[0].tolist() == pytest.approx(BOX, abs=1e-4)


def test_shapes_without_a_box_are_left_out_and_good_ones_are_kept(tmp_path: Path) -> None:
    image(tmp_path / "images/a.png")
    texts = {
        "l/a.json": labelme("rectangle", [[16, 12], [32, 24]]).replace(
            '"shapes": [', '"shapes": [{"shape_type": "point", "points": [[5, 5]]}, '
        ),
        "x.xml": SAME["cvat"][1].replace("<tag", '<points points="1,2"/><tag'),
        "v.json": SAME["via"][1].replace(
            '"regions": [', '"regions": [{"shape_attributes":{"name":"point","cx":1,"cy":1}},'
        ),
    }
    for name, text in texts.items():
        written(tmp_path / name, text)
        report = matched(tmp_path / "images", tmp_path / name.partition("/")[0])
        assert [item.boxes.tolist() for item in report.matched] == [[BOX]], name
        (fault,) = report.faults
        assert "left out" in fault.message and not report.lost


@pytest.mark.parametrize(
    ("format", "document", "words"),
    [
        ("createml", [{"image": "a.png"}], "picture 1 has no image or no annotations"),
        ("createml", [{"annotations": []}], "picture 1 has no image or no annotations"),
        ("via", {"a": {"filename": "a.png"}}, "picture 1 has no filename or no regions"),
        ("via", {"a": {"regions": []}}, "picture 1 has no filename or no regions"),
        ("labelstudio", [{"data": {"text": "a"}}], "task 1 names no picture"),
        ("labelme", {"shapes": [{"shape_type": ["rectangle"]}]}, "shape 1 is of type ['rectangle']"),
        ("labelme", {"shapes": [3]}, "shape 1 is not an object"),
    ],
)
def test_entries_not_in_the_chosen_format_are_faults(tmp_path: Path, format: str, document: object, words: str) -> None:
    (tmp_path / "b.json").write_text(json.dumps(document))
    found = read_boxes(tmp_path / "b.json", format)
    (fault,) = found.faults
    assert words in fault.message and not any(image.boxes for image in found.images)


def test_categories_are_chosen_by_name_in_every_format(tmp_path: Path) -> None:
    image(tmp_path / "images/a.png")
    document = coco_entry()
    document["categories"] = [{"id": 1, "name": "source"}, {"id": 2, "name": "target"}]
    document["annotations"].append({"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 5, 5]})
    written(tmp_path / "coco.json", json.dumps(document))
    written(tmp_path / "yolo/labels/a.txt", "0 0.375 0.375 0.25 0.25\n1 0.1 0.1 0.1 0.1\n")
    written(tmp_path / "yolo/data.yaml", "names: [source, target]\n")
    written(tmp_path / "csv.csv", "image,x1,y1,x2,y2,label\na.png,16,12,32,24,source\na.png,1,1,6,6,target\n")
    for name in ("coco.json", "yolo", "csv.csv"):
        everything = read_boxes(tmp_path / name)
        assert any("source (1), target (1)" in note and "--category" in note for note in everything.notes)
        (item,) = match_boxes(tmp_path / "images", read_boxes(tmp_path / name, categories=["source"])).matched
        assert item.boxes.tolist() == [pytest.approx(BOX, abs=1e-4)]
        with pytest.raises(UsageError, match=r"no box has the category 'sorce'.*source \(1\), target \(1\)"):
            read_boxes(tmp_path / name, categories=["sorce"])


@pytest.mark.parametrize(
    ("recorded", "picture"),
    [
        ("..\\..\\label-studio\\media\\upload\\4\\cb0618f6-two.png", "two.png"),
        ("/data/local-files/?d=set/photo%20one.png", "photo one.png"),
        ("https://host/a.png?X-Amz-Date=1", "a.png"),
        ("C:\\Users\\me\\a.png", "a.png"),
        (unicodedata.normalize("NFD", "é.png"), "é.png"),
        ("A.PNG", "a.png"),
        ("a_png.rf.0123456789abcdef0123456789abcdef.jpg", "a.png"),
        ("other/val/a.png", "val/a.png"),
    ],
)
def test_names_recorded_on_other_machines_match_their_picture(tmp_path: Path, recorded: str, picture: str) -> None:
    image(tmp_path / picture)
    image(tmp_path / "train/b.png")
    document = coco_entry(recorded)
    report = matched(tmp_path, written(tmp_path / "boxes.json", json.dumps(document)))
    assert [item.name for item in report.matched] == [picture] and not report.faults


def test_inexact_names_match_only_when_unambiguous(tmp_path: Path) -> None:
    for name in ("a.png", "A.png", "x/b.png", "y/b.png", "y/c/b.png"):
        image(tmp_path / name)
    exact = match_boxes(tmp_path, [BoxedImage("A.png", (tuple(BOX),)), BoxedImage("q/y/b.png", (tuple(BOX),))])  # type: ignore[arg-type]
    assert [item.name for item in exact.matched] == ["A.png", "y/b.png"]
    loose = match_boxes(tmp_path, [BoxedImage("a.PNG", (tuple(BOX),)), BoxedImage("z/b.png", (tuple(BOX),))])  # type: ignore[arg-type]
    assert not loose.matched and len(loose.faults) == 2 and all("pictures have" in one.message for one in loose.faults)


def test_split_folders_with_images_and_labels_are_read(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        image(tmp_path / part / "images/a.png")
        written(tmp_path / part / "labels/a.txt", "0 0.375 0.375 0.25 0.25\n")
    written(tmp_path / "data.yaml", "names: [t]\n")
    written(tmp_path / "README.roboflow.txt", "exported\n")
    report = matched(tmp_path, tmp_path)
    assert [item.name for item in report.matched] == ["train/images/a.png", "valid/images/a.png"]
    assert not report.faults


def test_files_recording_one_outdated_name_match_by_their_own_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / f"images/{name}.png")
        written(tmp_path / f"voc/{name}.xml", SAME["voc"][1])
    report = matched(tmp_path / "images", tmp_path / "voc")
    assert [item.name for item in report.matched] == ["a.png", "b.png"] and not report.faults


def test_boxes_of_a_picture_listed_twice_in_coco_are_united(tmp_path: Path) -> None:
    image(tmp_path / "images/a.png")
    document = coco_entry()
    document["images"].append({"id": 2, "file_name": "a.png"})
    document["annotations"].append({"id": 2, "image_id": 2, "bbox": [0, 0, 4, 4]})
    report = matched(tmp_path / "images", written(tmp_path / "b.json", json.dumps(document)))
    assert report.matched[0].boxes.tolist() == [BOX, [0, 0, 4, 4]] and "united" in report.notes[0]


def test_rectangle_exported_with_its_polygon_is_one_box(tmp_path: Path) -> None:
    """Label Studio turns a COCO annotation into both, in percent, and they differ in the last digits."""
    image(tmp_path / "images/a.png", (97, 61))
    x, y, width, height = 10.25, 7.5, 30.5, 22.5
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    values: list[dict[str, Any]] = [
        {"x": x / 97 * 100, "y": y / 61 * 100, "width": width / 97 * 100, "height": height / 61 * 100},
        {"points": [[across / 97 * 100, down / 61 * 100] for across, down in corners]},
    ]
    kinds = ("rectanglelabels", "polygonlabels")
    regions = [
        {"original_width": 97, "original_height": 61, "type": kind, "value": value | {kind: ["t"]}}
        for kind, value in zip(kinds, values, strict=True)
    ]
    (tmp_path / "b.json").write_text(json.dumps([{"data": {"image": "a.png"}, "annotations": [{"result": regions}]}]))
    (found,) = matched(tmp_path / "images", tmp_path / "b.json").matched
    assert found.boxes.tolist() == [[10.25, 7.5, 40.75, 30]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_tables_saved_by_excel_are_read(tmp_path: Path, encoding: str) -> None:
    image(tmp_path / "images/Überfall.png")
    (tmp_path / "b.csv").write_text("image\tx1\ty1\tx2\ty2\nÜberfall.png\t16,0\t12\t32\t24,0\n", encoding=encoding)
    report = matched(tmp_path / "images", tmp_path / "b.csv")
    assert [item.boxes.tolist() for item in report.matched] == [[BOX]]


def test_boxes_slightly_over_the_edge_are_clipped_and_counted(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "b.png", (640, 480))
    boxes = BoxedImage("a.png", ((-1.5, 12, 14.5, 24),)), BoxedImage("b.png", ((500, 300, 646, 484), (0, 0, 647, 9)))
    report = match_boxes(tmp_path, boxes)
    assert [item.boxes.tolist() for item in report.matched] == [[[0, 12, 14.5, 24]], [[500, 300, 640, 480]]]
    assert "boxes over the edge of their picture, clipped: 2" in report.notes
    assert ["reaches 7 px outside" in fault.message for fault in report.faults] == [True]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_of_the_stored_raster_are_rotated_with_the_picture(tmp_path: Path, orientation: int) -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[12:18, 8:32] = True
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "m.png"))) > 0
    shape = read_shape(tmp_path / "m.png")
    assert shape == PictureShape((expected.shape[1], expected.shape[0]), orientation)
    assert np.array_equal(upright(mask, orientation), expected)
    rows, columns = np.nonzero(expected)
    bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert displayed_box((8, 12, 32, 18), shape) == bounds
    image(tmp_path / "images/a.jpg", orientation=orientation)
    for size, normalised in ((SIZE, False), (None, True)):
        box = (0.125, 0.25, 0.5, 0.375) if normalised else (8.0, 12.0, 32.0, 18.0)
        entry = BoxedImage("a.jpg", (box,), size, normalised)
        report = match_boxes(tmp_path / "images", [entry], "stored")
        assert report.matched[0].boxes.tolist() == [[float(side) for side in bounds]]
        decided = size is not None and orientation > 4
        without = match_boxes(tmp_path / "images", [entry])
        assert (without.matched[0].boxes.tolist() == report.matched[0].boxes.tolist()) == (decided or orientation == 1)
        assert any("--boxes-of stored" in note for note in without.notes) == (orientation > 1 and not decided)


def test_written_boxes_are_read_back_and_coco_has_polygon_and_area(tmp_path: Path) -> None:
    image(tmp_path / "images/a.png")
    entries = [BoxedImage("a.png", (tuple(BOX),), SIZE)]  # type: ignore[arg-type]
    write_coco(tmp_path / "coco.json", entries)
    for name, writer in FOLDER_WRITERS.items():
        writer(tmp_path / name, entries)
    for name in ("coco.json", *FOLDER_WRITERS):
        assert matched(tmp_path / "images", tmp_path / name).matched[0].boxes.tolist() == [pytest.approx(BOX, abs=1e-3)]
    (annotation,) = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    assert annotation["segmentation"] == [[16, 12, 32, 12, 32, 24, 16, 24]] and annotation["area"] == 192


def test_mask_run_lengths_agree_with_pycocotools(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for number in range(40):
        mask = rng.random((rng.integers(1, 90), rng.integers(1, 90))) < rng.choice([0, 0.02, 0.5, 0.98, 1])
        encoded = encode_mask(mask)
        assert encoded["counts"] == coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
        assert np.array_equal(decode_mask(encoded), mask)
        write_mask(tmp_path / f"{number}.png", mask)
    assert write_masks(tmp_path / "m.json", [("a.png", tmp_path / "3.png")], "masks") == 1


def test_coco_file_of_masks_has_bounds_and_area(tmp_path: Path) -> None:
    mask = np.zeros((48, 64), dtype=bool)
    mask[12:24, 16:32] = True
    write_mask(tmp_path / "m.png", mask)
    write_mask(tmp_path / "none.png", mask & False)
    assert write_masks(tmp_path / "m.json", [("a.png", tmp_path / "m.png"), ("b.png", tmp_path / "none.png")], "") == 2
    document = json.loads((tmp_path / "m.json").read_text())
    (one,) = document["annotations"]
    assert (one["bbox"], one["area"], one["iscrowd"], one["image_id"]) == ([16, 12, 16, 12], 192, 1, 1)
    assert np.array_equal(decode_mask(one["segmentation"]), mask) and len(document["images"]) == 2
