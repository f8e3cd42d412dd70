"""What a student has seen: file hashes for its checkpoint, and no leak between training and validation."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from imltool.errors import DataError
from imltool.files import sha256_file
from imltool.student.checkpoint import TrainingSet


def hash_sets(files: dict[str, list[Path]]) -> tuple[TrainingSet, ...]:
    """SHA-256 of every picture file, by the set's name. Raises `DataError` when one cannot be read."""
    sets = []
    for name, paths in files.items():
        try:
            sets.append(TrainingSet(name=name, files=tuple(sorted({sha256_file(path) for path in paths}))))
        except OSError as error:
            raise DataError(
                f"set {name}: {error.filename} cannot be read: {error.strerror}", "check the file"
            ) from error
    return tuple(sets)


def refuse_overlap(training: tuple[TrainingSet, ...], validation: tuple[TrainingSet, ...]) -> None:
    """Raises `DataError` when a picture, byte for byte, is in training and in validation."""
    for trained in training:
        for held in validation:
            both = set(trained.files) & set(held.files)
            if both:
                raise DataError(
                    f"{len(both)} pictures of validation set {held.name} are in training set {trained.name}, "
                    f"the first with SHA-256 {min(both)[:16]}…",
                    "split them, for instance with imltool data split",
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
