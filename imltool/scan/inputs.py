"""Inputs of a scan: files, objects and folders expanded into a fixed order, each file with its own output name."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from imltool.errors import DataError, UsageError
from imltool.scan.stores import FILE, OF_ONE_PROCESS, Stored, exists, is_address, list_objects, read_address
from imltool.scan.walk import Others, choose_pictures, kind_of, walk_pictures
from imltool.texts import counted, printable, readable

log = logging.getLogger("imltool")

GROUND_TRUTH = "masks"
KINDS_SHOWN = 8
MASK = "ground-truth mask"
"""The kind of files in ground-truth folders, which are left out."""
BESIDE_GROUND_TRUTH = ("tampered", "authentic")
LONGEST_COMPONENT = 200
"""Longest name in bytes that is not shortened: file systems allow 255, and suffixes and temporary names are added."""
DIGEST = 24
"""Hexadecimal digits of a hash in a name: too many for two names with the same digits to be made on purpose."""
SUFFIXES = (".png", ".jpg", ".json")
"""What a scan adds to the name of a picture for its map, mask, overlay and preview."""
MARKED = re.compile(rf"~[0-9a-f]{{{DIGEST}}}(\.png|\.jpg|\.json)?\Z", re.IGNORECASE)
"""The end of a name that has such a hash."""
ILLEGAL = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
"""Characters that Windows allows in no name, and control characters."""
RESERVED = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9\u00b9\u00b2\u00b3]|LPT[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE
)
"""Names of devices, which Windows allows for no file, whatever its extension."""
LONGEST_OUTPUT = 700
"""Longest path in bytes that is kept: systems allow 4096 or 1024, the output folder's path included (our choice)."""


@dataclass(frozen=True)
class Input:
    """One file or object to analyse.

    Attributes:
        path: where it is.
        name: its name in the results: relative to its input folder, with forward slashes, unique in the run. An input
            given by an address is named by its whole address.
        output: `name` made safe as a path below `maps/`, `masks/` and `overlays/`, unique there without suffix.
        fault: the reason why it cannot be analysed, where this is known before it is opened (a folder that cannot be
            read); "" for a file.
    """

    path: Path | Stored
    name: str
    output: str
    fault: str = ""

    @property
    def file(self) -> Path:
        """The path of a local input."""
        assert isinstance(self.path, Path)
        return self.path


@dataclass(frozen=True)
class Root:
    """One PATH of the command line: the text given, the place, and the prefix of its files' names (may be empty)."""

    given: str
    path: Path | Stored
    label: str

    @property
    def address(self) -> str:
        """The text by which another run checks that its input is the same."""
        return self.label if is_address(self.label) else readable(str(self.path))


@dataclass(frozen=True)
class Plan:
    """The inputs of a run.

    Attributes:
        roots: the PATHs, in the order given.
        inputs: the files, in the order they are analysed.
        skipped: folders left out because they hold the ground truth of a labelled data set.
        passed_over: numbers of files below the given folders that are no pictures or are in skipped folders, by kind
            (extension or description), most frequent first.
    """

    roots: tuple[Root, ...]
    inputs: tuple[Input, ...]
    skipped: tuple[Path | Stored, ...]
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def passed_over_text(self) -> str:
        """One line about the files passed over: `passed over 9 other files: 5 .txt, 4 .pdf`."""
        kinds = [f"{count} {kind}" for kind, count in self.passed_over.items()]
        rest = len(kinds) - KINDS_SHOWN
        listed = ", ".join(kinds[:KINDS_SHOWN]) + (f", and {rest} more kinds" if rest > 0 else "")
        return f"passed over {counted(sum(self.passed_over.values()), 'other file')}: {listed}"


def plan_inputs(paths: Sequence[str | Path], out: Path) -> Plan:
    """Expand files and folders into the inputs of a scan.

    Folders are searched recursively for pictures (see `walk_pictures`); a file given by name is always included. A text
    may be an address: an object or a folder of a store, or a local `file:///…` (see `read_address`). Stores are
    contacted only when an address names one.

    A folder's files are sorted by path. With one folder given, names are relative to it. With several PATHs, names of a
    folder's files begin with the folder's name, numbered where two are equal, and files keep the path given. A file
    reached twice is analysed once. Files below `out`, and folders `masks/` beside `tampered/` or `authentic/`, are left
    out. A folder that cannot be read is an input with a fault, so that its pictures are not counted as analysed.

    Raises `UsageError` when a path does not exist or cannot be reached or an address cannot be read, and `StoreError`
    when a store does not answer.
    """
    places = [(readable(str(path)), _place(path)) for path in paths]
    for given, place in places:
        if not (exists(place) if isinstance(place, Stored) else _is_there(place)):
            raise UsageError(f"no such file or folder: {printable(given)}", "check the path")
    return expand(_label(places), out)


