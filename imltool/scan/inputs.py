"""What a scan looks at: files and folders expanded into a fixed order, each with its own output name."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from imltool.errors import DataError, UsageError
from imltool.scan.walk import walk_pictures
from imltool.texts import printable, readable

GROUND_TRUTH = "masks"
BESIDE_GROUND_TRUTH = ("tampered", "authentic")
LONGEST_COMPONENT = 200
"""Bytes of a name we mirror unshortened: file systems stop at 255, and suffixes and temporary names are added."""
DIGEST = 24
"""Hexadecimal digits of a hash in a name: too many for two names to be made that share them."""
MARKED = re.compile(rf"~[0-9a-f]{{{DIGEST}}}(\.png|\.jpg)?\Z", re.IGNORECASE)
"""The end of a name that has such a hash."""
LONGEST_OUTPUT = 700
"""Bytes of a path that we mirror: systems stop at 4096 or 1024, the output folder's own path included (our choice)."""


@dataclass(frozen=True)
class Input:
    """One file to look at.

    Attributes:
        path: where it lies.
        name: how results call it: relative to its input folder, forward slashes, unique in the run.
        output: `name` made safe as a path below `maps/`, `masks/` and `overlays/`, unique there without suffix.
        fault: why it cannot be analysed, known before it is opened: it is a folder that cannot be read; "" for a file.
    """

    path: Path
    name: str
    output: str
    fault: str = ""


@dataclass(frozen=True)
class Root:
    """One PATH of the command line: as it was given, where it is, and the prefix its files carry (may be empty)."""

    given: str
    path: Path
    label: str


@dataclass(frozen=True)
class Plan:
    """What a run will look at.

    Attributes:
        roots: the PATHs, in the order given.
        inputs: the files, in the order they are analysed.
        skipped: folders left out because they hold the ground truth of a labelled data set.
    """

    roots: tuple[Root, ...]
    inputs: tuple[Input, ...]
    skipped: tuple[Path, ...]


def plan_inputs(paths: list[Path], out: Path) -> Plan:
    """Expand files and folders (recursively, the pictures in them, see `walk_pictures`; a file given by name always).

    A folder's files are sorted by path. With one folder given, names are relative to it; with several PATHs a folder's
    files carry the folder's name first, numbered where two are equal, and files keep the path given. A file reached
    twice is looked at once. Left out are files below `out`, and folders `masks/` beside `tampered/` or `authentic/`.
    A folder that cannot be read is an input with a fault, so that nobody takes its pictures for analysed.

    Raises `UsageError` when a path does not exist or cannot be reached.
    """
    for path in paths:
        try:
            known = path.exists()
        except PermissionError:
            raise UsageError(f"no permission to reach {printable(str(path))}", "check the folders above it") from None
        except OSError as error:  # such as a name longer than there can be
            raise UsageError(f"{printable(str(path))} cannot be reached: {error.strerror}", "check the path") from None
        if not known:
            raise UsageError(f"no such file or folder: {printable(str(path))}", "check the path")
    return expand(_label(paths), out)


def require_pictures(plan: Plan) -> None:
    """Raise `DataError` when a plan holds nothing to look at."""
    if not plan.inputs:
        where = printable(plan.roots[0].given) if len(plan.roots) == 1 else f"the {len(plan.roots)} paths given"
        raise DataError(f"no picture found in {where}", "a file given by name is scanned whatever its name ends in")


def expand(roots: tuple[Root, ...], out: Path) -> Plan:
    """The plan of PATHs that have their prefix already; see `plan_inputs`. One that does not exist is a file in it."""
    own = Path(os.path.realpath(out))  # Path.resolve raises for a link that leads to itself

    @cache
    def inside(folder: Path) -> bool:
        real = Path(os.path.realpath(folder))  # links in the evidence may lead to the output folder
        return own == real or own in real.parents

    seen: set[Path] = set()
    taken: set[str] = set()
    skipped: dict[Path, None] = {}
    found: list[tuple[Path, str, str]] = []
    for root in roots:
        for path, fault in _walk(root.path):
            if path in seen:
                continue
            if path == root.path:
                name = root.label or "."
            else:
                if inside(path.parent) or (fault and own == path):
                    continue
                truth = _ground_truth(path, root.path)
                if truth is not None:
                    skipped[truth] = None
                    continue
                name = PurePosixPath(root.label, path.relative_to(root.path).as_posix()).as_posix()
            seen.add(path)
            found.append((path, _unique(readable(name), taken), fault))
    outputs = _output_names([name for _, name, _ in found])
    inputs = tuple(Input(path, name, output, fault) for (path, name, fault), output in zip(found, outputs, strict=True))
    return Plan(roots, inputs, tuple(skipped))


