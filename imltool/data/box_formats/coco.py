"""COCO detection JSON, one file for many pictures or one per picture."""

from __future__ import annotations

from imltool.data.box_formats.files import (
    AnnotationFile,
    JsonList,
    JsonObject,
    as_list,
    four,
    number,
    recorded_size,
)
from imltool.data.box_formats.model import Accepted, Annotations, Box, BoxedImage, bounds, rotated_bounds
from imltool.data.rle import check_rle, decode_counts
from imltool.errors import DataError
from imltool.pictures import pixels


def is_coco(file: AnnotationFile) -> bool:
    """Whether a JSON file has the lists of COCO; a file with nothing but `categories` is not an annotation."""
    document = file.json
    return isinstance(document, dict) and ("images" in document or "annotations" in document)


def read_coco(file: AnnotationFile, found: Annotations) -> None:
    """`images` (id, file_name, width, height), `annotations` (image_id, bbox = x, y, w, h in pixels).

    Ids and numbers may be texts. Without a `bbox`, the bounds of the `segmentation` (polygons or run lengths) are used.
    With `attributes.rotation` (degrees, as exported by CVAT), the result is the box around the rotated one. A
    segmentation is never used as a label, because nobody has declared it to be the edit's. Labels accepted in `imltool
    annotate` are in `imltool.accepted` and `imltool.mask`.
    """
    document = file.object
    images, annotations = (as_list(document, key, file.path) for key in ("images", "annotations"))
    names = _category_names(document.get("categories"))
    entries = _images(images, file, found)
    boxes: dict[str, list[tuple[Box, Accepted | None, str]]] = {key: [] for key in entries}
    for position, annotation in enumerate(annotations, 1):
        where = f"{file.path}: annotation {position}"
        image = file.name
        try:
            if not isinstance(annotation, dict):
                raise DataError(f"{where} is not an object")
            key = _key(annotation.get("image_id"))
            if key is None or key not in boxes:
                shown = annotation.get("image_id")
                raise DataError(f"{where} belongs to image {shown!r}, which is not among the images")
            image = entries[key].name
            category = _key(annotation.get("category_id"))
            name = names.get(category, category) if category is not None else None
            boxes[key].append((_box(annotation, where, entries[key].size), _accepted(annotation, where), name or ""))
        except DataError as error:
            found.fault(image, f"{error.message}: this box is left out")
    for key, entry in entries.items():
        accepted = tuple(one[1] for one in boxes[key])
        found.images.append(
            BoxedImage(
                entry.name,
                tuple(one[0] for one in boxes[key]),
                entry.size,
                accepted=accepted if any(accepted) else (),
                categories=tuple(one[2] for one in boxes[key]),
                verdict=entry.verdict,
            )
        )


def _images(images: JsonList, file: AnnotationFile, found: Annotations) -> dict[str, BoxedImage]:
    entries: dict[str, BoxedImage] = {}
    for position, entry in enumerate(images, 1):
        where = f"{file.path}: image {position}"
        shown = file.name
        try:
            if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
                raise DataError(f"{where} has no file_name")
            shown = file.beside(entry["file_name"]) or file.name
            key = _key(entry.get("id"))
            if key is None:
                raise DataError(f"{where} ({entry['file_name']}) has no id, or one that is neither number nor text")
            if key in entries:
                raise DataError(f"{where} ({entry['file_name']}) has the id {key} of an earlier image")
            entries[key] = BoxedImage(
                file.beside(entry["file_name"]),
                (),
                recorded_size(entry, "width", "height", where),
                verdict=_verdict(entry),
            )
        except DataError as error:
            found.fault(shown, f"{error.message}: left out")
    return entries


def _verdict(image: JsonObject) -> str:
    note = image.get("imltool")
    verdict = note.get("verdict") if isinstance(note, dict) else None
    return verdict if isinstance(verdict, str) else ""


def _key(value: object) -> str | None:
    """An id as text: 1, 1.0 and "1" are the same id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    return str(value).strip()


def _category_names(categories: object) -> dict[str, str]:
    if not isinstance(categories, list):
        return {}
    return {
        key: str(entry["name"])
        for entry in categories
        if isinstance(entry, dict) and "name" in entry and (key := _key(entry.get("id"))) is not None
    }


def _box(annotation: JsonObject, where: str, size: tuple[int, int] | None) -> Box:
    if not annotation.get("bbox") and annotation.get("segmentation"):
        return _segmentation_bounds(annotation["segmentation"], where, size)
    x, y, width, height = four(annotation.get("bbox"), f"{where}: bbox", "x, y, width, height")
    attributes = annotation.get("attributes")
    turned = attributes.get("rotation") if isinstance(attributes, dict) else None
    box = (x, y, x + width, y + height)
    return rotated_bounds(box, number(turned, f"{where}: rotation")) if turned else box


def _segmentation_bounds(segmentation: object, where: str, size: tuple[int, int] | None) -> Box:
    if isinstance(segmentation, dict):
        mask = decode_counts(segmentation, f"{where}: segmentation")
        height, width = mask.shape
        if size is not None and size != (width, height):
            raise DataError(f"{where}: its segmentation is {width}x{height}, its image {size[0]}x{size[1]}")
        if not mask.any():
            raise DataError(f"{where}: its segmentation marks nothing")
        left, top, right, bottom = pixels.bounds(mask)
        return (float(left), float(top), float(right), float(bottom))
    polygons = segmentation if isinstance(segmentation, list) else []
    if polygons and not isinstance(polygons[0], list):
        polygons = [polygons]
    points = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"{where}: a polygon of its segmentation is not a list of x, y, x, y, …")
        values = [number(value, f"{where}: segmentation") for value in polygon]
        points += list(zip(values[::2], values[1::2], strict=True))
    if not points:
        raise DataError(f"{where} has neither a bbox nor a segmentation")
    return bounds(points)


def _accepted(annotation: JsonObject, where: str) -> Accepted | None:
    """The label recorded for a box by `imltool annotate`, or None."""
    note = annotation.get("imltool")
    choice = note.get("accepted") if isinstance(note, dict) else None
    if choice == "mask" and isinstance(note, dict):
        return Accepted(check_rle(note.get("mask"), f"{where}: imltool.mask"))
    if choice not in (None, "box"):
        raise DataError(f"{where}: imltool.accepted is {choice!r}, expected mask, box or null")
    return Accepted(None) if choice else None