def _place(given: str | Path) -> Path | Stored:
    return read_address(given) if isinstance(given, str) and is_address(given) else Path(given)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        raise UsageError(f"no permission to reach {printable(str(path))}", "check the folders above it") from None
    except OSError as error:  # for instance a name that is too long
        raise UsageError(f"{printable(str(path))} cannot be reached: {error.strerror}", "check the path") from None


def require_pictures(plan: Plan) -> None:
    """Raise `DataError` when a plan has no inputs."""
    if not plan.inputs:
        where = printable(plan.roots[0].given) if len(plan.roots) == 1 else f"the {len(plan.roots)} paths given"
        raise DataError(f"no picture found in {where}", "a file given by name is scanned whatever its extension is")


def require_shared(plan: Plan) -> None:
    """Raise `UsageError` when a plan has inputs that other processes cannot read."""
    if any(isinstance(root.path, Stored) and root.path.scheme == OF_ONE_PROCESS for root in plan.roots):
        raise UsageError(
            f"{OF_ONE_PROCESS}:// is in the memory of one process, which the workers of a cluster cannot read",
            "scan it without --engine-cluster",
        )


def expand(roots: tuple[Root, ...], out: Path) -> Plan:
    """The plan for PATHs with known prefixes; see `plan_inputs`. A path that does not exist becomes an input file."""
    own = Path(os.path.realpath(out))  # Path.resolve raises for a link that leads to itself

    @cache
    def inside(folder: Path) -> bool:
        real = Path(os.path.realpath(folder))  # links in the evidence may lead to the output folder
        return own == real or own in real.parents

    seen: set[Path | Stored] = set()
    taken: set[str] = set()
    skipped: dict[Path | Stored, None] = {}
    found: list[tuple[Path | Stored, str, str]] = []
    passed: Counter[str] = Counter()
    counted: set[Path] = set()
    masks: set[Path] = set()
    for root in roots:
        if isinstance(root.path, Stored):
            objects, left_out = _walk_store(root.path, passed)
            skipped |= dict.fromkeys(left_out)
            for stored in objects:
                if stored not in seen:
                    seen.add(stored)
                    found.append((stored, _unique(readable(stored.url), taken), ""))
            continue
        others: Others = []
        for path, fault in _walk(root.path, others):
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
                    masks.add(path)
                    continue
                below = path.relative_to(root.path).as_posix()
                name = f"{root.label}/{below}" if root.label else below
            seen.add(path)
            found.append((path, _unique(readable(name), taken), fault))
        for path, kind in others:
            if path.parent not in counted and not inside(path.parent):
                _pass_over(path, kind, passed)
        counted |= {path.parent for path, _ in others}
    outputs = _output_names([name for _, name, _ in found])
    inputs = tuple(Input(path, name, output, fault) for (path, name, fault), output in zip(found, outputs, strict=True))
    for path in sorted(masks - seen):
        _pass_over(path, MASK, passed)
    kinds = sorted((+passed).items(), key=lambda each: (-each[1], each[0]))
    return Plan(roots, inputs, tuple(skipped), dict(kinds))


def _walk_store(root: Stored, passed: Counter[str]) -> tuple[list[Stored], list[Stored]]:
    """The pictures below a folder of a store, sorted by path like those of `_walk`, and its ground-truth folders.

    An address of an object, or of nothing, is returned itself.
    """
    objects = list_objects(root)
    if root in objects or not objects:
        return objects or [root], []
    parts = {stored: tuple(stored.url[len(root.url) + 1 :].split("/")) for stored in objects}
    folders = {names[:depth] for names in parts.values() for depth in range(len(names))}
    left_out: dict[Stored, None] = {}
    wanted = []
    for stored in sorted(objects, key=parts.__getitem__):
        names = parts[stored]
        for depth in range(len(names) - 1, 0, -1):
            above = names[: depth - 1]
            if names[depth - 1] == GROUND_TRUTH and any((*above, name) in folders for name in BESIDE_GROUND_TRUTH):
                left_out[Stored("/".join([root.url, *names[:depth]]))] = None
                _pass_over(stored, MASK, passed)
                break
        else:
            wanted.append(stored)
    pictures = choose_pictures(wanted)
    taken = set(pictures)
    for stored in wanted:
        if stored not in taken:
            _pass_over(stored, kind_of(str(stored.name)), passed)
    return pictures, [*left_out]


