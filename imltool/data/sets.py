"""The data sets of an evaluation: named folders or manifests, their samples and the hashes of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imltool.data.accounts import Account
from imltool.data.folder import Sample, require_plain
from imltool.data.layouts import LAYOUTS, read_set
from imltool.data.masks import MaskRule
from imltool.data.near_duplicates import fingerprint
from imltool.data.raster import settle_rasters
from imltool.data.samples import folder_samples, manifest_samples
from imltool.data.splits import read_list
from imltool.data.survey import survey
from imltool.errors import DataError, UsageError
from imltool.files import sha256_file


@dataclass
class NamedSet:
    """A data set to evaluate on.

    Attributes:
        name: its name in results.
        root: its folder or its manifest.
        target: the argument with which `read_target` reads it again, with an absolute path.
        samples: tampered first, each part sorted by name.
        pictures: sample name → SHA-256 of its picture file; unreadable files are absent.
        fingerprints: sample name → perceptual hash of its picture, if requested.
        digest: SHA-256 over all names, hashes of pictures and masks, and rules to read masks; "" until `hash_files` has
            run.
        list_file: name and SHA-256 of the list file that selected the samples, None for the whole folder.
        notes: problems found and files left out while reading the set, one line each.
        warnings: how the set's masks and other files were interpreted, one line each.
        left_out: reason → files that were left out while reading the set.
        account: numbers of usable and unusable pictures; None until `survey` has run.
    """

    name: str
    root: Path
    samples: list[Sample]
    target: str
    pictures: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    list_file: dict[str, str] | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    account: Account | None = None

    def survey(self, readable: Callable[[Path], bool]) -> Account:
        """Check every picture and mask, once.

        Args:
            readable: whether a picture can be read.
        """
        if self.account is None:
            self.account = Account(self.name, left_out={reason: [*names] for reason, names in self.left_out.items()})
            survey(self.samples, self.account, readable)
        return self.account

    def hash_files(self, similar: bool = False) -> Iterator[Sample]:
        """Hash every picture and mask; yields each sample when its files are hashed.

        Args:
            similar: also fill `fingerprints`, which requires decoding every picture.
        """
        total = hashlib.sha256()
        for sample in self.samples:
            picture = _hash(sample.image)
            if picture:
                self.pictures[sample.name] = picture
            if similar and (found := fingerprint(sample.image)):
                self.fingerprints[sample.name] = found
            mask = _hash(sample.mask) if sample.mask else "-"
            if sample.mask and sample.rule != MaskRule():
                mask += f"\t{sample.rule!r}"
            total.update(f"{sample.name}\t{picture}\t{mask}\n".encode())
            yield sample
        self.digest = total.hexdigest()


def _hash(path: Path) -> str:
    """SHA-256, or "" for a file that cannot be read; decoding it will report the reason."""
    try:
        return sha256_file(path)
    except OSError:
        return ""


def named_sets(specifications: Sequence[str]) -> list[NamedSet]:
    """Read data sets from `NAME=TARGET`, or from `TARGET` alone, from which the name is taken.

    A target is a folder in the `folder` layout, a manifest, or `LAYOUT:DIR` for a set as distributed.

    Raises `UsageError` for an empty or repeated name, `DataError` when a target is not a data set.
    """
    sets: list[NamedSet] = []
    for specification in specifications:
        name, equals, target = specification.partition("=")
        if equals and Path(specification).exists():  # a folder with an equals sign in its name
            equals = ""
        target = target if equals else specification
        name = name.strip() if equals else _name_of(target)
        if not name or (equals and not target):
            raise UsageError(f"--data {specification!r} is not of the form NAME=DIR", "for instance --data casia=DIR")
        if any(one.name == name for one in sets):
            raise UsageError(f"two data sets are named {name}", "give each --data its own NAME")
        sets.append(read_target(name, target))
    return sets


def _name_of(target: str) -> str:
    layout, colon, folder = target.partition(":")
    path = Path(folder if colon and layout in LAYOUTS else target)
    return path.stem if path.is_file() else path.resolve().name


def read_target(name: str, target: str, split: str | None = None) -> NamedSet:
    """Read a data set called `name` from a folder in the `folder` layout, a manifest, or `LAYOUT:DIR`.

    Args:
        split: only the pictures of this split and those without a split.

    Raises `DataError` when the target is not a data set or has no such split, `UsageError` for an unknown layout.
    """
    layout, colon, place = target.partition(":")
    native = bool(colon) and layout in LAYOUTS
    if colon and not native and not Path(target).exists() and Path(place).exists():
        raise UsageError(f"unknown layout {layout!r}", f"known layouts: {', '.join(LAYOUTS)}")
    root = Path(place if native else target)
    if not root.exists():
        raise DataError(f"data set {root} does not exist", "give a folder, a manifest or LAYOUT:DIR")
    require_plain(root)
    again = f"{layout}:{root.absolute()}" if native else str(root.absolute())
    if not (root.is_file() or native):
        if split is None:
            found = folder_samples(root)
            return _settled(NamedSet(name, root, found.samples, again, warnings=found.notes, left_out=found.left_out))
        target = f"folder:{root}"
    manifest, problems = read_set(target)
    chosen = manifest.select([split] if split is not None else None)
    one = NamedSet(name, root, manifest_samples(chosen), again)
    one.notes = [f"{problem.file}: {problem.message}" for problem in problems if problem.fault]
    for problem in problems:
        if problem.leaves_out:
            one.left_out.setdefault(problem.kind, []).append(problem.file)
    return _settled(one)


def _settled(one: NamedSet) -> NamedSet:
    settled = settle_rasters(one.samples)
    one.samples = settled.samples
    one.warnings += settled.notes()
    return one


def sample_sets(folder: Path) -> list[NamedSet]:
    """Read the data sets in a folder of samples: every direct subfolder with `tampered/` or `authentic/`.

    Raises `DataError` when the folder is missing or contains no such subfolder.
    """
    if not folder.is_dir():
        raise DataError(f"no data set was given and the samples folder {folder} does not exist", "give --data NAME=DIR")
    found = [
        root
        for root in sorted(folder.iterdir())
        if root.is_dir() and any((root / part).is_dir() for part in ("tampered", "authentic"))
    ]
    if not found:
        raise DataError(f"no folder in {folder} has tampered/ or authentic/ in it", "give --data NAME=DIR")
    return [read_target(root.name, str(root)) for root in found]


def apply_lists(sets: Sequence[NamedSet], specifications: Sequence[str]) -> None:
    """Keep only the samples that a set's list file names, in the set's order.

    Args:
        specifications: `NAME=FILE`; the file contains sample names such as `tampered/a.jpg`, one per line.

    Raises `UsageError` for a set that is not evaluated or has two lists, `DataError` when a list is empty or names a
    picture that the set does not have.
    """
    by_name = {one.name: one for one in sets}
    for specification in specifications:
        name, equals, file = specification.partition("=")
        name = name.strip()
        if not (name and equals and file):
            raise UsageError(f"--list {specification!r} is not of the form NAME=FILE", "for instance --list casia=FILE")
        if name not in by_name:
            raise UsageError(f"--list {name}: no data set has that name", f"the sets are {', '.join(by_name)}")
        one = by_name[name]
        if one.list_file:
            raise UsageError(f"two lists are given for {name}", "give one --list per set")
        _choose(one, Path(file))


def _choose(one: NamedSet, file: Path) -> None:
    wanted = read_list(file)
    if not wanted:
        raise DataError(f"list file {file} names no picture")
    present = {sample.name for sample in one.samples}.union(*one.left_out.values())
    missing = [name for name in wanted if name not in present]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"list file {file} names {missing[0]}{more}, not in {one.root}",
            "names are relative to the set's folder, such as tampered/a.jpg",
        )
    chosen = set(wanted)
    one.samples = [sample for sample in one.samples if sample.name in chosen]
    listed = {reason: [name for name in names if name in chosen] for reason, names in one.left_out.items()}
    one.left_out = {reason: names for reason, names in listed.items() if names}
    one.list_file = {"name": file.name, "sha256": sha256_file(file)}
