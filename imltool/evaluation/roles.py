"""IND or OOD: a property of a checkpoint and a test set together, read from what the checkpoint was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from imltool.errors import DataError

Role = Literal["ind", "ood"]


class TrainedOn(Protocol):
    """What is asked of a checkpoint's training set: its name and the SHA-256 of every picture file used."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Overlap:
    """How a test set relates to a checkpoint's training sets.

    Attributes:
        role: `ind` when the names agree or a file was seen in training, else `ood`.
        named: a training set has the test set's name.
        n_seen: test files that were trained on, by SHA-256.
        training_set: the training set holding most of the seen files, or the one of the same name; "" for none.
        first: the first seen file, "" for none.
    """

    role: Role
    named: bool
    n_seen: int
    training_set: str
    first: str


def plain_name(name: str) -> str:
    """A set's name without case and punctuation: `CASIA v1-dev` and `casia_v1.dev` are one set."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _same_name(one: str, other: str) -> bool:
    plain = plain_name(one)
    return plain == plain_name(other) if plain else one == other


def find_overlap(set_name: str, files: Mapping[str, str], training_sets: Iterable[TrainedOn]) -> Overlap:
    """Compare a test set with what a checkpoint was trained on.

    Args:
        set_name: the test set's name.
        files: picture name → SHA-256 of its file, in the order they are to be reported.
        training_sets: the checkpoint header's `training_sets`.
    """
    trained = list(training_sets)
    same_name = next((one.name for one in trained if _same_name(one.name, set_name)), "")
    seen_by = [(one.name, set(one.files)) for one in trained]
    seen = [name for name, digest in files.items() if any(digest in known for _, known in seen_by)]
    source = same_name
    if seen and not same_name:
        source = max(seen_by, key=lambda one: sum(digest in one[1] for digest in files.values()))[0]
    return Overlap(
        role="ind" if same_name or seen else "ood",
        named=bool(same_name),
        n_seen=len(seen),
        training_set=source,
        first=seen[0] if seen else "",
    )


def refuse_hidden_overlap(set_name: str, overlap: Overlap) -> None:
    """Raises `DataError` when pictures of the set were trained on although its name does not say so."""
    if overlap.n_seen and not overlap.named:
        pictures = "1 picture of it was" if overlap.n_seen == 1 else f"{overlap.n_seen} pictures of it were"
        raise DataError(
            f"{set_name} is not out of distribution: {pictures} in the training set "
            f"{overlap.training_set}, the first is {overlap.first}",
            f"leave out --ood, remove those pictures, or name the set {overlap.training_set}",
        )
