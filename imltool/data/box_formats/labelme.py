"""LabelMe JSON (also AnyLabeling and X-AnyLabeling), one file per picture."""

from __future__ import annotations

import math

from imltool.data.box_formats.files import AnnotationFile, JsonObject, as_list, pairs, recorded_size
from imltool.data.box_formats.model import Annotations, Box, Shapes, bounds
from imltool.errors import DataError

SHAPES = {"rectangle": 2, "polygon": 3, "circle": 2, "mask": 2, "rotation": 3}
"""Shapes that have a box, and their least number of points."""


def is_labelme(file: AnnotationFile) -> bool:
    """Whether a JSON object has `shapes`."""
    return isinstance(file.json, dict) and "shapes" in file.json


def read_labelme(file: AnnotationFile, found: Annotations) -> None:
    """`imagePath` and `shapes`: rectangles, polygons, rotated boxes, circles (centre, a point on the rim) and masks.

    The box of a shape is its bounds. Points and lines have no box and are left out.
    """
    document = file.object
    shapes = as_list(document, "shapes", file.path)
    recorded = document.get("imagePath")
    name = file.beside(recorded) if isinstance(recorded, str) else ""
    read = Shapes()
    for position, shape in enumerate(shapes, 1):
        where = f"{file.path}: shape {position}"
        with found.leaving_out(name or file.name, "shape"):
            if not isinstance(shape, dict):
                raise DataError(f"{where} is not an object")
            read.add(_bounds(shape, where), shape.get("label"))
    read.size = recorded_size(document, "imageWidth", "imageHeight", file.path)
    found.images.append(read.picture(name or file.name, any_suffix=True, own_name=file.stem))


def _bounds(shape: JsonObject, where: str) -> Box:
    kind = shape.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in SHAPES:
        raise DataError(f"{where} is of type {kind!r}, which has no box", f"draw a {', '.join(SHAPES)}")
    points = pairs(shape.get("points"), f"{where} ({kind})", SHAPES[kind])
    if kind == "circle":
        (x, y), rim = points[:2]
        radius = math.dist((x, y), rim)
        return (x - radius, y - radius, x + radius, y + radius)
    x1, y1, x2, y2 = bounds(points)
    return (x1, y1, x2 + 1, y2 + 1) if kind == "mask" else (x1, y1, x2, y2)  # a mask's points are its outermost pixels