def _pass_over(path: Path | Stored, kind: str, passed: Counter[str]) -> None:
    """Count a file that is not analysed, and log its name."""
    passed[kind] += 1
    log.debug("passed over (%s): %s", kind, printable(path.url if isinstance(path, Stored) else str(path)))


def _walk(root: Path, others: Others) -> list[tuple[Path, str]]:
    """The pictures of a folder and its unreadable folders, each with its fault, sorted by path; a file is returned."""
    if not root.is_dir():
        return [(root, "")]
    faults: dict[Path, str] = {}

    def note(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # gone since its folder was listed
            return
        denied = isinstance(error, PermissionError)
        detail = f"the folder cannot be read ({error.strerror or type(error).__name__})"
        faults[Path(error.filename)] = "no permission to read the folder" if denied else detail

    pictures = dict.fromkeys(walk_pictures(root, note, others), "")
    return sorted((pictures | faults).items(), key=lambda item: item[0].relative_to(root).parts)


def _label(places: Sequence[tuple[str, Path | Stored]]) -> tuple[Root, ...]:
    """Give every PATH its prefix: none for a single folder, else the folder's name; for a file its whole name.

    The prefix of a PATH given by an address is the whole address.

    Args:
        places: the text given and the place, for each PATH.
    """
    roots: dict[Path | Stored, Root] = {}
    taken: set[str] = set()
    for given, path in places:
        if isinstance(path, Stored):
            roots.setdefault(path, Root(path.url, path, path.url))
            continue
        place = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        if place in roots:
            continue
        if is_address(given):
            absolute = readable(place.as_posix().rstrip("/"))
            label = f"{FILE}://{absolute}" if absolute[:1] in ("", "/") else f"{FILE}:///{absolute}"  # C:/folder
        elif path.is_dir():
            label = "" if len(places) == 1 else _unique(readable(place.name) or "root", taken)
        else:
            known = PurePosixPath(os.path.normpath(path).replace(os.sep, "/"))
            outside = path.is_absolute() or known.parts[:1] == ("..",)
            label = _unique(readable(known.name if outside else known.as_posix()), taken)  # its place is found by it
        roots[place] = Root(given, place, label)
    return tuple(roots.values())


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or `name` with `-2`, `-3` … before its suffix when it is in `taken`; adds the result to `taken`."""
    folder, slash, last = name.rpartition("/")
    path = PurePosixPath(last)
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{folder}{slash}{path.stem}-{count}{path.suffix}"
    taken.add(candidate)
    return candidate


def _ground_truth(path: Path, root: Path) -> Path | None:
    """The folder between `root` and `path` that holds the masks of a labelled set, or None."""
    for folder in (path, *path.parents):
        if folder == root:
            return None
        if folder.name == GROUND_TRUTH and any((folder.parent / name).is_dir() for name in BESIDE_GROUND_TRUTH):
            return folder
    return None


def _output_names(names: list[str]) -> list[str]:
    """Safe output paths: long parts are shortened, and a hash is added where two would collide on some file system.

    Paths that are too long as a whole keep their last part, below a folder named after the hash of the whole path.
    Parts that already look as if they had a hash get one too, so that no file name can collide with another's output.
    Two names collide when they differ only in case or Unicode normalisation, or when an output's name is also a
    folder's.
    """
    safe = [_safe_path(name) for name in names]
    keys = [_key(name) for name in safe]
    counts = Counter(keys)
    folders = {str(parent) for key in keys for parent in PurePosixPath(key).parents}
    return [
        f"{name}~{_digest(original)}" if counts[key] > 1 or any(f"{key}{end}" in folders for end in SUFFIXES) else name
        for original, name, key in zip(names, safe, keys, strict=True)
    ]


def _safe_path(name: str) -> str:
    parts = [_shorten(part) for part in PurePosixPath(name.replace("://", "/", 1)).parts]
    path = "/".join(parts)
    return path if len(path.encode()) <= LONGEST_OUTPUT else f"~{_digest(name)}/{parts[-1]}"


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:DIGEST]


def _shorten(part: str) -> str:
    if part == ".." or "\0" in part:  # no file has such a name, and an object may
        return f"~{_digest(part)}"
    safe = ILLEGAL.sub("_", part)
    safe = f"{safe[:-1]}_" if safe[-1] in ". " else safe
    safe = f"_{safe}" if RESERVED.match(safe) else safe
    data = safe.encode()
    if len(data) <= LONGEST_COMPONENT and not MARKED.search(safe):
        return safe if safe == part else f"{safe}~{_digest(part)}"
    return data[: LONGEST_COMPONENT - DIGEST - 1].decode(errors="ignore") + "~" + _digest(part)
