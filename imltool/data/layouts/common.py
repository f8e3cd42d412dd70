"""Code shared by all layouts: list files sorted by name, pair pictures and masks by key, report problems."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NoReturn

from imltool.data.folder import name_below
from imltool.data.manifest import Kind, Record
from imltool.data.masks import MaskRule
from imltool.errors import DataError
from imltool.files import walk_images

ALIKE = 0.8
"""Names with the same numbers and at least this `difflib` ratio are taken for misspellings of one name (our choice)."""


@dataclass(frozen=True)
class Problem:
    """Something found in a data set.

    Attributes:
        kind: one of the kinds listed in docs/data.md: `unmatched`, `misspelt`, `doubled`, `unknown`, `unlisted`, …
        file: the file, relative to the set's root.
        message: the fault and its consequence, in one line.
        fault: False for a note: the set can be used as it is.
    """

    kind: str
    file: str
    message: str
    fault: bool = True

    @property
    def severity(self) -> str:
        """`fault`, or `note` if the set can be used as it is."""
        return "fault" if self.fault else "note"

    @property
    def leaves_out(self) -> bool:
        """Whether it causes a picture of the set to be left out."""
        return self.fault and self.message.endswith("left out")


@dataclass
class Reading:
    """The result of a layout's reader for a root; the paths of `records` are relative to it (or absolute)."""

    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


Part = tuple[str, str]
"""A file's role in a layout (`tampered`, `mask`, `authentic` or `ignored`), and the key that pairs it with others."""


@dataclass
class Sorting:
    """The pictures of a root by their roles.

    Attributes:
        tampered, masks: (key, file); a picture belongs to the mask of the same key.
        authentic: files.
        unknown: files that are not part of the layout.
    """

    tampered: list[tuple[str, str]] = field(default_factory=list)
    masks: list[tuple[str, str]] = field(default_factory=list)
    authentic: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def add(self, file: PurePosixPath, part: Part | None) -> None:
        """Note a file with its part in the layout; None for a file that is not part of it."""
        role, key = part or ("unknown", "")
        if role in ("tampered", "mask"):
            (self.tampered if role == "tampered" else self.masks).append((key, str(file)))
        elif role != "ignored":
            (self.authentic if role == "authentic" else self.unknown).append(str(file))


def listing(root: Path) -> list[PurePosixPath]:
    """Every picture file under `root`, relative to it and sorted, without hidden ones.

    Raises `DataError` when `root` is not a folder, and for a name that is not plain text (see `name_below`).
    """
    if not root.is_dir():
        raise DataError(f"data set {root} is not a folder")
    return [PurePosixPath(name_below(root, path)) for path in walk_images(root)]


def inside(file: PurePosixPath) -> str:
    """The innermost folder of a file in lower case, "" for a file in the root."""
    return file.parent.name.casefold()


def nothing_found(root: Path, layout: str, expected: str) -> NoReturn:
    """Raises the `DataError` for a root without a picture of the layout."""
    raise DataError(f"{root} holds nothing of the layout {layout}", f"expected {expected}; see docs/data.md")


def read_by_name(
    root: Path,
    layout: str,
    expected: str,
    part: Callable[[PurePosixPath], Part | None],
    kind: Kind | None = None,
    split: Callable[[str], str | None] = lambda file: None,
    rule: MaskRule | None = None,
    needed: tuple[str, ...] = ("tampered", "authentic"),
) -> Reading:
    """Read a layout in which a file's path tells its part; see `assemble` for `split` and `rule`.

    Args:
        expected: the layout in words, for the message.
        part: function of a file's path relative to the root; None for a file that is not part of the layout.
        kind: of all tampered pictures.
        needed: roles of which at least one must occur.

    Raises `DataError` as `listing` does, and when nothing of the layout is found.
    """
    found = Sorting()
    roles = set()
    for file in listing(root):
        place = part(file)
        found.add(file, place)
        roles.add(place[0] if place else "")
    if roles.isdisjoint(needed):
        nothing_found(root, layout, expected)
    return assemble(found, layout, lambda file: kind, split, rule)


def assemble(
    found: Sorting,
    source: str,
    kind: Callable[[str], Kind | None],
    split: Callable[[str], str | None] = lambda file: None,
    rule: MaskRule | None = None,
) -> Reading:
    """Pair tampered pictures with masks by key and report all files without a partner.

    A picture without a mask, with two masks, or with the same key and split as another picture makes no record. Splits
    may share a mask.

    Args:
        kind, split: functions of a tampered file's name; `split` also of an authentic one's.
        rule: the rule to read the masks, None for the default rule.
    """
    reading = Reading()
    masks = _grouped(found.masks)
    pictures: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for key, file in found.tampered:
        pictures[key, split(file)].append(file)
    lonely: dict[str, str] = {}
    for (key, part), files in pictures.items():
        if key in masks:
            if len(files) > 1 or len(masks[key]) > 1:
                reading.problems += _doubled(files, masks[key])
                continue
            record = Record(
                image=files[0],
                mask=masks[key][0],
                split=part,
                kind=kind(files[0]),
                source=source,
                mask_rule=rule or MaskRule(),
            )
            reading.records.append(record)
        else:
            lonely |= dict.fromkeys(files, key)
    used = {key for key, _ in pictures}
    stray = {file: key for key, file in found.masks if key not in used}
    reading.problems += _unmatched(lonely, stray)
    reading.records += [
        Record(image=file, split=split(file), kind="authentic", source=source) for file in found.authentic
    ]
    reading.problems += [
        Problem("unknown", file, "is no part of this layout: left out", fault=False) for file in found.unknown
    ]
    reading.records.sort(key=lambda record: (not record.tampered, PurePosixPath(record.image).parts))
    return reading


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, file in pairs:
        groups[key].append(file)
    return groups


def _doubled(files: list[str], masks: list[str]) -> list[Problem]:
    if len(masks) > 1:
        return [
            Problem("doubled", file, f"has {len(masks)} masks ({masks[0]}, {masks[1]}): left out") for file in files
        ]
    return [
        Problem("doubled", file, f"one of {len(files)} pictures of the mask {masks[0]}: left out") for file in files
    ]


def _unmatched(lonely: dict[str, str], stray: dict[str, str]) -> list[Problem]:
    """Problems for pictures and masks (file → key) without a partner, with a probable one in case of a typing error."""
    by_numbers: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for file, key in stray.items():
        by_numbers[_numbers(key)][key] = file
    problems, guessed = [], set()
    for file, key in lonely.items():
        near = _nearest(key, by_numbers.get(_numbers(key), {}))
        if near is None:
            problems.append(Problem("unmatched", file, "has no mask: left out"))
        else:
            guessed.add(near)
            problems.append(
                Problem("misspelt", file, f"has no mask, but {near} without a picture is named alike: left out")
            )
    problems += [Problem("unmatched", file, "is a mask without a picture") for file in stray if file not in guessed]
    return problems


def _numbers(key: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", key))


def _nearest(key: str, candidates: dict[str, str]) -> str | None:
    near = difflib.get_close_matches(key.casefold(), [other.casefold() for other in candidates], n=1, cutoff=ALIKE)
    return next((file for other, file in candidates.items() if near and other.casefold() == near[0]), None)