def _walk(root: Path) -> list[tuple[Path, str]]:
    """The pictures of a folder, and its unreadable folders with their fault, sorted by path; a file as it is."""
    if not root.is_dir():
        return [(root, "")]
    faults: dict[Path, str] = {}

    def note(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # gone since its folder was listed
            return
        denied = isinstance(error, PermissionError)
        detail = f"the folder cannot be read ({error.strerror or type(error).__name__})"
        faults[Path(error.filename)] = "no permission to read the folder" if denied else detail

    pictures = dict.fromkeys(walk_pictures(root, note), "")
    return sorted((pictures | faults).items(), key=lambda item: item[0].relative_to(root).parts)


def _label(paths: list[Path]) -> tuple[Root, ...]:
    """Give every PATH its prefix: none to a lone folder, otherwise the folder's name; to a file its whole name."""
    roots: dict[Path, Root] = {}
    taken: set[str] = set()
    for path in paths:
        place = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        if place in roots:
            continue
        if path.is_dir():
            label = "" if len(paths) == 1 else _unique(readable(place.name) or "root", taken)
        else:
            given = PurePosixPath(os.path.normpath(path).replace(os.sep, "/"))
            outside = path.is_absolute() or given.parts[:1] == ("..",)
            label = readable(given.name if outside else given.as_posix())
        roots[place] = Root(readable(str(path)), place, label)
    return tuple(roots.values())


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or `name` with `-2`, `-3` … before its suffix when it is taken; the result is then taken."""
    path = PurePosixPath(name)
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = path.with_name(f"{path.stem}-{count}{path.suffix}").as_posix()
    taken.add(candidate)
    return candidate


def _ground_truth(path: Path, root: Path) -> Path | None:
    """The folder between `root` and `path` that holds a labelled set's masks, or None."""
    for folder in (path, *path.parents):
        if folder == root:
            return None
        if folder.name == GROUND_TRUTH and any((folder.parent / name).is_dir() for name in BESIDE_GROUND_TRUTH):
            return folder
    return None


def _output_names(names: list[str]) -> list[str]:
    """Safe output paths: long parts shortened, and a hash added where two would meet on some file system.

    Paths that are too long as a whole keep their last part, below a folder named after the hash of all of it. Parts
    that look as if they had a hash already get one too, so that nobody can name a file like another's output. Two
    names meet when they differ in case or Unicode normalisation only, or when a map's name is also a folder's.
    """
    safe = [_mirror(name) for name in names]
    keys = [_key(name) for name in safe]
    counts = Counter(keys)
    folders = {str(parent) for key in keys for parent in PurePosixPath(key).parents}
    return [
        f"{name}~{_digest(original)}" if counts[key] > 1 or f"{key}.png" in folders or f"{key}.jpg" in folders else name
        for original, name, key in zip(names, safe, keys, strict=True)
    ]


def _mirror(name: str) -> str:
    parts = [_shorten(part) for part in PurePosixPath(name).parts]
    path = "/".join(parts)
    return path if len(path.encode()) <= LONGEST_OUTPUT else f"~{_digest(name)}/{parts[-1]}"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:DIGEST]


def _shorten(part: str) -> str:
    data = part.encode()
    if len(data) <= LONGEST_COMPONENT and not MARKED.search(part):
        return part
    return data[: LONGEST_COMPONENT - DIGEST - 1].decode(errors="ignore") + "~" + _digest(part)
