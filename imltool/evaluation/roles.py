"""IND or OOD: a property of a checkpoint and a test set together, determined from the data the checkpoint has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from imltool.data.near_duplicates import find_similar
from imltool.errors import DataError
from imltool.student.header import TrainingSet
from imltool.texts import counted

Role = Literal["ind", "ood"]
TRAINED, VALIDATED = "trained", "validated"


@dataclass(frozen=True)
class Overlap:
    """Relation of a test set to the data a checkpoint has seen: its training sets and validation sets.

    Attributes:
        role: `ind` if the names agree or a file was seen, else `ood`, unless a protocol calls the set IND.
        named: whether a seen set has the test set's name.
        n_seen: number of test files that were seen, by SHA-256.
        seen_as: use of the seen files: "trained on", "validated on" or "trained or validated on"; "" for none.
        source_set: the seen set with the same name, or with most of the seen files; "" for none.
        first: the first seen file, "" for none.
        n_similar: number of other test pictures that are near-duplicates of a seen one; None if the checkpoint has no
            perceptual hashes.
        similar_source, similar_first: the seen set with most of them, and the first of them; "" for none.
        conflict: contradiction between a protocol's role and the checkpoint's lists, one line; "" for none.
    """

    role: Role
    named: bool
    n_seen: int
    seen_as: str
    source_set: str
    first: str
    n_similar: int | None = None
    similar_source: str = ""
    similar_first: str = ""
    conflict: str = ""


def plain_name(name: str) -> str:
    """A set's name without case and punctuation: `CASIA v1-dev` and `casia_v1.dev` are the same set."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _same_name(one: str, other: str) -> bool:
    plain = plain_name(one)
    return plain == plain_name(other) if plain else one == other


def find_overlap(
    set_name: str,
    files: Mapping[str, str],
    training_sets: Sequence[TrainingSet],
    validation_sets: Sequence[TrainingSet] = (),
    fingerprints: Mapping[str, str] | None = None,
) -> Overlap:
    """Compare a test set with the data a checkpoint was trained and validated on.

    Both count as seen: results on pictures that chose the checkpoint and its thresholds need not hold for others.

    Args:
        set_name: the test set's name.
        files: picture name → SHA-256 of its file, in the order in which they are reported.
        training_sets, validation_sets: those of the checkpoint's header.
        fingerprints: picture name → perceptual hash, to be compared with the `similar` of the seen sets.
            Near-duplicates do not change the role; they are reported separately.
    """
    known = [(TRAINED, one.name, set(one.files)) for one in training_sets]
    known += [(VALIDATED, one.name, set(one.files)) for one in validation_sets]
    same_name = next((name for _, name, _ in known if _same_name(name, set_name)), "")
    seen = [name for name, digest in files.items() if any(digest in digests for _, _, digests in known)]
    uses = {use for use, _, digests in known if not digests.isdisjoint(files.values())}
    source = same_name
    if seen and not same_name:
        source = max(known, key=lambda one: sum(digest in one[2] for digest in files.values()))[1]
    exact = set(seen)
    hashes = [(one.name, one.similar) for one in (*training_sets, *validation_sets)]
    similar = find_similar({name: text for name, text in (fingerprints or {}).items() if name not in exact}, hashes)
    return Overlap(
        role="ind" if same_name or seen else "ood",
        named=bool(same_name),
        n_seen=len(seen),
        seen_as=f"{' or '.join(sorted(uses))} on" if uses else "",
        source_set=source,
        first=seen[0] if seen else "",
        n_similar=len(similar.names) if any(found for _, found in hashes) else None,
        similar_source=similar.source,
        similar_first=similar.names[0] if similar.names else "",
    )


def under_protocol(overlap: Overlap, expected: Role, listed: bool) -> Overlap:
    """The overlap of a set with a role given by a protocol.

    The protocol's role holds, except that a set it calls OOD is IND if the checkpoint has seen it.

    Args:
        listed: whether there is a checkpoint that lists its training data.
    """
    if expected == overlap.role:
        return overlap
    if expected == "ood":
        seen = _seen(overlap)
        named = f"the checkpoint has seen a set of that name ({overlap.source_set})"
        return replace(
            overlap, conflict=f"OOD by the protocol, but {seen if overlap.n_seen else named}: it is IND and in no mean"
        )
    doubt = "IND by the protocol, but the checkpoint's lists name neither the set nor any of its pictures"
    return replace(overlap, role="ind", conflict=doubt if listed else "")


def _seen(overlap: Overlap) -> str:
    pictures = counted(overlap.n_seen, "picture of it was", "pictures of it were")
    return f"{pictures} {overlap.seen_as} ({overlap.source_set})"


def refuse_hidden_overlap(set_name: str, overlap: Overlap, expected: Role | None = None) -> None:
    """Raises `DataError` when pictures of the set, or near-duplicates of them, were trained or validated on although
    neither its name nor a protocol shows it, or when a protocol calls a set OOD that was trained on by name.

    Args:
        expected: the role given by a protocol, None without one.
    """
    if expected == "ind" or (overlap.named and expected is None):
        return
    if overlap.n_seen:
        rename = "" if expected else f" name the set {overlap.source_set},"
        raise DataError(
            f"{set_name} is not out of distribution: {_seen(overlap)}, the first is {overlap.first}",
            f"leave out --ood, remove those pictures,{rename} or give --allow-overlap",
        )
    if overlap.named:
        raise DataError(
            f"{set_name} is not out of distribution: the checkpoint has seen a set of that name ({overlap.source_set})",
            "leave out --ood, or give --allow-overlap, which is recorded in the results",
        )
    if overlap.n_similar:
        alike = counted(overlap.n_similar, "picture of it looks", "pictures of it look")
        raise DataError(
            f"{set_name} may not be out of distribution: {alike} like one the "
            f"checkpoint has seen ({overlap.similar_source}), the first is {overlap.similar_first}",
            "look at them, then remove those pictures or give --allow-overlap, which is recorded in the results",
        )
