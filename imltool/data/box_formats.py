"""Readers of the annotation formats people draw boxes in, one function a format.

Every reader returns boxes as XYXY in continuous pixel coordinates: pixel i covers [i, i+1), so a box around the
whole of a 4x3 picture is (0, 0, 4, 3). Values are passed on as recorded; whether they fit is `match_boxes`' concern.
Raised everywhere: `DataError` naming the file and the entry or line, when the structure is not the format's.
"""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from imltool.data.rle import Rle, check_rle
from imltool.errors import DataError

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Accepted:
    """The label a person chose for a box while seeing the teacher's mask: that mask, or the filled box for None."""

    mask: Rle | None


@dataclass(frozen=True)
class BoxedImage:
    """The boxes recorded for one picture, not yet compared with the picture.

    Attributes:
        name: the picture as the annotation records it, forward slashes; for YOLO the annotation's own path.
        boxes: XYXY, in pixels of the picture as it is seen (EXIF orientation applied); of `normalised` ones in shares
            of width and height. Empty when the annotation says that nothing is boxed.
        size: recorded (width, height) in pixels, None when the format or the file records none.
        normalised: boxes are shares of the picture's sides (YOLO), to be scaled when the picture is known.
        any_suffix: the record does not fix the picture's suffix (YOLO, LabelMe): `a.txt` stands for `a.jpg` or `a.png`.
        accepted: for every box the label a person chose, None where none was chosen; empty when there is none at all.
    """

    name: str
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None
    normalised: bool = False
    any_suffix: bool = False
    accepted: tuple[Accepted | None, ...] = ()

    def identity(self) -> list[Any]:
        """What the annotation says, as JSON values: equal for equal annotations."""
        labels = [[label and [label.mask] for label in self.accepted]] if self.accepted else []
        return [self.name, self.boxes, self.size, *labels]


def read_coco(path: Path) -> list[BoxedImage]:
    """COCO detection JSON: `images` (id, file_name, width, height), `annotations` (image_id, bbox = x, y, w, h).

    Images without an annotation are returned with no box. Categories are not looked at. A `segmentation` counts only
    where `imltool annotate` noted that a person accepted it (`imltool.accepted` = `mask`): other files keep polygons
    there that nobody has offered as labels of an edit.
    """
    document = read_json(path)
    images, annotations = (_list(document, key, path) for key in ("images", "annotations"))
    entries: dict[Any, dict[str, Any]] = {}
    boxes: dict[Any, list[Box]] = {}
    accepted: dict[Any, list[Accepted | None]] = {}
    for position, entry in enumerate(images, 1):
        where = f"{path}: image {position}"
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
            raise DataError(f"{where} has no file_name")
        identity = entry.get("id")
        if not isinstance(identity, (int, str)):
            raise DataError(f"{where} ({entry['file_name']}) has no id, or one that is neither number nor text")
        if identity in entries:
            raise DataError(f"{where} ({entry['file_name']}) has the id {identity} of an earlier image")
        entries[identity], boxes[identity], accepted[identity] = entry, [], []
    for position, annotation in enumerate(annotations, 1):
        where = f"{path}: annotation {position}"
        if not isinstance(annotation, dict):
            raise DataError(f"{where} is not an object")
        identity = annotation.get("image_id")
        if not isinstance(identity, (int, str)) or identity not in boxes:
            raise DataError(f"{where} belongs to image {identity!r}, which is not among the images")
        x, y, width, height = _four(annotation.get("bbox"), f"{where}: bbox", "x, y, width, height")
        boxes[identity].append((x, y, x + width, y + height))
        accepted[identity].append(_accepted(annotation, where))
    return [
        BoxedImage(
            _posix(entry["file_name"]),
            tuple(boxes[identity]),
            _recorded_size(entry, "width", "height", path),
            accepted=tuple(accepted[identity]) if any(accepted[identity]) else (),
        )
        for identity, entry in entries.items()
    ]


def _accepted(annotation: dict[str, Any], where: str) -> Accepted | None:
    """What `imltool annotate` noted about a box; None where it noted nothing."""
    note = annotation.get("imltool")
    choice = note.get("accepted") if isinstance(note, dict) else None
    if choice == "mask":
        return Accepted(check_rle(annotation.get("segmentation"), f"{where}: segmentation"))
    if choice not in (None, "box"):
        raise DataError(f"{where}: imltool.accepted is {choice!r}", "expected mask, box or null")
    return Accepted(None) if choice else None


