"""JSON of VIA (also its CSV), CreateML and Label Studio: one file for many pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from imltool.data.box_formats.files import AnnotationFile, JsonObject, number, recorded_size
from imltool.data.box_formats.model import Annotations, Box, Shapes, bounds, ellipse_bounds, rotated_bounds
from imltool.data.box_formats.tables import header_of, table_rows
from imltool.errors import DataError
from imltool.files import IMAGE_SUFFIXES

VIA_COLUMN = "region_shape_attributes"
RESULTS = ("annotations", "completions")


def _dicts(value: object) -> list[JsonObject]:
    """The objects of a list, or of an object's values."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict)]


def is_via(file: AnnotationFile) -> bool:
    """Whether a JSON file is a VIA 1 or 2 project or export, or a CSV file its table."""
    if file.first_character not in ("{", "["):
        return VIA_COLUMN in header_of(file)
    pictures = _via_pictures(file)
    return bool(pictures) and all("filename" in one and "regions" in one for one in pictures)


def _via_pictures(file: AnnotationFile) -> list[JsonObject]:
    document = file.json
    return _dicts(document.get("_via_img_metadata", document)) if isinstance(document, dict) else []


def read_via(file: AnnotationFile, found: Annotations) -> None:
    """VIA: `filename` and regions of shape rect, polygon, polyline, circle or ellipse; points are left out."""
    pictures: dict[str, Shapes] = {}
    for recorded, where, shape, labels in _via_regions(file, found):
        name = file.beside(recorded)
        shapes = pictures.setdefault(name, Shapes())
        if shape is not None:
            with found.leaving_out(name, "region"):
                shapes.add(_via_box(shape, where), _via_category(labels))
    found.images += [shapes.picture(name) for name, shapes in pictures.items()]


def _via_regions(file: AnnotationFile, found: Annotations) -> Iterator[tuple[str, str, JsonObject | None, object]]:
    """(picture, location for messages, shape or None for a picture without one, attributes) of every region."""
    if file.first_character in ("{", "["):
        for count, picture in enumerate(_via_pictures(file), 1):
            if not {"filename", "regions"} <= picture.keys():
                found.fault(file.name, f"{file.path}: picture {count} has no filename or no regions: left out")
                continue
            name = str(picture["filename"])
            yield name, "", None, None
            for position, region in enumerate(_dicts(picture["regions"]), 1):
                shape = region.get("shape_attributes")
                where = f"{file.path}: {name}: region {position}"
                yield name, where, shape if isinstance(shape, dict) else {}, region.get("region_attributes")
        return
    header = [cell.removeprefix("#") for cell in header_of(file)]  # VIA 1.0 begins with "#filename"
    for line, row in list(table_rows(file))[1:]:
        cells = dict(zip(header, row, strict=False))
        name, where = cells.get("filename", ""), f"{file.path}: line {line}"
        try:
            shape, labels = (json.loads(cells.get(key) or "{}") for key in (VIA_COLUMN, "region_attributes"))
        except (ValueError, RecursionError):
            shown = file.beside(name) or file.name
            found.fault(shown, f"{where} holds no JSON in {VIA_COLUMN}: this region is left out")
            continue
        if not name:
            found.fault(file.name, f"{where} names no picture: this region is left out")
            continue
        yield name, where, shape if isinstance(shape, dict) and shape else None, labels


def _via_category(labels: object) -> str:
    values = (
        [value for value in labels.values() if isinstance(value, str) and value] if isinstance(labels, dict) else []
    )
    return values[0] if len(values) == 1 else ""


def _via_box(shape: JsonObject, where: str) -> Box:
    def of(*names: str) -> list[float]:
        return [number(shape.get(name), f"{where}: {name}") for name in names]

    kind = shape.get("name")
    if kind == "rect":
        x, y, width, height = of("x", "y", "width", "height")
        return (x, y, x + width, y + height)
    if kind == "circle":
        x, y, radius = of("cx", "cy", "r")
        return (x - radius, y - radius, x + radius, y + radius)
    if kind == "ellipse":
        x, y, wide, tall = of("cx", "cy", "rx", "ry")
        return ellipse_bounds((x, y), (wide, tall), math.degrees(number(shape.get("theta") or 0, where)))
    if kind in ("polygon", "polyline"):
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) >= 2:
            return bounds((number(x, where), number(y, where)) for x, y in zip(xs, ys, strict=True))
    raise DataError(f"{where} is of the shape {kind!r}, which has no box")


def is_createml(file: AnnotationFile) -> bool:
    """Whether a JSON list has pictures with `annotations` and no keys of Label Studio."""
    items = _dicts(file.json) if isinstance(file.json, list) else []
    return bool(items) and all(_createml_name(item) and isinstance(item.get("annotations"), list) for item in items)


def _createml_name(item: JsonObject) -> str:
    return next((name for key in ("image", "imagefilename") if isinstance(name := item.get(key), str)), "")


