"""Writers of box formats: COCO, Pascal VOC and YOLO.

`read_boxes` reads the files back to the same boxes; Pascal VOC rounds them to whole pixels, YOLO to 1e-6 of the sides.
CVAT and Label Studio import the COCO file.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.data.box_formats import Box, BoxedImage
from imltool.data.boxes import scaled
from imltool.errors import DataError
from imltool.files import make_folder, write_text
from imltool.pictures.images import Mask

LABEL = "tampered"
CATEGORY = {"id": 1, "name": LABEL, "supercategory": ""}


def write_voc(folder: Path, entries: list[BoxedImage]) -> None:
    """Write a `NAME.xml` per picture below `folder` in the pictures' subfolders; boxes in pixels, 1-based, inclusive.

    Raises `DataError` for two pictures with the same stem or an entry without a size, `OutputError`.
    """
    for entry, path in _targets(folder, entries, ".xml"):
        width, height = _size(entry)
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = PurePosixPath(entry.name).name
        size = ElementTree.SubElement(root, "size")
        for tag, value in (("width", width), ("height", height), ("depth", 3)):
            ElementTree.SubElement(size, tag).text = str(value)
        for x1, y1, x2, y2 in entry.boxes:
            item = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(item, "name").text = LABEL
            bounds = ElementTree.SubElement(item, "bndbox")
            left, top = min(round(x1), width - 1), min(round(y1), height - 1)
            sides = {
                "xmin": left + 1,
                "ymin": top + 1,
                "xmax": max(round(x2), left + 1),
                "ymax": max(round(y2), top + 1),
            }
            for tag, value in sides.items():
                ElementTree.SubElement(bounds, tag).text = str(value)
        ElementTree.indent(root)
        write_text(path, ElementTree.tostring(root, encoding="unicode") + "\n")


def write_yolo(folder: Path, entries: list[BoxedImage]) -> None:
    """Write a `NAME.txt` per picture below `folder` in the pictures' subfolders: `0 cx cy w h` in shares of the sides.

    `classes.txt` names class 0. Raises as `write_voc` does.
    """
    for entry, path in _targets(folder, entries, ".txt"):
        width, height = _size(entry)
        lines = []
        for x1, y1, x2, y2 in entry.boxes:
            shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append("0 " + " ".join(f"{share:.6f}" for share in shares) + "\n")
        write_text(path, "".join(lines))
    write_text(folder / "classes.txt", f"{LABEL}\n")


FOLDER_WRITERS: dict[str, Callable[[Path, list[BoxedImage]], None]] = {"voc": write_voc, "yolo": write_yolo}


def _targets(folder: Path, entries: list[BoxedImage], suffix: str) -> list[tuple[BoxedImage, Path]]:
    names = [PurePosixPath(entry.name).with_suffix(suffix).as_posix() for entry in entries]
    for name, count in Counter(name.casefold() for name in names).items():
        if count > 1:
            raise DataError(f"{count} pictures would share {name}", "their names differ only in the suffix: use coco")
    make_folder(folder)
    return [(entry, folder / name) for entry, name in zip(entries, names, strict=True)]


def _size(entry: BoxedImage) -> tuple[int, int]:
    if entry.size is None:
        raise DataError(f"{entry.name}: its size is not known")
    return entry.size


def write_coco(path: Path, entries: list[BoxedImage], description: str = "") -> None:
    """Write boxes as COCO detection JSON (one category, `tampered`; bbox = x, y, w, h in pixels). Atomic.

    Every box also has a `segmentation`, a polygon of its four corners, which CVAT and Label Studio require.

    Args:
        description: how the boxes were made, stored under `info`.

    `read_boxes` returns the same boxes. Raises `DataError` for a value that is not finite or a normalised entry without
    a recorded size, `OutputError` when the file cannot be written.
    """
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, entry in enumerate(entries, 1):
        image: dict[str, object] = {"id": image_id, "file_name": entry.name}
        if entry.size is not None:
            image |= {"width": entry.size[0], "height": entry.size[1]}
        elif entry.normalised:
            raise DataError(f"{entry.name}: boxes in shares of the sides need the picture's size")
        images.append(image)
        for box in entry.boxes:
            x1, y1, x2, y2 = scaled(box, entry.size) if entry.normalised and entry.size else box
            if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
                raise DataError(f"{entry.name}: a box is not finite ({x1:g}, {y1:g}, {x2:g}, {y2:g})")
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": box_polygon((x1, y1, x2, y2)),
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    info = {"info": {"description": description}} if description else {}
    document = info | {"images": images, "annotations": annotations, "categories": [CATEGORY]}
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def outlines(mask: Mask) -> list[list[float]]:
    """A bool mask [H,W] as COCO segmentation: one polygon per island, along the outer edges of its pixels.

    Holes are filled; islands that touch at a corner are one. The largest comes first, because label-studio-converter
    reads no other.
    """
    # doubled in size, so that an island one pixel wide has two sides
    large = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    found, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edges = [np.asarray((contour[:, 0] + 1) // 2, dtype=np.int32) for contour in found]
    return [_corners(points) for points in sorted(edges, key=cv2.contourArea, reverse=True)]


def _corners(points: NDArray[np.int32]) -> list[float]:
    """The corner points [n,2] of a closed line."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) < 0
    return [float(value) for value in points[turns | back].ravel()]


def box_polygon(box: Box) -> list[list[float]]:
    """A box as a COCO segmentation: a polygon of its four corners, clockwise from the top left."""
    x1, y1, x2, y2 = box
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]
