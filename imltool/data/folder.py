"""The `folder` layout: `tampered/`, `masks/` (same stem), optionally `authentic/` and `boxes.json`.

Masks are paired by name, never by sorted order, so that a missing file cannot shift the rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from imltool.data.masks import MaskRule
from imltool.errors import DataError
from imltool.files import walk_images
from imltool.texts import counted

PLAIN = MaskRule()
NO_MASK, DOUBLED = "no mask", "several pictures or masks of one name"
"""Reasons why a picture has no pair."""


@dataclass(frozen=True)
class Sample:
    """One picture of a labelled set.

    Attributes:
        name: path relative to the set's folder with forward slashes: `tampered/a.jpg`.
        image: the picture.
        mask: its ground-truth mask, or None for an authentic picture (nothing is tampered).
        kind: the kind of its manipulation, None if unknown.
        rule: the rule to read its mask.
    """

    name: str
    image: Path
    mask: Path | None
    kind: str | None = None
    rule: MaskRule = PLAIN

    @property
    def tampered(self) -> bool:
        return self.mask is not None


@dataclass
class Pairing:
    """Pictures with their masks, sorted by picture.

    Attributes:
        pairs: picture → its mask.
        left_out: picture → the reason why it has no pair: `NO_MASK` or `DOUBLED`.
        stray: masks without a picture.
    """

    pairs: dict[Path, Path] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    stray: list[Path] = field(default_factory=list)

    def notes(self) -> list[str]:
        """One line about the masks without a picture, if there are any."""
        if not self.stray:
            return []
        return [f"{counted(len(self.stray), 'mask')} without a picture, the first: {self.stray[0]}"]


@dataclass
class FolderReading:
    """The contents of a data set in the `folder` layout.

    Attributes:
        samples: tampered first, each part sorted by name.
        left_out: reason → names of tampered pictures without a mask of their own.
        notes: files that belong to no picture, one line each.
    """

    samples: list[Sample]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_folder(root: Path) -> FolderReading:
    """Read the samples of a data set in the `folder` layout; only pictures that cannot be paired are left out.

    Raises `DataError` when there is no picture, or no masks folder for tampered ones.
    """
    if not root.is_dir():
        raise DataError(f"data set {root} is not a folder", "give a folder with tampered/, masks/ and authentic/")
    tampered, authentic = root / "tampered", root / "authentic"
    if not tampered.is_dir() and not authentic.is_dir():
        raise DataError(
            f"{root} has neither tampered/ nor authentic/",
            "give a set of another layout as LAYOUT:DIR, folder:DIR for Tp/ and Gt/; docs/data.md lists the layouts",
        )
    pairing = pair_by_stem(tampered, root / "masks") if tampered.is_dir() else Pairing()
    found = FolderReading([Sample(name_below(root, image), image, mask) for image, mask in pairing.pairs.items()])
    for image, reason in pairing.left_out.items():
        found.left_out.setdefault(reason, []).append(name_below(root, image))
    found.notes = pairing.notes()
    if authentic.is_dir():
        found.samples += [Sample(name_below(root, image), image, None) for image in walk_images(authentic)]
    if not found.samples and not found.left_out:
        raise DataError(f"data set {root} holds no picture")
    return found


def is_plain(name: str) -> bool:
    """Whether a file name contains neither control characters nor bytes that are not UTF-8."""
    return all(letter >= " " and not "\ud800" <= letter <= "\udfff" for letter in name)


def require_plain(place: Path) -> None:
    """Raises `DataError` for a data set's path that results cannot contain, see `is_plain`."""
    if not is_plain(str(place.absolute())):
        raise DataError(f"the path {str(place)!a} is not plain UTF-8 text", "rename the folder")


def name_below(root: Path, file: Path) -> str:
    """A file's path relative to `root` with forward slashes, which identifies a picture in lists, tables and maps.

    Raises `DataError` for a name that these cannot contain: with control characters, or not in UTF-8.
    """
    name = file.relative_to(root).as_posix()
    if not is_plain(name):
        raise DataError(f"{root}: the file name {name!a} is not plain UTF-8 text", "rename the file")
    return name


def pair_by_stem(images: Path, masks: Path) -> Pairing:
    """Pair every picture under `images` with the mask that has the same relative stem under `masks`.

    If two pictures or two masks share a stem, none of them is paired. Raises `DataError` without a masks folder.
    """
    if not masks.is_dir():
        raise DataError(f"no masks folder {masks} for the pictures in {images}")
    by_stem = masks_by_stem(masks)
    stems = {picture: _stem(picture, images) for picture in walk_images(images)}
    uses = Counter(stems.values())
    found = Pairing(stray=[mask for stem in sorted(by_stem.keys() - uses.keys()) for mask in by_stem[stem]])
    for picture, stem in stems.items():
        if stem not in by_stem:
            found.left_out[picture] = NO_MASK
        elif uses[stem] > 1 or len(by_stem[stem]) > 1:
            found.left_out[picture] = DOUBLED
        else:
            found.pairs[picture] = by_stem[stem][0]
    return found


def masks_by_stem(masks: Path) -> dict[str, list[Path]]:
    """Masks under `masks` by their relative path without suffix; more than one per path if suffixes differ."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for mask in walk_images(masks):
        by_stem[_stem(mask, masks)].append(mask)
    return by_stem


def _stem(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
