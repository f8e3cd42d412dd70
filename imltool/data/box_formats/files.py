"""Annotation files: their text, JSON or XML, read once, and checks of the values in them."""

from __future__ import annotations

import codecs
import json
import math
import posixpath
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

import defusedxml
from defusedxml import ElementTree

from imltool.data.box_formats.model import Box
from imltool.errors import DataError
from imltool.files import walk_images

JsonObject = dict[str, object]
"""An object of a JSON file in a foreign format: every value is checked before it is used."""
JsonList = list[object]

SUFFIXES = frozenset({".json", ".xml", ".txt", ".csv"})

MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
"""Byte order marks; Excel's "Unicode text" is UTF-16."""


class AnnotationFile:
    """A file that may contain annotations; its content is read and parsed when it is first needed.

    Attributes:
        path: the file.
        name: its path relative to the annotations' root with forward slashes; the file name for a single file.

    Every property raises `DataError` naming the file, and the line if there is one.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.name = path.relative_to(root).as_posix() if root.is_dir() else path.name

    @cached_property
    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror or error}") from error

    @cached_property
    def text(self) -> str:
        """The text, decoded as UTF-8, as UTF-16 with a byte order mark, or else as Windows-1252, which Excel writes."""
        encoding = next((name for mark, name in MARKS if self._bytes.startswith(mark)), None)
        for candidate in (encoding,) if encoding else ("utf-8", "cp1252"):
            try:
                text = self._bytes.decode(candidate).removeprefix("\ufeff")
            except UnicodeDecodeError:
                continue
            if "\0" not in text:
                return text
        raise DataError(f"{self.path} is not text", "save it as UTF-8")

    @property
    def first_character(self) -> str:
        """The first character that is not white space, "" for an empty file."""
        return self.text.lstrip()[:1]

    @cached_property
    def json(self) -> JsonObject | JsonList:
        """The object or list in a JSON file."""
        try:
            document = json.loads(self.text)
        except json.JSONDecodeError as error:
            raise DataError(f"{self.path}: line {error.lineno} is not valid JSON: {error.msg}") from error
        except (RecursionError, ValueError):  # ValueError: an integer with thousands of digits
            raise DataError(f"{self.path} is not JSON that can be read here") from None
        if not isinstance(document, (dict, list)):
            raise DataError(f"{self.path} holds a JSON {type(document).__name__}, expected an object or a list")
        return document

    @property
    def object(self) -> JsonObject:
        """The object in a JSON file."""
        document = self.json
        if isinstance(document, list):
            raise DataError(f"{self.path} holds a JSON list, expected an object", "give COCO or LabelMe JSON")
        return document

    @property
    def items(self) -> JsonList:
        """The list in a JSON file."""
        document = self.json
        if isinstance(document, dict):
            raise DataError(f"{self.path} holds a JSON object, expected a list")
        return document

    @cached_property
    def xml(self) -> Element:
        """The root of an XML file. A document with a DTD is refused, because only a DTD can define entities."""
        try:
            root: Element = ElementTree.fromstring(self._bytes, forbid_dtd=True)
        except defusedxml.DefusedXmlException:
            raise DataError(
                f"{self.path} contains a DTD, which annotations never need", "remove its <!DOCTYPE …>"
            ) from None
        except ParseError as error:
            raise DataError(f"{self.path} is not valid XML: {error}") from error
        except (LookupError, ValueError) as error:  # the declared encoding is unknown, or not supported by expat
            raise DataError(f"{self.path} has an encoding that cannot be read: {error}") from error
        return root

    def beside(self, recorded: str) -> str:
        """Convert a name recorded relative to this file's folder to one relative to the annotations' root."""
        parent = posixpath.dirname(self.name)
        return posix(posixpath.join(parent, recorded.replace("\\", "/"))) if recorded.strip() else ""

    @property
    def stem(self) -> str:
        """`name` without its suffix, usually that of the picture if the file describes only one."""
        return PurePosixPath(self.name).with_suffix("").as_posix()


def annotation_files(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> list[AnnotationFile]:
    """Files under `folder` with one of `suffixes` (lower case), without hidden ones, sorted."""
    wanted = frozenset(suffixes)
    found = walk_images(folder, wanted=lambda path: path.suffix.lower() in wanted)
    return [AnnotationFile(file, folder) for file in found]


def as_list(document: JsonObject, key: str, where: Path | str) -> JsonList:
    """The list `key` of an object. Raises `DataError`."""
    value = document.get(key)
    if not isinstance(value, list):
        raise DataError(f"{where} has no list {key!r}", "expected COCO (images, annotations) or LabelMe (shapes) JSON")
    return value


def number(value: object, where: str) -> float:
    """Convert a number or its text to float. Raises `DataError`."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
        except OverflowError:
            return math.inf
    raise DataError(f"{where}: {value!r} is not a number")


def is_number(cell: str) -> bool:
    """Whether a text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def four(values: object, where: str, expected: str) -> Box:
    """Convert a list of four numbers. Raises `DataError`."""
    if not isinstance(values, list) or len(values) != 4:
        raise DataError(f"{where} is {values!r}, expected {expected}")
    a, b, c, d = (number(value, where) for value in values)
    return (a, b, c, d)


def pairs(points: object, where: str, least: int) -> list[tuple[float, float]]:
    """Convert a list of at least `least` pairs of numbers. Raises `DataError`."""
    if not isinstance(points, list) or len(points) < least:
        raise DataError(f"{where} has too few points")
    found = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise DataError(f"{where} has a point that is not a pair of numbers")
        found.append((number(point[0], where), number(point[1], where)))
    return found


def recorded_size(entry: Mapping[str, object], width: str, height: str, where: Path | str) -> tuple[int, int] | None:
    """(width, height) in pixels, None when they are not recorded or 0. Raises `DataError`."""
    values = (entry.get(width), entry.get(height))
    if any(value is None or value == "" for value in values):
        return None
    sides = [number(value, f"{where}: {key}") for value, key in zip(values, (width, height), strict=True)]
    if not any(sides):
        return None
    if not all(side > 0 and side.is_integer() for side in sides):
        raise DataError(f"{where}: {values[0]}x{values[1]} is not a size", "give the size in whole pixels")
    return int(sides[0]), int(sides[1])


def posix(name: str) -> str:
    """A path with forward slashes and, if possible, without `.` and `..`; "" for white space."""
    return posixpath.normpath(name.strip().replace("\\", "/")) if name.strip() else ""