def read_createml(file: AnnotationFile, found: Annotations) -> None:
    """Apple's CreateML: `image` and `annotations` with `label` and `coordinates` (centre x, y, width, height)."""
    for count, item in enumerate(_dicts(file.items), 1):
        recorded, annotations = _createml_name(item), item.get("annotations")
        name = file.beside(recorded)
        if not name or not isinstance(annotations, list):
            found.fault(name or file.name, f"{file.path}: picture {count} has no image or no annotations: left out")
            continue
        shapes = Shapes()
        for position, annotation in enumerate(annotations, 1):
            where = f"{file.path}: {recorded}: annotation {position}"
            with found.leaving_out(name, "box"):
                sides = annotation.get("coordinates") if isinstance(annotation, dict) else None
                if not isinstance(sides, dict):
                    raise DataError(f"{where} has no coordinates")
                x, y, width, height = (
                    number(sides.get(key), f"{where}: {key}") for key in ("x", "y", "width", "height")
                )
                box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                shapes.add(box, annotation.get("label"))
        found.images.append(shapes.picture(name))


def is_labelstudio(file: AnnotationFile) -> bool:
    """Whether a JSON list has Label Studio's tasks, as in its exports JSON and JSON-MIN."""
    items = _dicts(file.json) if isinstance(file.json, list) else []
    return bool(items) and all(_task_name(item) for item in items) and not is_createml(file)


def _task_name(task: JsonObject) -> str:
    """The picture of a task: the first text in its data that has a picture's suffix or is the URL of a picture."""
    data = task.get("data")
    fields = data if isinstance(data, dict) else task
    texts = [value for key, value in fields.items() if isinstance(value, str) and key != "annotator"]
    ends = [text for text in texts if f".{text.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES]
    return (ends or [""])[0]


def read_labelstudio(file: AnnotationFile, found: Annotations) -> None:
    """Label Studio: rectangles (with their rotation), polygons and ellipses in percent of the sides.

    All annotations of a task are used except cancelled ones. Brushes and key points are left out.
    """
    for count, task in enumerate(_dicts(file.items), 1):
        recorded = _task_name(task)
        name = file.beside(recorded)
        if not name:
            found.fault(file.name, f"{file.path}: task {count} names no picture: left out")
            continue
        shapes = Shapes()
        for position, region in enumerate(_regions(task), 1):
            where = f"{file.path}: {recorded}: region {position}"
            with found.leaving_out(name, "region"):
                inner = region.get("value")
                value: JsonObject = inner if isinstance(inner, dict) else region
                shapes.size = recorded_size(region, "original_width", "original_height", where) or shapes.size
                if number(region.get("image_rotation") or 0, where) % 360:
                    raise DataError(f"{where} was drawn on a picture that Label Studio had turned")
                labels = next((value[key] for key in value if key.endswith("labels")), None)
                category = str(labels[0]) if isinstance(labels, list) and labels else ""
                shapes.add(_percent_box(value, shapes.size, where), category)
        found.images.append(shapes.picture(name, normalised=True))


def _regions(task: JsonObject) -> list[JsonObject]:
    """The drawn regions of a task, without relations and labels of the whole picture."""
    if isinstance(task.get("data"), dict):
        answers = [one for key in RESULTS for one in _dicts(task.get(key)) if not one.get("was_cancelled")]
        drawn = [region for one in answers for region in _dicts(one.get("result"))]
        return [region for region in drawn if isinstance(value := region.get("value"), dict) and "choices" not in value]
    return [region for value in task.values() if isinstance(value, list) for region in _dicts(value)]


def _percent_box(value: JsonObject, size: tuple[int, int] | None, where: str) -> Box:
    """The box of a region, in shares of the sides."""

    def of(*names: str) -> list[float]:
        return [number(value.get(name), f"{where}: {name}") / 100 for name in names]

    degrees = number(value.get("rotation") or 0, f"{where}: rotation")
    wide, tall = size or (1, 1)
    if degrees and size is None:
        raise DataError(f"{where} is rotated, and the picture's size is not recorded")
    if isinstance(points := value.get("points"), list):
        points = [point for point in points if isinstance(point, list) and len(point) == 2]
        if len(points) >= 3:
            return bounds((number(x, where) / 100, number(y, where) / 100) for x, y in points)
    elif "radiusX" in value:
        x, y, across, down = of("x", "y", "radiusX", "radiusY")
        box = ellipse_bounds((x * wide, y * tall), (across * wide, down * tall), degrees)
        return (box[0] / wide, box[1] / tall, box[2] / wide, box[3] / tall)
    elif {"x", "y", "width", "height"} <= value.keys() and "keypointlabels" not in value:
        x, y, width, height = of("x", "y", "width", "height")
        pixels = (x * wide, y * tall, (x + width) * wide, (y + height) * tall)
        box = rotated_bounds(pixels, degrees, around=pixels[:2])  # Label Studio rotates around the top left corner
        return (box[0] / wide, box[1] / tall, box[2] / wide, box[3] / tall)
    raise DataError(f"{where} is no rectangle, polygon or ellipse")
