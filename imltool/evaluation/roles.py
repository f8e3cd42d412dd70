"""In or out of distribution: a property of a checkpoint and a test set together, read from the checkpoint's header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from imltool.errors import DataError
from imltool.files import sha256_file

Role = Literal["ind", "ood"]


class TrainingSetLike(Protocol):
    """What a checkpoint records of a training set (`imltool.student.checkpoint.TrainingSet`)."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Provenance:
    """How a test set stands to what a checkpoint was trained on.

    Attributes:
        role: `ind` when the name is a training set's or a file was trained on, else `ood`.
        named: the name is a training set's.
        seen: files of the test set that were trained on → the training set that holds them, in the test set's order.
    """

    role: Role
    named: bool
    seen: dict[str, str]

    @property
    def n_seen(self) -> int:
        return len(self.seen)


def plain_name(name: str) -> str:
    """The name without case, spaces and punctuation: `CASIA-v1` and `casia_v1` are one set."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def hash_files(files: Mapping[str, Path], workers: int = 4) -> dict[str, str]:
    """SHA-256 of every readable file, by its key; unreadable ones are left out (evaluation records them as failed)."""

    def digest(path: Path) -> str | None:
        try:
            return sha256_file(path)
        except OSError:
            return None

    with ThreadPoolExecutor(workers) as pool:
        found = zip(files, pool.map(digest, files.values()), strict=True)
        return {name: value for name, value in found if value is not None}


def provenance(set_name: str, hashes: Mapping[str, str], training_sets: Sequence[TrainingSetLike]) -> Provenance:
    """Compare a test set with a checkpoint's training sets.

    Args:
        set_name: the test set's name, as given to `--data`.
        hashes: name of a picture in the set → SHA-256 of its file.
        training_sets: from the checkpoint's header.
    """
    trained = {file: known.name for known in reversed(training_sets) for file in known.files}
    seen = {name: trained[value] for name, value in hashes.items() if value in trained}
    named = plain_name(set_name) in {plain_name(known.name) for known in training_sets}
    return Provenance("ind" if named or seen else "ood", named, seen)


def role(set_name: str, file_hashes: Iterable[str], training_sets: Sequence[TrainingSetLike]) -> Role:
    """`ind` when the set's name is a training set's (case and punctuation aside) or any hash was trained on."""
    return provenance(set_name, {value: value for value in file_hashes}, training_sets).role


def refuse_seen(set_name: str, total: int, found: Provenance) -> None:
    """Stop an out-of-distribution evaluation on a set with trained-on files whose name does not say so.

    Args:
        total: pictures in the set, for the message.

    Raises `DataError` with the number of files, the training set and the first file.
    """
    if found.named or not found.seen:
        return
    first, training_set = next(iter(found.seen.items()))
    raise DataError(
        f"{set_name} is not out of distribution: the checkpoint was trained on {found.n_seen} of its {total} pictures "
        f"(training set {training_set}, first {first})",
        "leave --ood out to have it reported as ind, or take pictures the checkpoint has not seen",
    )