def read_voc(path: Path) -> list[BoxedImage]:
    """Pascal VOC XML, a file or a folder of them: `filename`, `size`, and `bndbox` of every `object`.

    VOC counts pixels from 1 and both ends belong to the box, so (xmin, ymin, xmax, ymax) becomes
    (xmin - 1, ymin - 1, xmax, ymax) here. Tools that write VOC with coordinates from 0 are therefore read one pixel
    too far left and up, which coarse boxes bear, and which `match_boxes` clips at the border.
    Parts of objects are not read. A `size` of 0 counts as not recorded. Documents with a DTD are refused.
    """
    found = []
    for file in _files(path, ".xml"):
        root = _read_xml(file)
        recorded = (root.findtext("filename") or "").strip()
        name = _beside(file, path, recorded or file.name)
        boxes = []
        for position, item in enumerate(root.iter("object"), 1):
            where = f"{file}: object {position}"
            bounds = item.find("bndbox")
            if bounds is None:
                raise DataError(f"{where} has no bndbox")
            sides = [bounds.findtext(tag) for tag in ("xmin", "ymin", "xmax", "ymax")]
            x1, y1, x2, y2 = _four(sides, f"{where}: bndbox", "xmin, ymin, xmax, ymax")
            boxes.append((x1 - 1, y1 - 1, x2, y2))
        size = {tag: root.findtext(f"size/{tag}") for tag in ("width", "height")}
        found.append(BoxedImage(name, tuple(boxes), _recorded_size(size, "width", "height", file), False, not recorded))
    return found


def read_yolo(path: Path) -> list[BoxedImage]:
    """YOLO text, a file or a folder of them named like the pictures: `class cx cy w h` a line, shares of the sides.

    A sixth column (confidence) is allowed and dropped; an empty file means nothing is boxed. `classes.txt` is skipped.
    """
    found = []
    for file in _files(path, ".txt"):
        boxes = []
        for number, line in enumerate(_read_text(file).splitlines(), 1):
            cells = line.split()
            if not cells:
                continue
            where = f"{file}: line {number}"
            if len(cells) not in (5, 6):
                raise DataError(f"{where} has {len(cells)} values, expected class, centre x, centre y, width, height")
            x, y, width, height = _four(cells[1:5], where, "centre x, centre y, width, height")
            boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        name = _beside(file, path, file.name)
        found.append(BoxedImage(name, tuple(boxes), None, normalised=True, any_suffix=True))
    return found


NAME_COLUMNS = ("image", "filename", "file_name")
CORNER_COLUMNS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
SIDE_COLUMNS = ("x", "y", "w", "h")


def read_csv(path: Path) -> list[BoxedImage]:
    """CSV with a header, a box a row, split by comma, semicolon or tab. Column names in any case and order:

    the picture as `image`, `filename` or `file_name`; the box as `x1 y1 x2 y2`, `xmin ymin xmax ymax` (corners, pixels
    from 0) or `x y w h`; optionally the picture's size as `width height`. Other columns are not looked at.
    A row whose four box cells are empty says that nothing is boxed in its picture.
    """
    text = _read_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty", "a CSV needs a header: image,x1,y1,x2,y2")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    try:
        header = [cell.strip().lower() for cell in next(rows)]
        name_column, columns = _csv_columns(header, path)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{path}: line {rows.line_num}"
            if len(row) != len(header):
                raise DataError(f"{where} has {len(row)} cells, the header has {len(header)}")
            cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
            name = _posix(cells[name_column])
            if not name:
                raise DataError(f"{where} names no picture")
            size = _recorded_size(cells, "width", "height", where)
            if sizes.setdefault(name, size) != size:
                raise DataError(f"{where}: {name} has another width and height than in an earlier line")
            boxes.setdefault(name, [])
            recorded = [cells[column] for column in columns]
            if not any(recorded):
                continue
            a, b, c, d = _four(recorded, where, ", ".join(columns))
            boxes[name].append((a, b, a + c, b + d) if columns == SIDE_COLUMNS else (a, b, c, d))
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num} is not valid CSV: {error}") from error
    return [BoxedImage(name, tuple(found), sizes[name]) for name, found in boxes.items()]


def csv_header(line: str) -> bool:
    """True when a first line looks like the header `read_csv` reads."""
    cells = line.replace(";", ",").replace("\t", ",").lower().split(",")
    return any(cell.strip(' "') in NAME_COLUMNS for cell in cells)


def _csv_columns(header: list[str], path: Path) -> tuple[str, tuple[str, str, str, str]]:
    name = next((column for column in NAME_COLUMNS if column in header), None)
    sides = next((found for found in (*CORNER_COLUMNS, SIDE_COLUMNS) if set(found) <= set(header)), None)
    if name is None or sides is None:
        raise DataError(
            f"{path}: line 1 lacks the columns of {'a picture' if name is None else 'a box'}: {', '.join(header)}",
            "expected image,x1,y1,x2,y2 or image,x,y,w,h (filename and xmin,ymin,xmax,ymax are known too)",
        )
    return name, sides


LABELME_SHAPES = ("rectangle", "polygon", "circle")


