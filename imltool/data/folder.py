"""The `folder` layout: `tampered/`, `masks/` (same stem), optionally `authentic/` and `boxes.json`.

Masks are paired by name, never by sorted order, so one missing file cannot shift the rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from imltool.data.masks import MaskRule
from imltool.errors import DataError
from imltool.files import walk_images

PLAIN = MaskRule()


@dataclass(frozen=True)
class Sample:
    """One picture of a labelled set.

    Attributes:
        name: path relative to the set's folder, with forward slashes: `tampered/a.jpg`.
        image: the picture.
        mask: its ground truth, or None for an authentic picture (nothing is tampered).
        kind: what was done to it, None when that is not known.
        rule: how its mask is read.
    """

    name: str
    image: Path
    mask: Path | None
    kind: str | None = None
    rule: MaskRule = PLAIN

    @property
    def tampered(self) -> bool:
        return self.mask is not None


def read_folder(root: Path) -> list[Sample]:
    """All samples of a `folder` layout data set, tampered first, each part sorted by name.

    Raises `DataError` when there is no picture, a tampered picture has no mask or two, or a mask has no picture.
    """
    if not root.is_dir():
        raise DataError(f"data set {root} is not a folder", "give a folder with tampered/, masks/ and authentic/")
    tampered, authentic = root / "tampered", root / "authentic"
    if not tampered.is_dir() and not authentic.is_dir():
        raise DataError(
            f"{root} has neither tampered/ nor authentic/",
            "give a set of another layout as LAYOUT:DIR, folder:DIR for Tp/ and Gt/; docs/data.md lists the layouts",
        )
    pairs = pair_by_stem(tampered, root / "masks") if tampered.is_dir() else []
    samples = [Sample(name_below(root, image), image, mask) for image, mask in pairs]
    if authentic.is_dir():
        samples += [Sample(name_below(root, image), image, None) for image in walk_images(authentic)]
    if not samples:
        raise DataError(f"data set {root} holds no picture")
    return samples


def is_plain(name: str) -> bool:
    """Whether a file name holds neither control characters nor bytes that are no UTF-8."""
    return all(letter >= " " and not "\ud800" <= letter <= "\udfff" for letter in name)


def require_plain(place: Path) -> None:
    """Raises `DataError` for the place of a data set that no result could name, see `is_plain`."""
    if not is_plain(str(place.absolute())):
        raise DataError(f"the path {str(place)!a} is not plain UTF-8 text", "rename the folder")


def name_below(root: Path, file: Path) -> str:
    """A file's path relative to `root` with forward slashes: what lists, tables and maps know a picture by.

    Raises `DataError` for a name that none of these can hold: with control characters, or not in UTF-8.
    """
    name = file.relative_to(root).as_posix()
    if not is_plain(name):
        raise DataError(f"{root}: the file name {name!a} is not plain UTF-8 text", "rename the file")
    return name


def pair_by_stem(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pair every picture under `images` with the mask of the same relative stem under `masks`.

    Returns (picture, mask) sorted by picture. Raises `DataError` naming the first unpaired or doubled files.
    """
    if not masks.is_dir():
        raise DataError(f"no masks folder {masks} for the pictures in {images}")
    by_stem = masks_by_stem(masks)
    pictures = walk_images(images)
    stems = [_stem(picture, images) for picture in pictures]
    missing = [stem for stem in stems if stem not in by_stem]
    uses = Counter(stems)
    doubled = [stem for stem in sorted(by_stem) if len(by_stem[stem]) > 1 or uses[stem] > 1]
    stray = sorted(set(by_stem) - uses.keys())
    faults = {"picture without a mask": missing, "stem used twice": doubled, "mask without a picture": stray}
    for fault, names in faults.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise DataError(f"{masks}: {fault}: {names[0]}{more}", "pictures and masks pair by name, suffix aside")
    return [(picture, by_stem[stem][0]) for picture, stem in zip(pictures, stems, strict=True)]


def masks_by_stem(masks: Path) -> dict[str, list[Path]]:
    """Every mask under `masks` by its relative path without suffix; more than one when suffixes differ."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for mask in walk_images(masks):
        by_stem[_stem(mask, masks)].append(mask)
    return by_stem


def _stem(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
