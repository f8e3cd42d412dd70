"""The data a student has seen: file hashes for its checkpoint, and a check that no validation picture is among it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from imltool.data.near_duplicates import fingerprint
from imltool.errors import DataError
from imltool.files import sha256_file, sha256_text
from imltool.journal import dump_json
from imltool.student.header import TrainingSet
from imltool.texts import counted


def hash_sets(files: dict[str, list[Path]]) -> tuple[TrainingSet, ...]:
    """SHA-256 and perceptual hash of every picture file, by set name.

    A file that is not a picture has no perceptual hash. Raises `DataError` when a file cannot be read.
    """
    sets = []
    for name, paths in files.items():
        try:
            digests = {sha256_file(path) for path in paths}
        except OSError as error:
            raise DataError(
                f"set {name}: {error.filename} cannot be read: {error.strerror}", "check the file"
            ) from error
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="fingerprint") as pool:
            looks = set(pool.map(_looks, paths)) - {""}
        sets.append(TrainingSet(name=name, files=tuple(sorted(digests)), similar=tuple(sorted(looks))))
    return tuple(sets)


def is_readable(path: Path) -> bool:
    """Whether a picture can be decoded."""
    try:
        return bool(_looks(path))
    except OSError:
        return False


def _looks(path: Path) -> str:
    status = path.stat()
    return _looks_of_file(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _looks_of_file(path: Path, modified: int, size: int) -> str:
    """Cached, because a run asks for its held-out pictures more than once and each has to be decoded."""
    return fingerprint(path)


def data_digest(sets: Iterable[TrainingSet], masks: Iterable[Path]) -> str:
    """SHA-256 over the pictures of sets and the contents of mask files, in their order; paths do not matter.

    Raises `DataError` when a mask cannot be read.
    """
    try:
        labels = [sha256_file(mask) for mask in masks]
    except OSError as error:
        raise DataError(f"mask {error.filename} cannot be read: {error.strerror}", "check the file") from error
    return sha256_text(dump_json([[[one.name, one.files] for one in sets], labels]))


def joined(parts: list[dict[str, list[Path]]]) -> dict[str, list[Path]]:
    """Merge several mappings of set names to files."""
    files: dict[str, list[Path]] = {}
    for part in parts:
        for name, paths in part.items():
            files.setdefault(name, []).extend(paths)
    return files


def merged_sets(*parts: tuple[TrainingSet, ...]) -> tuple[TrainingSet, ...]:
    """Merge sets of the same name; the order is that of each name's first occurrence."""
    files: dict[str, set[str]] = {}
    similar: dict[str, set[str]] = {}
    for one in itertools.chain(*parts):
        files.setdefault(one.name, set()).update(one.files)
        similar.setdefault(one.name, set()).update(one.similar)
    return tuple(
        TrainingSet(name=name, files=tuple(sorted(found)), similar=tuple(sorted(similar[name])))
        for name, found in files.items()
    )


def refuse_overlap(
    training: tuple[TrainingSet, ...],
    held_out: tuple[TrainingSet, ...],
    files: dict[str, list[Path]],
    what: str = "validation",
    seen: str = "training",
) -> None:
    """Raises `DataError` when a training set and a held-out set share a picture, byte for byte.

    Args:
        files: the picture files of the held-out sets by set name, to name those that are shared.
    """
    for trained in training:
        for held in held_out:
            both = set(trained.files) & set(held.files)
            if both:
                shared = [path for path in files[held.name] if sha256_file(path) in both]
                more = f" and {counted(len(shared) - 1, 'more picture')}" if len(shared) > 1 else ""
                are = "are" if len(shared) > 1 else "is"
                raise DataError(
                    f"{what} set {held.name}: {shared[0]}{more} {are} in {seen} set {trained.name}, too",
                    "take them out of one of the sets, or split the pictures with imltool data split",
                )


def without_machine(value: Any) -> Any:
    """A configuration without this machine's folders: absolute paths keep their last two parts."""
    if isinstance(value, dict):
        return {key: "." if key == "root" else without_machine(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_machine(item) for item in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(*PurePath(value).parts[-2:]).as_posix()
    return value
