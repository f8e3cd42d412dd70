"""Layouts of no particular data set: the `folder` layout, also with `Tp/` and `Gt/`, and IMDL-BenCo's JSON list."""

from __future__ import annotations

import json
import os
from pathlib import Path

from imltool.data.folder import is_plain
from imltool.data.layouts.common import Problem, Reading, Sorting, assemble, listing, nothing_found
from imltool.data.manifest import Record
from imltool.errors import DataError

ROLES = {
    "tampered": "tampered", "masks": "mask", "authentic": "authentic", "tp": "tampered", "gt": "mask", "au": "authentic"
}  # fmt: skip
"""Folder in lower case → role of its files."""
ENDINGS = ("_gt", "_mask")
"""Endings that a mask's name may add to its picture's."""

NEGATIVE = "Negative"


def read_folder_layout(root: Path) -> Reading:
    """`tampered/`, `masks/` (same relative stem) and `authentic/`, or `Tp/`, `Gt/` and `Au/`.

    A mask may also have the picture's stem with `_gt` or `_mask`. Pictures are paired by name; in programs that pair
    such folders by sorted order, a missing file shifts all pairs after it.
    """
    found = Sorting()
    for file in listing(root):
        top = file.parts[0].casefold() if len(file.parts) > 1 else ""
        role = ROLES.get(top)
        found.add(file, (role, "/".join(file.with_suffix("").parts[1:])) if role else None)
    if not found.tampered and not found.authentic:
        nothing_found(root, "folder", "tampered/ and masks/ (or Tp/ and Gt/), authentic/ (or Au/)")
    keys = {key for key, _ in found.tampered}
    found.masks = [(_picture_key(key, keys), file) for key, file in found.masks]
    return assemble(found, root.resolve().name or "folder", lambda file: None)


def _picture_key(key: str, pictures: set[str]) -> str:
    if key not in pictures:
        for ending in ENDINGS:
            if key.removesuffix(ending) in pictures:
                return key.removesuffix(ending)
    return key


def read_imdlbenco(path: Path) -> Reading:
    """A JSON list of [picture, mask] and [picture, "Negative"] pairs, as for IMDL-BenCo's JsonDataset.

    Relative paths are looked up in the list's folder, then in the working directory (as by IMDL-BenCo).
    Entries whose files are missing are reported and left out. Raises `DataError` when the file is not such a list.
    """
    if path.is_dir():
        raise DataError(
            f"{path} is a folder", "the layout imdlbenco is one JSON file: imltool data check imdlbenco:FILE"
        )
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"list {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"list {path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"list {path} is not a JSON list of pairs", 'expected [["image","mask"],["image","Negative"]]')
    reading = Reading()
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        if not (isinstance(entry, list) and len(entry) == 2 and all(map(_is_name, entry))):
            raise DataError(f"{path}: entry {number} is not a pair of file names", 'expected ["image","mask"]')
        image, mask = (name if name == NEGATIVE else _found(name, path) for name in entry)
        missing = next((name for name, file in zip(entry, (image, mask), strict=True) if file is None), None)
        if image is None or mask is None:
            reading.problems.append(Problem("missing", str(missing), f"does not exist (entry {number}): left out"))
        elif image in seen:
            message = f"was already in entry {seen[image]}: entry {number} is left out"
            reading.problems.append(Problem("doubled", image, message))
        else:
            seen[image] = number
            truth = None if mask == NEGATIVE else mask
            kind = None if truth else "authentic"
            reading.records.append(Record(image=image, mask=truth, kind=kind, source=path.stem))
    return reading


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != "" and is_plain(value)


def _found(name: str, path: Path) -> str | None:
    """A listed file as a path relative to the list's folder if it is in there, else absolute; None if missing."""
    name = name.replace("\\", "/")
    # for a name that no file system accepts, os.path.isfile returns False and Path.is_file raises OSError
    if os.path.isfile(path.parent / name):
        return name
    return str(Path(name).absolute()) if os.path.isfile(name) else None
