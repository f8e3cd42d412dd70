"""Match coarse boxes with their pictures and report every fault. Files are read by `imltool.data.box_formats`.

Matched boxes are XYXY in continuous pixels of the displayed picture (EXIF orientation applied), x to the right, y down.
Boxes drawn with a program that ignores the orientation belong to the stored raster.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imltool.data.box_formats import Accepted, Annotations, Box, BoxedImage, BoxFault
from imltool.data.picture_names import Claim, PictureNames
from imltool.errors import DataError, ImageError
from imltool.files import walk_images
from imltool.pictures.images import PictureShape, read_shape
from imltool.texts import listed

Raster = Literal["stored", "displayed"]
"""The raster on which labels of a picture with an EXIF orientation were drawn."""

OVER_EDGE, OVER_EDGE_PIXELS = 0.01, 2.0
"""A box that extends at most this share of a side, or this number of pixels, outside its picture is clipped, because
tools round differently (our choice).
"""


@dataclass(frozen=True, eq=False)
class MatchedImage:
    """A picture and its usable boxes.

    Attributes:
        image: the picture file.
        name: its path relative to the pictures' root, with forward slashes.
        boxes: float32 [n,4] XYXY pixels, n ≥ 1, inside the displayed picture and of positive size.
        size: (width, height) in pixels, EXIF orientation applied.
        accepted: the accepted label of each box (a mask has the picture's size), None for a box without one.
    """

    image: Path
    name: str
    boxes: NDArray[np.float32]
    size: tuple[int, int]
    accepted: tuple[Accepted | None, ...]


@dataclass
class BoxReport:
    """Result of `match_boxes`; every picture under the root is either in `matched` or in `without_boxes`.

    Attributes:
        matched: pictures with at least one usable box, sorted by name.
        faults: all faults, in the annotations' order.
        without_boxes: names of the pictures without a usable box, sorted as by `walk_images`.
        notes: how boxes were interpreted, one line each: categories, orientation, clipping, merged annotations.
        lost: annotated pictures without a usable box, by their name or as recorded → the reason, in a few words.
        empty: pictures that are annotated as having no box → `BoxedImage.verdict`.
    """

    matched: list[MatchedImage] = field(default_factory=list)
    faults: list[BoxFault] = field(default_factory=list)
    without_boxes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    empty: dict[str, str] = field(default_factory=dict)


def match_boxes(
    images_root: Path,
    annotated: Annotations | Sequence[BoxedImage],
    boxes_of: Raster | None = None,
    names: Sequence[str] | None = None,
) -> BoxReport:
    """Find the picture of every annotation and check every box against it.

    For the search for pictures see `imltool.data.picture_names`. Boxes that extend slightly outside are clipped. A
    faulty box is left out, and the picture's other boxes are kept. A picture that is missing, unreadable or of another
    size than recorded is left out with all its boxes. Annotations with the path of the same picture are merged. If
    annotations with different paths match a picture by its file name, only the one with its path is used.

    Args:
        annotated: the annotations; faults and notes of an `Annotations` come first in the report.
        boxes_of: the raster on which boxes of pictures with an EXIF orientation were drawn, for pictures whose recorded
            size does not decide it. None takes the displayed one and adds a note.
        names: the pictures below the root to consider, relative to it; None for all.

    Raises `DataError` when `images_root` is not a folder.
    """
    if not images_root.is_dir():
        raise DataError(f"{images_root} is not a folder of pictures")
    read = annotated if isinstance(annotated, Annotations) else Annotations([*annotated])
    if names is None:
        names = [path.relative_to(images_root).as_posix() for path in walk_images(images_root)]
    pictures = {name: images_root / name for name in names}
    report = BoxReport(faults=[*read.faults], notes=[*read.notes])
    known = {entry.name for entry in read.images}
    lost = {fault.image: "unreadable annotation" for fault in read.faults if fault.image not in known}
    matching = _Matching(pictures, report, boxes_of, frozenset(fault.image for fault in read.faults))
    for name, entries in _by_picture(pictures, read.images, report).items():
        matching.add(name, entries)
    matching.finish()
    with_boxes = {item.name for item in report.matched}
    report.lost = {name: reason for name, reason in (lost | report.lost).items() if name not in with_boxes}
    report.matched.sort(key=lambda item: PurePosixPath(item.name).parts)
    report.without_boxes = [name for name in pictures if name not in with_boxes]
    return report


def _by_picture(
    pictures: Iterable[str], annotated: Sequence[BoxedImage], report: BoxReport
) -> dict[str, list[BoxedImage]]:
    """Annotations by picture name; one without a picture becomes a fault."""
    by_picture: dict[str, list[BoxedImage]] = defaultdict(list)
    for entry, name in zip(annotated, _claims(pictures, annotated), strict=True):
        if isinstance(name, DataError):
            report.faults.append(BoxFault(entry.name, name.message))
            if entry.boxes:
                report.lost.setdefault(entry.name, "picture not found")
        else:
            by_picture[name].append(entry)
    return by_picture


def _claims(pictures: Iterable[str], annotated: Sequence[BoxedImage]) -> list[str | DataError]:
    """The picture of every annotation, or an error if it has none; the order of annotations does not matter.

    An annotation of `train/a.jpg` must not be matched with another folder's `a.jpg` because its own picture is missing.
    Files that all record the same outdated name belong to the pictures with the files' names.
    """
    names = PictureNames(pictures)
    found: list[Claim | DataError] = []
    for entry in annotated:
        try:
            found.append(names.find(entry))
        except DataError as error:
            found.append(error)
    uses = Counter(claim.picture for claim in found if isinstance(claim, Claim))
    for index, claim in enumerate(found):
        if isinstance(claim, Claim) and uses[claim.picture] > 1:
            found[index] = names.find_own(annotated[index]) or claim
    recorded: dict[Claim, set[str]] = defaultdict(set)
    for claim, entry in zip(found, annotated, strict=True):
        if isinstance(claim, Claim):
            recorded[claim].add(entry.name)
    return [claim if isinstance(claim, DataError) else _judged(claim, recorded) for claim in found]


def _judged(claim: Claim, recorded: dict[Claim, set[str]]) -> str | DataError:
    if claim.by_path:
        return claim.picture
    if Claim(claim.picture, True) in recorded:
        return DataError(f"no such picture ({claim.picture} has an annotation of its own): its boxes are left out")
    if len(recorded[claim]) > 1:
        several = " and ".join(sorted(recorded[claim])[:2])
        return DataError(f"{claim.picture} fits several annotations by its file name ({several}): left out")
    return claim.picture


class _Matching:
    """Checks boxes picture by picture and collects findings that are reported in one line for all pictures."""

    def __init__(
        self, pictures: dict[str, Path], report: BoxReport, boxes_of: Raster | None, faulty: frozenset[str]
    ) -> None:
        self._pictures, self._report, self._boxes_of = pictures, report, boxes_of
        self._faulty = faulty  # recorded names of pictures with boxes that could not be read
        self._clipped = 0
        self._turned: list[str] = []
        self._unclear: list[str] = []
        self._united: list[str] = []

    def add(self, name: str, entries: Sequence[BoxedImage]) -> None:
        """Check the annotations (usually one) of a picture and add its usable boxes to the report."""
        report = self._report
        reason = "no usable box" if any(entry.boxes or entry.name in self._faulty for entry in entries) else ""
        usable: dict[Box, Accepted | None] = {}
        shape = None
        for entry in entries:
            try:
                shape = shape or read_shape(self._pictures[name])
                found = self._placed(name, entry, shape)
            except (ImageError, DataError) as error:
                report.faults.append(BoxFault(name, f"{error.message}: its boxes are left out"))
                reason = "unreadable picture" if isinstance(error, ImageError) else "recorded with another size"
                continue
            for box, accepted in self._usable(name, found, shape.size, in_pixels=not entry.normalised):
                usable[box] = usable.get(box) or accepted
        if len(entries) > 1:
            self._united.append(name)
        if usable and shape is not None:
            array = np.asarray([*usable], dtype=np.float32)
            report.matched.append(MatchedImage(self._pictures[name], name, array, shape.size, tuple(usable.values())))
        elif reason:
            report.lost[name] = reason
        else:
            report.empty[name] = next((entry.verdict for entry in entries if entry.verdict), "")

    def _placed(self, name: str, entry: BoxedImage, shape: PictureShape) -> BoxedImage:
        """The annotation with boxes in pixels of the displayed picture. Raises `DataError` for another size."""
        raster = self._raster(name, entry, shape)
        size = shape.stored_size if raster == "stored" else shape.size
        boxes = tuple(scaled(box, size) if entry.normalised else box for box in entry.boxes)
        if raster == "stored":
            boxes = tuple(displayed_box(box, shape) for box in boxes)
        return replace(entry, boxes=boxes, normalised=False)

    def _raster(self, name: str, entry: BoxedImage, shape: PictureShape) -> Raster:
        """The raster of an annotation: by its recorded size if that decides it, else as requested."""
        if entry.size is not None and entry.size not in (shape.size, shape.stored_size):
            recorded, found = (f"{width}x{height}" for width, height in (entry.size, shape.size))
            turned = ", the same rotated by 90°" if entry.size == shape.size[::-1] else ""
            raise DataError(f"recorded as {recorded}, the picture is {found}{turned}")
        if shape.orientation == 1 or not entry.boxes:
            return "displayed"
        if entry.size is not None and shape.size != shape.stored_size:
            raster: Raster = "displayed" if entry.size == shape.size else "stored"
        else:
            raster = self._boxes_of or "displayed"
            if self._boxes_of is None:
                self._unclear.append(name)
        if raster == "stored":
            self._turned.append(name)
        return raster

    def _usable(
        self, name: str, entry: BoxedImage, size: tuple[int, int], in_pixels: bool
    ) -> list[tuple[Box, Accepted | None]]:
        """The usable boxes, clipped, with their accepted labels; other boxes become faults."""
        usable: list[tuple[Box, Accepted | None]] = []
        labels = entry.accepted or (None,) * len(entry.boxes)
        for position, (box, accepted) in enumerate(zip(entry.boxes, labels, strict=True), 1):
            pixels, fault = _fit(box, size)
            if in_pixels and not fault and max(pixels) <= 1.0 < min(size):
                fault = "is inside the first pixel, so its values seem to be shares of the sides, not pixels"
            if accepted and accepted.mask and accepted.mask["size"] != [size[1], size[0]]:
                fault = fault or "has an accepted mask of another size than the picture"
            if fault:
                shown = ", ".join(f"{value:g}" for value in box)
                message = f"box {position} of {len(entry.boxes)} ({shown}) {fault}: this box is left out"
                self._report.faults.append(BoxFault(name, message))
                continue
            self._clipped += _over_edge(box, size) > 0
            usable.append((pixels, accepted))
        return usable

    def finish(self) -> None:
        """Report findings that concern many pictures, in one line each."""
        notes = self._report.notes
        if self._united:
            notes.append(f"annotated more than once, boxes united: {listed(self._united)}")
        if self._clipped:
            notes.append(f"boxes over the edge of their picture, clipped: {self._clipped}")
        if self._turned:
            notes.append(f"boxes of the stored raster, converted by the EXIF orientation: {listed(self._turned)}")
        if self._unclear:
            notes.append(
                "boxes taken as those of the displayed picture, but an EXIF orientation leaves it open (if your tool "
                f"ignores it, give --boxes-of stored): {listed(self._unclear)}"
            )


def scaled(box: Box, size: tuple[int, int]) -> Box:
    """Convert a box in shares of the sides to pixels of a picture of `size` (width, height)."""
    width, height = size
    return (box[0] * width, box[1] * height, box[2] * width, box[3] * height)


def displayed_box(box: Box, shape: PictureShape) -> Box:
    """Convert an XYXY box in pixels of the stored raster to one of the displayed picture."""
    width, height = shape.stored_size
    x1, y1, x2, y2 = box
    left, right, top, bottom = width - x2, width - x1, height - y2, height - y1
    return {
        1: (x1, y1, x2, y2),
        2: (left, y1, right, y2),
        3: (left, top, right, bottom),
        4: (x1, top, x2, bottom),
        5: (y1, x1, y2, x2),
        6: (top, x1, bottom, x2),
        7: (top, left, bottom, right),
        8: (y1, left, y2, right),
    }[shape.orientation]


def _over_edge(box: Box, size: tuple[int, int]) -> float:
    """Pixels by which a box extends outside, at most 0 for a box inside; extents due to rounding count as 0."""
    return max(-box[0], -box[1], box[2] - size[0], box[3] - size[1]) - 1e-6 * max(size)


def _fit(box: Box, size: tuple[int, int]) -> tuple[Box, str]:
    """The box clipped to the picture, and its fault, empty if it is usable."""
    x1, y1, x2, y2 = box
    width, height = size
    if not all(math.isfinite(value) for value in box):
        return box, "is not finite"
    if x2 <= x1 or y2 <= y1:
        return box, f"has no positive size ({x2 - x1:g}x{y2 - y1:g})"
    across, down = (max(OVER_EDGE_PIXELS, OVER_EDGE * side) for side in size)
    if max(-x1, x2 - width) > across or max(-y1, y2 - height) > down:
        outside = max(-x1, -y1, x2 - width, y2 - height)
        return box, f"reaches {outside:.4g} px outside the picture ({width}x{height})"
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    # as float32, the type passed on: two sides may coincide in it, and a rectangle that a program stored in shares of
    # the sides together with its polygon becomes the same box again
    left, top, right, bottom = (float(side) for side in np.asarray(clipped, dtype=np.float32))
    if right <= left or bottom <= top:
        return box, f"leaves nothing inside the picture ({width}x{height})"
    return (left, top, right, bottom), ""
