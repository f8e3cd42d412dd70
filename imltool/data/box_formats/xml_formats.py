"""Pascal VOC with one XML file per picture, and CVAT's "CVAT for images 1.1" with one for many."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from imltool.data.box_formats.files import AnnotationFile, four, number, recorded_size
from imltool.data.box_formats.model import Annotations, Box, Shapes, bounds, ellipse_bounds, rotated_bounds
from imltool.errors import DataError


def is_voc(file: AnnotationFile) -> bool:
    """Whether the root element is `annotation`."""
    return file.xml.tag == "annotation"


def read_voc(file: AnnotationFile, found: Annotations) -> None:
    """`filename`, `size`, and the `bndbox`, `robndbox` (a rotated box, radians) or `polygon` of every `object`.

    VOC counts pixels from 1 and both ends belong to the box, so (xmin, ymin, xmax, ymax) becomes
    (xmin - 1, ymin - 1, xmax, ymax) here. Boxes of tools that write VOC with coordinates from 0 are therefore one pixel
    too far left and up. Coarse boxes tolerate this, and `match_boxes` clips them at the border.
    Parts of objects are not read. A `size` of 0 counts as not recorded.
    """
    root = file.xml
    recorded = (root.findtext("filename") or "").strip()
    name = file.beside(recorded) if recorded else file.stem
    size = {tag: root.findtext(f"size/{tag}") for tag in ("width", "height")}
    shapes = Shapes(size=recorded_size(size, "width", "height", file.path))
    for position, item in enumerate(root.iter("object"), 1):
        with found.leaving_out(name, "box"):
            shapes.add(_voc_box(item, f"{file.path}: object {position}"), (item.findtext("name") or "").strip())
    found.images.append(shapes.picture(name, any_suffix=not recorded, own_name=file.stem))


def _voc_box(item: Element, where: str) -> Box:
    if (sides := item.find("bndbox")) is not None:
        values = [sides.findtext(tag) for tag in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = four(values, f"{where}: bndbox", "xmin, ymin, xmax, ymax")
        return (x1 - 1, y1 - 1, x2, y2)
    if (turned := item.find("robndbox")) is not None:
        x, y, width, height, angle = (
            number(turned.findtext(tag), f"{where}: robndbox") for tag in ("cx", "cy", "w", "h", "angle")
        )
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return rotated_bounds(box, math.degrees(angle))
    if (polygon := item.find("polygon")) is not None:
        cells = {child.tag: child.text for child in polygon}
        points = [
            (number(cells[tag], where), number(cells.get(f"y{tag[1:]}"), where)) for tag in cells if tag.startswith("x")
        ]
        if len(points) >= 3:
            return bounds(points)
    raise DataError(f"{where} has no bndbox")


def is_cvat(file: AnnotationFile) -> bool:
    """Whether the root element is `annotations`."""
    return file.xml.tag == "annotations"


def read_cvat(file: AnnotationFile, found: Annotations) -> None:
    """Every `image` with its `box`, `polygon`, `polyline`, `ellipse`, `cuboid` and `mask`; a rotation is applied.

    Points and skeletons have no box and are left out. Raises `DataError` for an export of a video.
    """
    root = file.xml
    if root.find("track") is not None:
        raise DataError(
            f"{file.path} is a CVAT export of a video, which names no pictures", 'export it as "CVAT for images 1.1"'
        )
    for position, image in enumerate(root.iter("image"), 1):
        where = f"{file.path}: image {position}"
        name = file.beside(image.get("name") or "")
        try:
            if not name:
                raise DataError(f"{where} has no name")
            shapes = Shapes(size=recorded_size(dict(image.attrib), "width", "height", where))
        except DataError as error:
            found.fault(name or file.name, f"{error.message}: left out")
            continue
        for number_, shape in enumerate(image, 1):
            if shape.tag == "tag":  # a label of the whole picture
                continue
            with found.leaving_out(name, "shape"):
                shapes.add(_cvat_box(shape, f"{where}: shape {number_}"), shape.get("label"))
        found.images.append(shapes.picture(name))


def _cvat_box(shape: Element, where: str) -> Box:
    def of(*names: str) -> list[float]:
        return [number(shape.get(name), f"{where} ({shape.tag}): {name}") for name in names]

    degrees = number(shape.get("rotation") or 0, f"{where}: rotation")
    if shape.tag == "box":
        x1, y1, x2, y2 = of("xtl", "ytl", "xbr", "ybr")
        return rotated_bounds((x1, y1, x2, y2), degrees)
    if shape.tag == "ellipse":
        x, y, wide, tall = of("cx", "cy", "rx", "ry")
        return ellipse_bounds((x, y), (wide, tall), degrees)
    if shape.tag == "mask":
        left, top, width, height = of("left", "top", "width", "height")
        return (left, top, left + width, top + height)
    if shape.tag == "cuboid":
        corners = [f"{edge}{end}" for edge in ("xtl", "xbl", "xtr", "xbr") for end in (1, 2)]
        xs, ys = of(*corners), of(*(f"y{corner[1:]}" for corner in corners))
        return bounds(zip(xs, ys, strict=True))
    if shape.tag in ("polygon", "polyline"):
        points = [point.split(",") for point in (shape.get("points") or "").split(";") if point.strip()]
        if len(points) >= 2 and all(len(point) == 2 for point in points):
            return bounds((number(x.strip(), where), number(y.strip(), where)) for x, y in points)
        raise DataError(f"{where} ({shape.tag}) has no list of points")
    raise DataError(f"{where} is of type {shape.tag!r}, which has no box")
