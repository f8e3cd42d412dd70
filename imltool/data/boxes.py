"""Coarse boxes: read in any of five formats, matched with their pictures, every fault told.

Boxes are XYXY in continuous pixels of the picture with its EXIF orientation applied, x to the right, y down.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from imltool.data.box_formats import FORMATS, Accepted, Box, BoxedImage, annotation_files, csv_header, read_json
from imltool.errors import DataError, ImageError, UsageError
from imltool.files import walk_images, write_text
from imltool.pictures.images import read_size

__all__ = [
    "FORMATS",
    "Accepted",
    "BoxFault",
    "BoxReport",
    "BoxedImage",
    "MatchedImage",
    "match_boxes",
    "read_boxes",
    "write_coco",
]

TOLERANCE = 1.0
"""Pixels a box may reach outside its picture; tools round differently (our choice)."""

OF_FILES = ("coco", "csv")


@dataclass(frozen=True, eq=False)
class MatchedImage:
    """A picture and its usable boxes.

    Attributes:
        image: the picture file.
        name: its path relative to the pictures' root, forward slashes.
        boxes: float32 [n,4] XYXY pixels, n ≥ 1, inside the picture, positive size.
        size: (width, height) in pixels, EXIF orientation applied.
        accepted: for every box the label a person chose (a mask is of the picture's size), None where none was chosen.
    """

    image: Path
    name: str
    boxes: NDArray[np.float32]
    size: tuple[int, int]
    accepted: tuple[Accepted | None, ...]


@dataclass(frozen=True)
class BoxFault:
    """What is wrong with one box or one picture's annotation, and what became of it.

    Attributes:
        image: the picture's name relative to the root, or as recorded when it was not found.
        message: one line.
    """

    image: str
    message: str


@dataclass
class BoxReport:
    """Result of `match_boxes`; every picture under the root is in `matched` or in `without_boxes`, never in both.

    Attributes:
        matched: pictures with at least one usable box, sorted by name.
        faults: one a fault, in the annotations' order.
        without_boxes: names of the pictures left without a usable box, sorted as `walk_images` does.
    """

    matched: list[MatchedImage] = field(default_factory=list)
    faults: list[BoxFault] = field(default_factory=list)
    without_boxes: list[str] = field(default_factory=list)


def read_boxes(path: Path, format: str | None = None) -> list[BoxedImage]:
    """Read an annotation file (COCO, CSV, LabelMe) or folder (VOC, YOLO, LabelMe).

    Args:
        format: a key of `FORMATS`; detected from the content when None.

    Raises `UsageError` for an unknown format or one that does not go with a file or folder, `DataError` naming the
    file and the entry or line when the annotation cannot be read.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown box format {format!r}", f"choose one of {', '.join(FORMATS)}")
    if not path.exists():
        raise DataError(f"boxes {path} do not exist", f"give a file or folder in {', '.join(FORMATS)} format")
    if format in OF_FILES and path.is_dir():
        raise UsageError(f"{path} is a folder, {format} boxes are one file", "name the file")
    return FORMATS[format or detect_format(path)](path)


def detect_format(path: Path) -> str:
    """The format of an annotation file or folder, judged by its content. Raises `DataError` when none fits."""
    if path.is_dir():
        return _detect_folder(path)
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as handle:
            first = next((line.strip() for line in handle if line.strip()), "")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if first.startswith(("{", "[")):
        return _detect_json(path)
    if first.startswith("<"):
        return "voc"
    if csv_header(first) or path.suffix.lower() == ".csv":
        return "csv"
    if len(first.split()) in (5, 6) and all(_is_number(cell) for cell in first.split()):
        return "yolo"
    raise DataError(f"{path} is in no box format known here", f"name it with --format: {', '.join(FORMATS)}")


def _detect_json(path: Path) -> str:
    document = read_json(path)
    if "shapes" in document:
        return "labelme"
    if "images" in document or "annotations" in document:
        return "coco"
    raise DataError(f"{path} is neither COCO (images, annotations) nor LabelMe (shapes) JSON")


def _detect_folder(path: Path) -> str:
    kinds = {".xml": "voc", ".txt": "yolo", ".json": "labelme"}
    files = annotation_files(path, kinds)
    present = sorted({file.suffix.lower() for file in files})
    if len(present) == 1:
        found = kinds[present[0]]
        if found == "labelme" and _detect_json(files[0]) == "coco":
            raise DataError(f"{path} holds COCO JSON", f"name the file, for instance {files[0]}")
        return found
    if not present:
        raise DataError(f"{path} holds no annotation", "expected .xml (VOC), .txt (YOLO) or .json (LabelMe) files")
    raise DataError(f"{path} holds {' and '.join(present)} files", "name the format with --format: voc, yolo, labelme")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def match_boxes(images_root: Path, annotated: list[BoxedImage]) -> BoxReport:
    """Find the picture of every annotation and check every box against it.

    A picture is found by its path relative to `images_root`, else by its file name when only one picture has it;
    where the record does not fix the suffix (YOLO, LabelMe) also by its stem. Boxes reaching at most `TOLERANCE`
    pixels outside are clipped. A faulty box is left out and its picture's good ones stay; a picture that is missing,
    unreadable, of another size than recorded, or annotated twice is left out (the second time) with all its boxes.
    Where annotations of different paths come down to one picture by its file name, only the one with its path counts.

    Raises `DataError` when `images_root` is not a folder.
    """
    if not images_root.is_dir():
        raise DataError(f"{images_root} is not a folder of pictures")
    pictures = {path.relative_to(images_root).as_posix(): path for path in walk_images(images_root)}
    report = BoxReport()
    done: set[str] = set()
    for entry, name in zip(annotated, _claims(pictures, annotated), strict=True):
        if isinstance(name, DataError):
            report.faults.append(BoxFault(entry.name, name.message))
            continue
        if name in done:
            report.faults.append(BoxFault(entry.name, "annotated again: the later annotation is left out"))
            continue
        done.add(name)
        try:
            size = read_size(pictures[name])
            _check_size(entry, size)
        except (ImageError, DataError) as error:
            report.faults.append(BoxFault(name, f"{error.message}: its boxes are left out"))
            continue
        usable, messages = _usable(entry, size)
        report.faults += [BoxFault(name, message) for message in messages]
        if usable:
            boxes, accepted = zip(*usable, strict=True)
            array = np.asarray(boxes, dtype=np.float32)
            report.matched.append(MatchedImage(pictures[name], name, array, size, accepted))
    report.matched.sort(key=lambda item: PurePosixPath(item.name).parts)
    with_boxes = {item.name for item in report.matched}
    report.without_boxes = [name for name in pictures if name not in with_boxes]
    return report


def _claims(pictures: Iterable[str], annotated: list[BoxedImage]) -> list[str | DataError]:
    """The picture every annotation belongs to, or why it has none; the order of annotations does not matter.

    An annotation of `train/a.jpg` must not end up on another folder's `a.jpg` because its own picture is missing.
    """
    index = _Index(pictures)
    found: list[tuple[str, bool] | DataError] = []
    recorded: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for entry in annotated:
        try:
            found.append(claim := index.find(entry))
            recorded[claim].add(entry.name)
        except DataError as error:
            found.append(error)
    claims: list[str | DataError] = []
    for claim_or_error in found:
        if isinstance(claim_or_error, DataError):
            claims.append(claim_or_error)
            continue
        name, by_path = claim_or_error
        if not by_path and (name, True) in recorded:
            claims.append(DataError(f"no such picture ({name} has an annotation of its own): its boxes are left out"))
        elif not by_path and len(recorded[name, False]) > 1:
            several = " and ".join(sorted(recorded[name, False])[:2])
            claims.append(DataError(f"{name} fits several annotations by its file name ({several}): left out"))
        else:
            claims.append(name)
    return claims


class _Index:
    """Pictures by relative path, by file name, and both without suffix."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in names:
            path = PurePosixPath(name)
            self._by["path", name].append(name)
            self._by["file name", path.name].append(name)
            self._by["stem", path.with_suffix("").as_posix()].append(name)
            self._by["file stem", path.stem].append(name)

    def find(self, entry: BoxedImage) -> tuple[str, bool]:
        """The picture and whether its path was recorded, not its file name alone. Raises `DataError`."""
        path = PurePosixPath(entry.name)
        keys = [("path", entry.name), ("file name", path.name)]
        if entry.any_suffix and path.name:
            keys = [keys[0], ("stem", path.with_suffix("").as_posix()), keys[1], ("file stem", path.stem)]
        for key in keys:
            found = self._by.get(key, [])
            if len(found) == 1:
                return found[0], key[0] in ("path", "stem")
            if found:
                raise DataError(f"{len(found)} pictures have the {key[0]} {key[1]} ({found[0]}, {found[1]}): left out")
        raise DataError("no such picture: its boxes are left out")


def _check_size(entry: BoxedImage, size: tuple[int, int]) -> None:
    if entry.size is None or entry.size == size:
        return
    turned = ", the same turned by 90°: check the EXIF orientation" if entry.size == size[::-1] else ""
    recorded, found = (f"{width}x{height}" for width, height in (entry.size, size))
    raise DataError(f"recorded as {recorded}, the picture is {found}{turned}")


def _usable(entry: BoxedImage, size: tuple[int, int]) -> tuple[list[tuple[Box, Accepted | None]], list[str]]:
    """The boxes that hold, in pixels and clipped, with what was accepted, and a message for each that does not."""
    usable: list[tuple[Box, Accepted | None]] = []
    messages = []
    labels = entry.accepted or (None,) * len(entry.boxes)
    for position, (box, accepted) in enumerate(zip(entry.boxes, labels, strict=True), 1):
        pixels, fault = _fit(scaled(box, size) if entry.normalised else box, size)
        if accepted and accepted.mask and accepted.mask["size"] != [size[1], size[0]]:
            fault = fault or "has an accepted mask of another size than the picture"
        if fault:
            shown = ", ".join(f"{value:g}" for value in box)
            messages.append(f"box {position} of {len(entry.boxes)} ({shown}) {fault}: this box is left out")
        else:
            usable.append((pixels, accepted))
    return usable, messages


def scaled(box: Box, size: tuple[int, int]) -> Box:
    """A box in shares of the sides as pixels of a picture of `size` (width, height)."""
    width, height = size
    return (box[0] * width, box[1] * height, box[2] * width, box[3] * height)


def _fit(box: Box, size: tuple[int, int]) -> tuple[Box, str]:
    """The box clipped to the picture, and what is wrong with it, empty when it is usable."""
    x1, y1, x2, y2 = box
    width, height = size
    if not all(math.isfinite(value) for value in box):
        return box, "is not finite"
    if x2 <= x1 or y2 <= y1:
        return box, f"has no positive size ({x2 - x1:g}x{y2 - y1:g})"
    outside = max(-x1, -y1, x2 - width, y2 - height)
    if outside > TOLERANCE:
        return box, f"reaches {outside:.4g} px outside the picture ({width}x{height})"
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    # compared as float32, the type handed on: two sides may fall together there
    left, top, right, bottom = np.asarray(clipped, dtype=np.float32)
    if right <= left or bottom <= top:
        return box, f"leaves nothing inside the picture ({width}x{height})"
    return clipped, ""


def write_coco(path: Path, entries: list[BoxedImage], description: str = "") -> None:
    """Write boxes as COCO detection JSON (one category, `tampered`; bbox = x, y, w, h in pixels). Atomic.

    Args:
        description: how the boxes were made, kept under `info`.

    `read_boxes` returns what was written. Raises `DataError` for a value that is not finite or a normalised entry
    without a recorded size, `OutputError` when the disk refuses.
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
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    info = {"info": {"description": description}} if description else {}
    document = info | {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "tampered"}]}
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
