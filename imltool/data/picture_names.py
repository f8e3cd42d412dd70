"""Find the picture that an annotation refers to, by its recorded name.

Names come from other machines: with other folders, Windows' backslashes, letters in another case or Unicode form,
upload prefixes and URLs of Label Studio, `%20`, Roboflow's endings. Looser interpretations are tried after stricter
ones, and used only if exactly one picture matches.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from imltool.data.box_formats import BoxedImage
from imltool.data.box_formats.files import SUFFIXES, posix
from imltool.errors import DataError
from imltool.files import IMAGE_SUFFIXES

STRUCTURE = frozenset(
    {"images", "image", "imgs", "img", "labels", "label", "annotations", "annotation", "jpegimages", "json", "xml"}
    | {"obj_train_data", "obj_valid_data", "obj_test_data", "data"}
)
"""Folders that only separate pictures from annotations in the trees of YOLO, VOC, CVAT and Roboflow:
`train/labels/a.txt` belongs to `train/images/a.jpg`.
"""

KNOWN_SUFFIXES = IMAGE_SUFFIXES | SUFFIXES
"""Suffixes that are not part of a name; `v1.2` has none of them."""

UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""Prefix that Label Studio adds to an uploaded file's name."""

ROBOFLOW = re.compile(r"(.+)_([a-z]{3,4})\.rf\.[0-9a-zA-Z]{8,}$")
"""Roboflow's name for `NAME.jpg`: `NAME_jpg.rf.HASH` and a suffix."""

QUERY = re.compile(r"^.*[?&]d=")
"""A URL of Label Studio's local files, up to the path."""


class Claim(NamedTuple):
    """The picture of an annotation, and whether its path was recorded rather than only its file name."""

    picture: str
    by_path: bool


class PictureNames:
    """Pictures by relative path and file name, with and without suffix, and by looser forms of these.

    Args:
        names: paths relative to the pictures' root, with forward slashes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in names:
            path = PurePosixPath(name)
            stem = path.with_suffix("").as_posix()
            self._by["path", name].append(name)
            self._by["file name", path.name].append(name)
            self._by["stem", stem].append(name)
            self._by["file stem", path.stem].append(name)
            self._by["loose path", _loose(name)].append(name)
            self._by["loose file name", _loose(path.name)].append(name)
            self._by["loose stem", _loose(stem)].append(name)
            self._by["loose file stem", _loose(path.stem)].append(name)

    def find(self, entry: BoxedImage) -> Claim:
        """The picture of an annotation. Raises `DataError` when none or several match."""
        for name, any_suffix in _readings(entry):
            path = PurePosixPath(name)
            suffix = path.suffix.lower()
            stem = path.with_suffix("").as_posix() if suffix in KNOWN_SUFFIXES else name
            for key in _keys(name, stem, any_suffix or suffix not in IMAGE_SUFFIXES):
                found = self._by.get(key, [])
                by_path = key[0] in ("path", "stem", "loose path", "loose stem")
                if len(found) > 1 and not by_path:
                    found = _longest_tail(name, found)
                if len(found) == 1:
                    return Claim(found[0], by_path)
                if found:
                    what = key[0].removeprefix("loose ")
                    raise DataError(
                        f"{len(found)} pictures have the {what} {key[1]} ({found[0]}, {found[1]}): left out"
                    )
        raise DataError("no such picture: its boxes are left out")

    def find_own(self, entry: BoxedImage) -> Claim | None:
        """The picture with the name of the annotation file itself, or None."""
        if not entry.own_name:
            return None
        try:
            return self.find(BoxedImage(entry.own_name, (), any_suffix=True))
        except DataError:
            return None


def _loose(name: str) -> str:
    """A common form of names that differ in Unicode form, letter case, or `STRUCTURE` folders."""
    parts = unicodedata.normalize("NFC", name).casefold().split("/")
    return "/".join([*(part for part in parts[:-1] if part not in STRUCTURE), parts[-1]])


def _keys(name: str, stem: str, without_suffix: bool) -> list[tuple[str, str]]:
    """Keys to look up, the strictest first; each path also without leading folders that do not exist here."""
    path = PurePosixPath(name)
    keys = [("path", name), ("file name", path.name)]
    loose = [("loose path", _loose(name)), ("loose file name", _loose(path.name))]
    if without_suffix and path.name:
        file_stem = PurePosixPath(stem).name
        keys = [keys[0], ("stem", stem), ("loose stem", _loose(stem)), keys[1], ("file stem", file_stem)]
        loose = [*loose, ("loose file stem", _loose(file_stem))]
    else:
        keys.insert(1, loose.pop(0))
    return [*keys, *loose]


def _longest_tail(name: str, found: list[str]) -> list[str]:
    """Of pictures with the same file name, those that share most parent folders with the recorded name, one or more."""
    wanted = _loose(PurePosixPath(name).with_suffix("").as_posix()).split("/")[::-1]

    def shared(picture: str) -> int:
        own = _loose(PurePosixPath(picture).with_suffix("").as_posix()).split("/")[::-1]
        return next(
            (at for at, (a, b) in enumerate(zip(own, wanted, strict=False)) if a != b), min(len(own), len(wanted))
        )

    lengths = {picture: shared(picture) for picture in found}
    longest = max(lengths.values())
    best = [picture for picture in found if lengths[picture] == longest]
    return best if len(best) == 1 and longest > 1 else found


def _readings(entry: BoxedImage) -> Iterator[tuple[str, bool]]:
    """Possible names of an annotation's picture, the recorded one first, each with whether to ignore its suffix."""
    seen = set()
    candidates = [(entry.name, entry.any_suffix)]
    candidates += [(decoded, entry.any_suffix) for decoded in _decoded(entry.name)]
    for name, any_suffix in [*candidates]:
        path = PurePosixPath(name)
        if UPLOAD.match(path.name):
            candidates.append((path.with_name(UPLOAD.sub("", path.name, count=1)).as_posix(), any_suffix))
        if roboflow := ROBOFLOW.match(path.stem):
            candidates.append((path.with_name(f"{roboflow[1]}.{roboflow[2]}").as_posix(), any_suffix))
    if entry.own_name:
        candidates.append((entry.own_name, True))
    for candidate in candidates:
        if candidate[0] and candidate not in seen:
            seen.add(candidate)
            yield candidate


def _decoded(name: str) -> list[str]:
    """Convert a recorded URL to paths: the part after `?d=`, without %20, or the part before a query."""
    path = QUERY.sub("", name)
    forms = (path, unquote(path), unquote(name), unquote(name.partition("?")[0]))
    return [posix(form) for form in forms if form != name]
