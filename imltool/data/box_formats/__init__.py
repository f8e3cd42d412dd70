"""Box formats: each has a test that recognises a file by its content, and a reader for one file.

A reader adds the boxes of a file to an `Annotations`, and every entry that it cannot read as a fault. It raises
`DataError` only when the whole file is not in its format. To add a format, add an entry to `FORMATS`.

The readers are our own rather than a library's: see docs/data.md, "Why not a library".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imltool.data.box_formats.coco import is_coco, read_coco
from imltool.data.box_formats.files import AnnotationFile, annotation_files
from imltool.data.box_formats.json_formats import (
    is_createml,
    is_labelstudio,
    is_via,
    read_createml,
    read_labelstudio,
    read_via,
)
from imltool.data.box_formats.labelme import is_labelme, read_labelme
from imltool.data.box_formats.model import Accepted, Annotations, Box, BoxedImage, BoxFault
from imltool.data.box_formats.tables import (
    is_csv,
    is_openimages,
    is_retinanet,
    read_csv,
    read_openimages,
    read_retinanet,
)
from imltool.data.box_formats.xml_formats import is_cvat, is_voc, read_cvat, read_voc
from imltool.data.box_formats.yolo import is_yolo, read_yolo
from imltool.errors import DataError, UsageError

__all__ = [
    "FORMATS",
    "Accepted",
    "Annotations",
    "Box",
    "BoxFault",
    "BoxedImage",
    "read_boxes",
]

JSON, XML, TEXT = "json", "xml", "text"


@dataclass(frozen=True)
class BoxFormat:
    """A format of annotation files.

    Attributes:
        suffixes: suffixes of the files that are examined in a folder.
        syntax: syntax of the content, `JSON`, `XML` or `TEXT`.
        recognises: whether a file with that syntax is in the format. Raises `DataError` when it cannot be parsed.
        read: adds a file's boxes to an `Annotations`.
    """

    suffixes: frozenset[str]
    syntax: frozenset[str]
    recognises: Callable[[AnnotationFile], bool]
    read: Callable[[AnnotationFile, Annotations], None]


_JSON = frozenset({".json"}), frozenset({JSON})
_XML = frozenset({".xml"}), frozenset({XML})
_CSV = frozenset({".csv", ".txt"}), frozenset({TEXT})

FORMATS: dict[str, BoxFormat] = {
    "coco": BoxFormat(*_JSON, is_coco, read_coco),
    "voc": BoxFormat(*_XML, is_voc, read_voc),
    "yolo": BoxFormat(frozenset({".txt"}), frozenset({TEXT}), is_yolo, read_yolo),
    "labelme": BoxFormat(*_JSON, is_labelme, read_labelme),
    "cvat": BoxFormat(*_XML, is_cvat, read_cvat),
    "labelstudio": BoxFormat(*_JSON, is_labelstudio, read_labelstudio),
    "via": BoxFormat(frozenset({".json", ".csv"}), frozenset({JSON, TEXT}), is_via, read_via),
    "createml": BoxFormat(*_JSON, is_createml, read_createml),
    "openimages": BoxFormat(*_CSV, is_openimages, read_openimages),
    "csv": BoxFormat(*_CSV, is_csv, read_csv),
    "retinanet": BoxFormat(*_CSV, is_retinanet, read_retinanet),
}
"""Formats in the order in which files are tested; VIA's table precedes CSV with a header, which it resembles."""


def read_boxes(path: Path, format: str | None = None, categories: Sequence[str] = ()) -> Annotations:
    """Read an annotation file, or all annotation files in a folder tree.

    In a folder, a file that cannot be parsed is a fault, and the others are read. Files without annotations (class
    names, lists of pictures, readmes) are left out and named in a note.

    Args:
        format: a key of `FORMATS`; detected from the files' content when None.
        categories: use only boxes of these categories; all if empty.

    Raises `UsageError` for an unknown format or category, `DataError` when nothing can be read: a single file is
    damaged or in no known format, or a folder contains no annotations or several formats.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown box format {format!r}", f"choose one of {', '.join(FORMATS)}")
    if not path.exists():
        raise DataError(f"boxes {path} do not exist", f"give a file or folder in {', '.join(FORMATS)} format")
    found = Annotations()
    if path.is_dir():
        _read_folder(path, format, found)
    else:
        file = AnnotationFile(path, path)
        FORMATS[format or detect_format(file)].read(file, found)
    found.choose(categories)
    return found


def _read_folder(path: Path, format: str | None, found: Annotations) -> None:
    files, damaged, others = [], [], []
    for file in annotation_files(path, FORMATS[format].suffixes if format else (".json", ".xml", ".txt", ".csv")):
        try:
            name = _format_of(file, format)
        except DataError as error:
            damaged.append((file, error))
            continue
        if name:
            files.append((file, name))
        else:
            others.append(file.name)
    formats = sorted({name for _, name in files})
    if len(formats) > 1:
        raise DataError(f"{path} holds {' and '.join(formats)} annotations", "name the format with --format")
    if not files:
        if damaged:
            raise damaged[0][1]
        wanted = format or ", ".join(FORMATS)
        raise DataError(f"{path} holds no annotation", f"expected files in one of the formats {wanted}")
    for file, damage in damaged:
        if file.path.suffix.lower() in FORMATS[formats[0]].suffixes:
            found.fault(file.name, f"{damage.message}: left out")
    for file, name in files:
        try:
            FORMATS[name].read(file, found)
        except DataError as error:
            found.fault(file.name, f"{error.message}: left out")
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        found.notes.append(f"not read, as they hold no {formats[0]} annotation: {', '.join(others[:5])}{more}")


def _format_of(file: AnnotationFile, format: str | None) -> str | None:
    """The format of a file, or None. Raises `DataError` when it cannot be parsed."""
    suffix = file.path.suffix.lower()
    syntax = {".json": JSON, ".xml": XML}.get(suffix) or _syntax(file)
    names = [format] if format else list(FORMATS)
    return next(
        (
            name
            for name in names
            if suffix in FORMATS[name].suffixes and syntax in FORMATS[name].syntax and FORMATS[name].recognises(file)
        ),
        None,
    )


def _syntax(file: AnnotationFile) -> str:
    return {"{": JSON, "[": JSON, "<": XML}.get(file.first_character, TEXT)


def detect_format(file: AnnotationFile) -> str:
    """The format of a single annotation file, detected from its content. Raises `DataError` when none fits."""
    syntax = _syntax(file)
    for name, known in FORMATS.items():
        table = name == "yolo" and file.path.suffix.lower() == ".csv"
        if syntax in known.syntax and not table and known.recognises(file):
            return name
    if file.path.suffix.lower() == ".csv":
        return "csv"  # its reader reports the missing columns
    raise DataError(f"{file.path} is in no box format known here", f"name it with --format: {', '.join(FORMATS)}")
