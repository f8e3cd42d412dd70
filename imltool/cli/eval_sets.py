"""The data sets of `imltool eval`: chosen, told about, and compared with what the checkpoint has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.cli import common
from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.data.sets import NamedSet
    from imltool.evaluation.protocols import ProtocolRun
    from imltool.evaluation.roles import Overlap, Role
    from imltool.inference.localizer import Localizer


def choose_sets(
    data: Sequence[str], lists: Sequence[str], samples: Path, protocol: str | None, root: Path | None
) -> tuple[list[NamedSet], ProtocolRun | None]:
    """The sets that `--data`, `--protocol` or else `--samples` name; what is amiss with them is told."""
    from imltool.data.sets import apply_lists, named_sets, sample_sets
    from imltool.evaluation.protocols import open_protocol

    if protocol is not None and data:
        raise UsageError("--data and --protocol are given together", "a protocol has its own sets: give one of them")
    if (protocol is None) != (root is None):
        raise UsageError("--protocol and --root belong together", "--root is the folder that holds the protocol's sets")
    run = None
    if protocol is not None and root is not None:
        run = open_protocol(protocol, root, lists)
        sets = run.sets
    else:
        sets = named_sets(data) if data else sample_sets(samples)
        apply_lists(sets, lists)
    for one in sets:
        for line in one.warnings:
            common.say(f"warning: {one.name}: {line}")
        if one.notes:
            count = "1 file was" if len(one.notes) == 1 else f"{len(one.notes)} files were"
            common.say(f"warning: {one.name}: {count} left out, the first: {one.notes[0]}")
    if run is not None:
        _tell_gaps(run)
    return sets, run


def _tell_gaps(run: ProtocolRun) -> None:
    from imltool.evaluation.tables import count_difference

    for wanted in run.missing:
        folders = " or ".join(wanted.folders)
        common.say(
            f"warning: {wanted.name} ({wanted.role.upper()}) is missing: no folder or manifest {folders} in {run.root}"
        )
    for name, block in run.describe()["sets"].items():
        if block["differs"]:
            common.say(f"warning: {name}: {count_difference(block)}; --list {name}=FILE keeps a part of it")


def find_overlaps(
    sets: Sequence[NamedSet], localizer: Localizer | None, refuse: bool, roles: Mapping[str, Role]
) -> dict[str, Overlap]:
    """Role of every set, before any picture is predicted, so that a refusal comes at once.

    Args:
        roles: set → role that a protocol gives it.
    """
    from imltool.evaluation.roles import find_overlap, looks_of, refuse_hidden_overlap, under_protocol

    training_sets = localizer.header.training_sets if localizer else ()
    validation_sets = localizer.header.validation_sets if localizer else ()
    similar = any(looks_of(one) for one in (*training_sets, *validation_sets))
    overlaps = {}
    with common.progress_bar() as progress:
        for one in sets:
            task = progress.add_task(f"hashing {one.name}", total=len(one.samples))
            for _ in one.hash_files(similar):
                progress.advance(task)
            overlap = find_overlap(one.name, one.pictures, training_sets, validation_sets, one.fingerprints)
            if refuse:
                refuse_hidden_overlap(one.name, overlap, roles.get(one.name))
            if one.name in roles:
                overlap = under_protocol(overlap, roles[one.name], bool(training_sets or validation_sets))
            overlaps[one.name] = overlap
    for name, overlap in overlaps.items():
        _tell_overlap(name, overlap)
    if (training_sets or validation_sets) and not similar:
        common.say("warning: the checkpoint does not say how its pictures look: near-duplicates were not looked for")
    return overlaps


def _tell_overlap(name: str, overlap: Overlap) -> None:
    if overlap.n_seen:
        pictures = "1 picture was" if overlap.n_seen == 1 else f"{overlap.n_seen} pictures were"
        seen = f"{pictures} {overlap.seen_as} ({overlap.source_set})"
        common.say(f"warning: {name}: {seen}, the first is {overlap.first}")
    if overlap.n_similar:
        pictures = "1 picture looks" if overlap.n_similar == 1 else f"{overlap.n_similar} pictures look"
        seen = f"{pictures} like one the checkpoint has seen ({overlap.similar_source})"
        common.say(f"warning: {name}: {seen}, the first is {overlap.similar_first}")
    if overlap.conflict:
        common.say(f"warning: {name}: {overlap.conflict}")
