"""Inputs of an evaluation: its settings, data sets, saved maps, and their overlap with training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from imltool.config import Settings
from imltool.data.accounts import MAX_LEFT_OUT, Account, account_lines, require_used
from imltool.data.sets import NamedSet, apply_lists, named_sets, sample_sets
from imltool.data.survey import has_header, is_decodable
from imltool.errors import UsageError
from imltool.evaluation.compat import PROTOCOLS
from imltool.evaluation.degradations import DEGRADATIONS
from imltool.evaluation.events import Advanced, Event, Said, Started
from imltool.evaluation.methods import BASELINES
from imltool.evaluation.protocols import ProtocolRun, open_protocol
from imltool.evaluation.roles import Overlap, Role, find_overlap, refuse_hidden_overlap, under_protocol
from imltool.evaluation.saved_maps import MapFolder
from imltool.evaluation.tables import count_difference
from imltool.texts import counted

if TYPE_CHECKING:
    from imltool.inference.localizer import Localizer

NO_WEIGHTS = "none"


class EvaluationSettings(Settings):
    """The settings of an evaluation, equal to the options of `imltool eval`."""

    weights: str | None = Field(
        None,
        description="checkpoint file or name; none: no checkpoint; null: the bundled student, or with maps none",
    )
    data: tuple[str, ...] = Field((), description="data sets as NAME=TARGET, see data.sets.named_sets")
    lists: tuple[str, ...] = Field((), description="list files as NAME=FILE")
    samples: Path = Field(Path("sample_images"), description="folder of the data sets that are used if data is empty")
    protocol: str | None = Field(None, description="protocol that defines the sets, instead of data")
    root: Path | None = Field(None, description="folder of the protocol's sets")
    ood: bool = Field(False, description="refuse a set with pictures that the checkpoint has seen")
    allow_overlap: bool = Field(False, description="with ood: measure such a set anyway")
    baselines: tuple[str, ...] = Field((), description="names of methods.BASELINES")
    maps: tuple[Path, ...] = Field((), description="folders of saved maps")
    names: tuple[str, ...] = Field((), description="names of these methods, one each; default: the folders' names")
    invert: bool = Field(False, description="high values in the maps mean authentic")
    resize_maps: bool = Field(False, description="scale maps of another size to their picture")
    tiles: bool = Field(False, description="also predict large pictures in tiles")
    compat: tuple[str, ...] = Field((), description="names of compat.PROTOCOLS")
    compat_size: int | None = Field(None, description="side in pixels for imdlbenco; null: the checkpoint's input size")
    max_left_out: float = Field(MAX_LEFT_OUT, ge=0, le=1, description="share of a set's pictures that may be unusable")
    min_max: bool = Field(False, description="stretch every map to 0..1 before scoring")
    robust: tuple[str, ...] = Field((), description="names of degradations.DEGRADATIONS")
    batch: int = Field(8, ge=1, description="pictures predicted at a time")
    device: str = "auto"
    engine: str = "auto"
    precision: str = "fp32"
    seed: int = Field(0, ge=0, description="seed of the bootstrap, of degradations and of the untrained baseline")

    @property
    def checkpoint(self) -> bool:
        """Whether a checkpoint is measured."""
        return self.weights != NO_WEIGHTS and not (self.weights is None and self.maps)

    def check(self) -> None:
        """Raises `UsageError` for options that exclude each other or have unknown values."""
        if not (self.checkpoint or self.baselines or self.maps):
            raise UsageError(
                "nothing to measure: --weights none and no --baseline", "add --baseline ela, or leave it out"
            )
        if (self.invert or self.resize_maps or self.names) and not self.maps:
            raise UsageError("--name, --invert and --resize-maps are for saved maps", "give --maps DIR")
        if self.names and len(self.names) != len(self.maps):
            raise UsageError(
                f"{len(self.maps)} --maps but {len(self.names)} --name", "give one --name for each, or none"
            )
        if self.tiles and not self.checkpoint:
            raise UsageError("--tiles is a way to predict with a checkpoint", "give --weights, or leave it out")
        _known("baseline", self.baselines, BASELINES)
        _known("--compat", self.compat, PROTOCOLS)
        _known("degradation", self.robust, DEGRADATIONS)
        if self.robust and not (self.checkpoint or self.baselines):
            raise UsageError(
                "--robust has to predict degraded pictures", "give --weights or --baseline, not maps alone"
            )
        if self.compat_size is not None and self.protocol is None and "imdlbenco" not in self.compat:
            raise UsageError("--compat-size is the side for imdlbenco", "give --compat imdlbenco, or leave it out")
        if self.protocol is not None and self.data:
            raise UsageError(
                "--data and --protocol are given together", "a protocol has its own sets: give one of them"
            )
        if (self.protocol is None) != (self.root is None):
            raise UsageError(
                "--protocol and --root belong together", "--root is the folder that holds the protocol's sets"
            )


def _known(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    choices = list(known)
    for name in names:
        if name not in choices:
            raise UsageError(f"unknown {what} {name!r}", f"choose from {', '.join(choices)}")


def open_sets(settings: EvaluationSettings) -> tuple[list[NamedSet], ProtocolRun | None]:
    """Open the data sets of `data`, `protocol`, or else `samples`. Raises as `named_sets` and `open_protocol` do."""
    if settings.protocol is not None and settings.root is not None:
        run = open_protocol(settings.protocol, settings.root, settings.lists)
        return run.sets, run
    sets = named_sets(settings.data) if settings.data else sample_sets(settings.samples)
    apply_lists(sets, settings.lists)
    return sets, None


def set_warnings(sets: Sequence[NamedSet], run: ProtocolRun | None) -> Iterator[Event]:
    """Warnings about the sets: files left out, missing sets, numbers that differ from the published ones."""
    for one in sets:
        for line in one.warnings:
            yield Said(f"{one.name}: {line}", warning=True)
        if one.notes:
            count = counted(len(one.notes), "file was", "files were")
            yield Said(f"{one.name}: {count} left out, the first: {one.notes[0]}", warning=True)
    if run is None:
        return
    for wanted in run.missing:
        folders = " or ".join(wanted.folders)
        missing = f"{wanted.name} ({wanted.role.upper()}) is missing: no folder or manifest {folders} in {run.root}"
        yield Said(missing, warning=True)
    for name, block in run.describe().sets.items():
        if block.differs:
            text = f"{name}: {count_difference(block)}; --list {name}=FILE keeps a part of it"
            yield Said(text, warning=True)


def open_maps(settings: EvaluationSettings, sets: Sequence[NamedSet], folders: list[MapFolder]) -> Iterator[Event]:
    """Fill `folders` with the folders of saved maps, matched and hashed. Raises `DataError`."""
    for index, folder in enumerate(settings.maps):
        name = settings.names[index] if settings.names else folder.resolve().name
        one = MapFolder(name, folder, settings.invert, settings.resize_maps)
        one.match(sets)
        if one.unused:
            count = counted(one.unused, "map")
            yield Said(f"{count} in {folder} belong to no picture", warning=True)
        yield Started(f"hashing maps of {one.name}", len(one.files))
        for _ in one.hash_files():
            yield Advanced()
        folders.append(one)


NO_MAP = "no map"
MAX_LEFT_OUT_OPTION = "--max-left-out SHARE"


def count_usable(
    sets: Sequence[NamedSet],
    folders: Sequence[MapFolder],
    accounts: list[Account],
    *,
    decoding: bool,
    most: float = MAX_LEFT_OUT,
    option: str = MAX_LEFT_OUT_OPTION,
) -> Iterator[Event]:
    """Fill `accounts` with the numbers of usable pictures of each set and of maps in each folder, and report them.

    A folder without a map for a set has no account for it: a method need not be measured on all sets.

    Args:
        decoding: whether pictures must be decodable; otherwise a valid header is enough.
        most: share that may be left out.
        option: the option with which the user allows more.

    Raises `DataError` when more is left out.
    """
    for one in sets:
        yield Started(f"checking {one.name}", 1)
        accounts.append(one.survey(is_decodable if decoding else has_header))
        yield Advanced()
        for folder in folders:
            have = [(one.name, sample.name) in folder.files for sample in one.samples]
            if any(have) and not all(have):
                without = [sample.name for sample, found in zip(one.samples, have, strict=True) if not found]
                accounts.append(Account(f"{one.name} (maps of {folder.name})", sum(have), {NO_MAP: without}))
    yield from (Said(line) for line in account_lines(accounts))
    require_used(accounts, most, option)


def find_overlaps(
    sets: Sequence[NamedSet],
    localizer: Localizer | None,
    overlaps: dict[str, Overlap],
    *,
    refuse: bool = False,
    roles: Mapping[str, Role] | None = None,
) -> Iterator[Event]:
    """Hash the sets that are not hashed yet and fill `overlaps` with the role of each.

    This is done before any picture is predicted, so that a refusal is immediate.

    Args:
        refuse: raise `DataError` for a set that was seen although it is called OOD or its name does not show it.
        roles: set → role given by a protocol.
    """
    training_sets = localizer.header.training_sets if localizer else ()
    validation_sets = localizer.header.validation_sets if localizer else ()
    seen = (*training_sets, *validation_sets)
    similar = any(one.similar for one in seen)
    for one in sets:
        if not one.digest:
            yield Started(f"hashing {one.name}", len(one.samples))
            for _ in one.hash_files(similar):
                yield Advanced()
        overlap = find_overlap(one.name, one.pictures, training_sets, validation_sets, one.fingerprints)
        expected = (roles or {}).get(one.name)
        if refuse:
            refuse_hidden_overlap(one.name, overlap, expected)
        if expected is not None:
            overlap = under_protocol(overlap, expected, bool(seen))
        overlaps[one.name] = overlap
    for name, overlap in overlaps.items():
        yield from (Said(f"{name}: {text}", warning=True) for text in _overlap_texts(overlap))
    if seen and not similar:
        text = "the checkpoint has no perceptual hashes of its pictures: near-duplicates were not searched for"
        yield Said(text, warning=True)


def _overlap_texts(overlap: Overlap) -> Iterator[str]:
    if overlap.n_seen:
        pictures = counted(overlap.n_seen, "picture was", "pictures were")
        yield f"{pictures} {overlap.seen_as} ({overlap.source_set}), the first is {overlap.first}"
    if overlap.n_similar:
        pictures = counted(overlap.n_similar, "picture looks", "pictures look")
        source = overlap.similar_source
        yield f"{pictures} like one the checkpoint has seen ({source}), the first is {overlap.similar_first}"
    if overlap.conflict:
        yield overlap.conflict
