"""The contents of annotation files: boxes by picture, and everything that could not be read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from imltool.data.rle import Rle
from imltool.errors import DataError, UsageError

Box = tuple[float, float, float, float]
"""XYXY in continuous pixels: pixel i covers [i, i+1), so a box around a whole 4x3 picture is (0, 0, 4, 3)."""


@dataclass(frozen=True)
class Accepted:
    """The label a person accepted for a box after seeing the teacher's mask: that mask, or None for the filled box."""

    mask: Rle | None


@dataclass(frozen=True)
class BoxedImage:
    """The boxes recorded for a picture, before they are compared with the picture.

    Attributes:
        name: the picture as the annotation records it, forward slashes; for YOLO the annotation's own path.
        boxes: XYXY in pixels, or in shares of width and height if `normalised`. Empty if nothing is boxed.
        size: recorded (width, height) in pixels, None if the format or the file records none.
        normalised: whether boxes are in shares of the picture's sides, to be scaled when the picture is known.
        any_suffix: whether the picture's suffix is not recorded (YOLO, LabelMe): `a.txt` matches `a.jpg` or `a.png`.
        accepted: the accepted label of each box, None for a box without one; empty if no label was accepted.
        categories: the category's name of each box, "" for a box without one; empty if the format has none.
        own_name: path, without suffix, of an annotation file that belongs to one picture; it is searched for when
            `name` is outdated. Empty if one file describes many pictures.
        verdict: the verdict of `imltool annotate` on the picture (`authentic`, `unsure`, `skipped`, `tampered`); "" for
            other files.
    """

    name: str
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None
    normalised: bool = False
    any_suffix: bool = False
    accepted: tuple[Accepted | None, ...] = ()
    categories: tuple[str, ...] = ()
    own_name: str = ""
    verdict: str = ""

    def identity(self) -> list[Any]:
        """The annotation as JSON values: equal for equal annotations."""
        labels = [[label and [label.mask] for label in self.accepted]] if self.accepted else []
        return [self.name, self.boxes, self.size, *labels]


@dataclass
class Shapes:
    """The boxes of a picture and the categories of each, while they are read."""

    boxes: list[Box] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def add(self, box: Box, category: object) -> None:
        """Add a box with its category, which may be missing."""
        self.boxes.append(box)
        self.categories.append(str(category or ""))

    def picture(self, name: str, **more: Any) -> BoxedImage:
        """The picture with its boxes; `more` are other fields of `BoxedImage`."""
        return BoxedImage(name, tuple(self.boxes), self.size, **{"categories": tuple(self.categories)} | more)


@dataclass(frozen=True)
class BoxFault:
    """A fault of a box, of a picture's annotation or of an annotation file, and its consequence.

    Attributes:
        image: the picture's name relative to the root, or as recorded if it was not found; else the annotation file.
        message: one line.
    """

    image: str
    message: str


@dataclass
class Annotations:
    """Everything read from an annotation file or folder.

    Attributes:
        images: in the files' order; a picture may occur more than once.
        faults: boxes, pictures and files that could not be read, in the same order.
        notes: how the rest was interpreted, one line each.
    """

    images: list[BoxedImage] = field(default_factory=list)
    faults: list[BoxFault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, image: str, message: str) -> None:
        """Record that something was left out."""
        self.faults.append(BoxFault(image, message))

    @contextmanager
    def leaving_out(self, image: str, part: str) -> Iterator[None]:
        """Record a `DataError` of the block: `part` ("box", "shape", …) of an image is left out."""
        try:
            yield
        except DataError as error:
            self.fault(image, f"{error.message}: this {part} is left out")

    def categories(self) -> Counter[str]:
        """Number of boxes by category, most frequent first."""
        return Counter(name for image in self.images for name in image.categories if name)

    def choose(self, wanted: Sequence[str]) -> None:
        """Keep the boxes of the categories `wanted`, or all if it is empty, and add a note about it.

        Raises `UsageError` for a category that no box has.
        """
        counts = self.categories()
        shown = ", ".join(f"{name} ({count})" for name, count in counts.most_common(8))
        if not wanted:
            if len(counts) > 1:
                self.notes.append(f"boxes of all {len(counts)} categories are used: {shown}; choose with --category")
            return
        for name in wanted:
            if name not in counts:
                raise UsageError(f"no box has the category {name!r}", f"categories here: {shown or 'none'}")
        total = sum(len(image.boxes) for image in self.images)
        self.images = [_chosen(image, frozenset(wanted)) for image in self.images]
        dropped = total - sum(len(image.boxes) for image in self.images)
        if dropped:
            self.notes.append(f"{dropped} boxes of other categories than {', '.join(wanted)} are not used: {shown}")


def _chosen(image: BoxedImage, wanted: frozenset[str]) -> BoxedImage:
    kept = [index for index, name in enumerate(image.categories) if name in wanted]
    accepted = tuple(image.accepted[index] for index in kept) if image.accepted else ()
    return replace(
        image,
        boxes=tuple(image.boxes[index] for index in kept),
        accepted=accepted if any(accepted) else (),
        categories=tuple(image.categories[index] for index in kept),
    )


def bounds(points: Iterable[tuple[float, float]]) -> Box:
    """The box around one or more points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))


def rotated_bounds(box: Box, degrees: float, around: tuple[float, float] | None = None) -> Box:
    """The box around a box rotated clockwise by `degrees` around a point, or around its centre for None."""
    if degrees % 360 == 0:
        return box
    x1, y1, x2, y2 = box
    x0, y0 = around or ((x1 + x2) / 2, (y1 + y2) / 2)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = ((x - x0, y - y0) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)))
    return bounds([(x0 + x * cosine - y * sine, y0 + x * sine + y * cosine) for x, y in corners])


def ellipse_bounds(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Box:
    """The box around an ellipse with the radii (x, y), rotated by `degrees`."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    wide = math.hypot(radii[0] * cosine, radii[1] * sine)
    tall = math.hypot(radii[0] * sine, radii[1] * cosine)
    return (centre[0] - wide, centre[1] - tall, centre[0] + wide, centre[1] + tall)
