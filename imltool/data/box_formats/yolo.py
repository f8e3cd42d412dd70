"""YOLO text, one file per picture with its name: boxes, polygons and oriented boxes in shares of the sides."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath

import yaml

from imltool.data.box_formats.files import AnnotationFile, is_number, number
from imltool.data.box_formats.model import Annotations, Box, Shapes, bounds
from imltool.errors import DataError
from imltool.files import IMAGE_SUFFIXES

LARGEST_SHARE = 1.5
"""A larger value is not a share of a side; boxes over the edge stay below it (our choice)."""

CLASS_FILES = ("classes.txt", "obj.names")
OTHER_FILES = frozenset({"classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "labelmap.txt"})


def is_yolo(file: AnnotationFile) -> bool:
    """Whether a text file contains labels, unlike lists of pictures (train.txt), class names and readmes.

    An empty file is a label file (nothing is boxed), unless it has the name of one of those.
    """
    name = file.path.name.casefold()
    if name in OTHER_FILES or name.startswith("readme"):
        return False
    rows = [line.split() for line in file.text.splitlines() if line.strip()]
    return not rows or any(len(cells) > 2 and is_number(cells[0]) and is_number(cells[1]) for cells in rows)


def read_yolo(file: AnnotationFile, found: Annotations) -> None:
    """One line per box: `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 …` for a polygon or an oriented box.

    A confidence at the end is allowed and ignored; an empty file means that nothing is boxed. Class names are read from
    a data set's YAML file, `classes.txt` or `obj.names` in the file's folder or up to two above it. Where such a YAML
    file has `kpt_shape`, the values after the box are keypoints, which are ignored.
    """
    names, keypoints = _classes(file)
    kept = PurePosixPath(file.stem).suffix.lower() in IMAGE_SUFFIXES  # a.jpg.txt for a.jpg
    name = file.stem if kept else file.name
    shapes = Shapes()
    for line_number, line in enumerate(file.text.splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        with found.leaving_out(name, "box"):
            category = cells[0].removesuffix(".0")
            box = _box(cells[:5] if keypoints else cells, f"{file.path}: line {line_number}")
            shapes.add(box, names.get(category, f"class {category}"))
    found.images.append(shapes.picture(name, normalised=True, any_suffix=not kept))


def _box(cells: list[str], where: str) -> Box:
    if len(cells) < 5:
        raise DataError(f"{where} has {len(cells)} values, expected class, centre x, centre y, width, height")
    values = [number(cell, where) for cell in cells[1:]]
    if len(values) % 2 and len(values) > 4:
        values.pop()  # a confidence
    if any(abs(value) > LARGEST_SHARE for value in values):
        raise DataError(f"{where}: values are pixels, not shares of the sides from 0 to 1")
    if len(values) == 4:
        x, y, width, height = values
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return bounds(zip(values[::2], values[1::2], strict=True))


def _classes(file: AnnotationFile) -> tuple[dict[str, str], bool]:
    """Class number → name, empty if no such list is beside or above the file; and whether keypoints follow boxes."""
    names: dict[str, str] | None = None
    keypoints = False
    for folder in list(file.path.absolute().parents)[:3]:
        descriptions = sorted(path for pattern in ("*.yaml", "*.yml") for path in folder.glob(pattern))
        for path in (*descriptions, *(folder / name for name in CLASS_FILES)):
            try:
                described = _description(path, path.stat().st_mtime_ns)
            except OSError:
                continue
            keypoints = keypoints or bool(described.get("kpt_shape"))
            listed = described.get("names")
            if names is None and isinstance(listed, (dict, list)):
                pairs = listed.items() if isinstance(listed, dict) else enumerate(listed)
                names = {str(number): str(label).strip() for number, label in pairs}
    return names or {}, keypoints


@lru_cache(maxsize=100)
def _description(path: Path, modified: int) -> dict[object, object]:
    """The content of a data set's YAML file, or of a list of class names; cached, as every label file needs it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        described = {"names": text.splitlines()} if path.name in CLASS_FILES else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return {}
    return described if isinstance(described, dict) else {}