def read_labelme(path: Path) -> list[BoxedImage]:
    """LabelMe JSON, a file or a folder of them: `imagePath` and `shapes`, each a rectangle, polygon or circle.

    Polygons and circles (centre, a point on the rim) give their bounds. Points, lines and masks are refused.
    """
    found = []
    for file in _files(path, ".json"):
        document = read_json(file)
        shapes = _list(document, "shapes", file)
        recorded = document.get("imagePath")
        if not isinstance(recorded, str) or not recorded:
            recorded = file.name
        boxes = [_shape_bounds(shape, f"{file}: shape {position}") for position, shape in enumerate(shapes, 1)]
        size = _recorded_size(document, "imageWidth", "imageHeight", file)
        found.append(BoxedImage(_beside(file, path, recorded), tuple(boxes), size, any_suffix=True))
    return found


def _shape_bounds(shape: Any, where: str) -> Box:
    kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
    if kind not in LABELME_SHAPES:
        raise DataError(f"{where} is of type {kind!r}, which has no box", f"draw a {', '.join(LABELME_SHAPES)}")
    points = shape.get("points")
    if not isinstance(points, list) or len(points) < (3 if kind == "polygon" else 2):
        raise DataError(f"{where} ({kind}) has too few points")
    pairs = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise DataError(f"{where} ({kind}) has a point that is not a pair of numbers")
        pairs.append((_number(point[0], where), _number(point[1], where)))
    if kind == "circle":
        (x, y), (rim_x, rim_y) = pairs[:2]
        radius = ((rim_x - x) ** 2 + (rim_y - y) ** 2) ** 0.5
        return (x - radius, y - radius, x + radius, y + radius)
    xs, ys = zip(*pairs, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))


FORMATS: dict[str, Callable[[Path], list[BoxedImage]]] = {
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    "csv": read_csv,
    "labelme": read_labelme,
}


def annotation_files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files under `folder` with one of `suffixes` (lower case), hidden ones and YOLO's `classes.txt` aside, sorted."""
    wanted = frozenset(suffixes)
    found: list[Path] = []
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name != "classes.txt" and Path(name).suffix.lower() in wanted:
                found.append(Path(parent) / name)
    return sorted(found, key=lambda file: file.relative_to(folder).parts)


def _files(path: Path, suffix: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = annotation_files(path, [suffix])
    if not found:
        raise DataError(f"{path} holds no {suffix} file")
    return found


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `DataError` with the line when it is not JSON, or not an object."""
    try:
        document = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno} is not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError):  # ValueError: an integer of thousands of digits
        raise DataError(f"{path} is not JSON that can be read here") from None
    if not isinstance(document, dict):
        raise DataError(
            f"{path} holds a JSON {type(document).__name__}, expected an object", "give COCO or LabelMe JSON"
        )
    return document


def _read_xml(path: Path) -> ElementTree.Element:
    """Parse XML without ever expanding an entity: a first pass stops at any DTD, the only place to define one."""
    data = _read_bytes(path)

    def refuse(*_: object) -> None:
        raise DataError(f"{path} contains a DTD, which annotations never need", "remove its <!DOCTYPE …>")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError) as error:
        raise DataError(f"{path} is not valid XML: {error}") from error
    except (LookupError, ValueError) as error:  # the declared encoding is unknown, or not expat's
        raise DataError(f"{path} has an encoding that cannot be read: {error}") from error


def _list(document: dict[str, Any], key: str, path: Path) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise DataError(f"{path} has no list {key!r}", "expected COCO (images, annotations) or LabelMe (shapes) JSON")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
        except OverflowError:
            return float("inf")
    raise DataError(f"{where}: {value!r} is not a number")


def _four(values: Any, where: str, expected: str) -> Box:
    if not isinstance(values, list) or len(values) != 4:
        raise DataError(f"{where} is {values!r}, expected {expected}")
    a, b, c, d = (_number(value, where) for value in values)
    return (a, b, c, d)


def _recorded_size(entry: dict[str, Any], width: str, height: str, where: Path | str) -> tuple[int, int] | None:
    values = (entry.get(width), entry.get(height))
    if any(value is None or value == "" for value in values):
        return None
    sides = [_number(value, f"{where}: {key}") for value, key in zip(values, (width, height), strict=True)]
    if not any(sides):
        return None
    if not all(side > 0 and side.is_integer() for side in sides):
        raise DataError(f"{where}: a picture of {values[0]}x{values[1]} cannot be", "the size is in whole pixels")
    return int(sides[0]), int(sides[1])


def _posix(name: str) -> str:
    return posixpath.normpath(name.strip().replace("\\", "/")) if name.strip() else ""


def _beside(file: Path, root: Path, recorded: str) -> str:
    """A name recorded in `file`, taken relative to that file and expressed relative to the annotations' root."""
    parent = file.parent.relative_to(root).as_posix() if root.is_dir() else ""
    return _posix(posixpath.join(parent, recorded.replace("\\", "/")))
