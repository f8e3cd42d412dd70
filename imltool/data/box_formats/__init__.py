"""Formats people draw boxes in: each has a test that recognises a file by its content, and a reader of one file.

A reader adds what it understood to an `Annotations`, entries that it cannot read as faults, one by one, and raises
`DataError` only where the whole file is none of its format. To add a format, add an entry to `FORMATS`.

Our own readers, not a library's: see docs/data.md, "Why not a library".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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

__all__ = [
    "FORMATS",
    "JSON",
    "TEXT",
    "XML",
    "Accepted",
    "AnnotationFile",
    "Annotations",
    "Box",
    "BoxFault",
    "BoxFormat",
    "BoxedImage",
    "annotation_files",
]

JSON, XML, TEXT = "json", "xml", "text"


@dataclass(frozen=True)
class BoxFormat:
    """A format of annotation files.

    Attributes:
        suffixes: of the files that are looked at in a folder.
        syntax: what the content is written in, among `JSON`, `XML` and `TEXT`.
        recognises: whether a file of that syntax is of the format. Raises `DataError` where it cannot be parsed.
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
"""In the order in which a file is asked; VIA's table comes before CSV with a header, which it resembles."""
