"""Protocols of published tables: their sets, the sets' roles, and their folders below a root.

A protocol is a YAML file beside this one or a user's file. Missing sets are reported, never skipped silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from imltool.config import Settings, load_settings
from imltool.data.layouts import LAYOUTS
from imltool.data.samples import MANIFEST
from imltool.data.sets import NamedSet, apply_lists, read_target
from imltool.errors import DataError, UsageError
from imltool.evaluation.compat import PROTOCOLS as COMPAT
from imltool.evaluation.results import ProtocolInfo, ProtocolSetInfo
from imltool.evaluation.roles import Role, plain_name
from imltool.files import sha256_file

SHIPPED = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}
"""Name → file of the protocols that come with imltool."""

SUFFIXES = (".yaml", ".yml")


class ProtocolSet(Settings):
    """One set of a protocol."""

    name: str = Field(min_length=1, description="its name in results")
    layout: str = Field(description="layout of the set as distributed")
    folders: tuple[str, ...] = Field(min_length=1, description="names it may have below the root")
    role: Role
    tampered: int | None = Field(None, ge=0, description="number of forgeries in the published tables")
    authentic: int | None = Field(None, ge=0, description="number of authentic pictures in the published tables")
    pictures: Literal["all", "tampered"] = Field("all", description="tampered leaves authentic pictures out")
    split: str | None = Field(None, description="the part of the set that belongs to the protocol")

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, layout: str) -> str:
        if layout not in LAYOUTS:
            raise ValueError(f"unknown layout, choose from {', '.join(LAYOUTS)}")
        return layout

    @field_validator("folders")
    @classmethod
    def _one_folder_deep(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        if any("/" in name or not plain_name(name) for name in folders):
            raise ValueError("folders are names right below the root, with a letter or digit in them")
        return folders


class PublishedProtocol(Settings):
    """The protocol of a published table. It uses the headline's metric; `compat` adds tables with others."""

    says: str = Field(min_length=1, description="its description, with the training data it prescribes")
    source: str = Field(min_length=1, description="where it is published")
    metric: Literal["pixel_f1", "pixel_f1_calibrated", "pixel_f1_oracle"] = Field(
        "pixel_f1", description="the F1 of its tables: at 0.5, at the calibrated or at the best threshold"
    )
    compat: tuple[str, ...] = Field((), description="names for --compat whose tables belong to it")
    sets: tuple[ProtocolSet, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> PublishedProtocol:
        for what, names in (
            ("sets are named", [one.name for one in self.sets]),
            ("sets may be in", [name for one in self.sets for name in {plain_name(name) for name in one.folders}]),
        ):
            name, count = Counter(names).most_common(1)[0]
            if count > 1:
                raise ValueError(f"{count} {what} {name}")
        unknown = [name for name in self.compat if name not in COMPAT]
        if unknown:
            raise ValueError(f"compat names the unknown {unknown[0]}, choose from {', '.join(COMPAT)}")
        return self


@dataclass
class ProtocolRun:
    """A protocol with the sets that were found.

    Attributes:
        name: name of the protocol's file without suffix.
        settings: the protocol.
        sha256: SHA-256 of its file.
        root: the folder of its sets.
        sets: the sets found, in the protocol's order.
    """

    name: str
    settings: PublishedProtocol
    sha256: str
    root: Path
    sets: list[NamedSet] = field(default_factory=list)

    @property
    def missing(self) -> list[ProtocolSet]:
        """The sets that are not below the root."""
        found = {one.name for one in self.sets}
        return [one for one in self.settings.sets if one.name not in found]

    @property
    def roles(self) -> dict[str, Role]:
        """Set → the role that the protocol gives it."""
        return {one.name: one.role for one in self.settings.sets}

    def describe(self) -> ProtocolInfo:
        """The `protocol` block of `results.json`."""
        found = {one.name: one for one in self.sets}
        return ProtocolInfo(
            name=self.name,
            sha256=self.sha256,
            says=self.settings.says,
            source=self.settings.source,
            metric=self.settings.metric,
            compat=self.settings.compat,
            root=str(self.root),
            sets={one.name: _describe(one, found.get(one.name)) for one in self.settings.sets},
            missing=[one.name for one in self.missing],
        )


def _describe(wanted: ProtocolSet, found: NamedSet | None) -> ProtocolSetInfo:
    published = {"tampered": wanted.tampered, "authentic": wanted.authentic}
    there = None
    if found is not None:
        tampered = sum(sample.tampered for sample in found.samples)
        there = {"tampered": tampered, "authentic": len(found.samples) - tampered}
    return ProtocolSetInfo(
        role=wanted.role,
        pictures=wanted.pictures,
        place=None if found is None else str(found.root),
        published=published,
        found=there,
        differs=there is not None and any(n is not None and n != there[part] for part, n in published.items()),
    )


def load_protocol(name: str) -> tuple[str, Path, PublishedProtocol]:
    """Load a shipped protocol, or the YAML file at `name`; returns its name, file and content.

    Raises `UsageError` for an unknown name, `ConfigError` for a file that is not a protocol.
    """
    if name not in SHIPPED and Path(name).suffix.lower() not in SUFFIXES:
        raise UsageError(f"unknown protocol {name!r}", f"choose from {', '.join(SHIPPED)}, or give a YAML file")
    path = SHIPPED.get(name) or Path(name)
    return path.stem, path, load_settings(PublishedProtocol, path)


def open_protocol(name: str, root: Path, lists: Sequence[str] = ()) -> ProtocolRun:
    """Find and read the sets of a protocol below `root`.

    A set is a folder (or link) directly below the root with one of its `folders` as name, ignoring case and
    punctuation. It is in the distributed form, or in that of `imltool data convert`. A manifest with such a name takes
    precedence. Nothing is downloaded.

    Args:
        name: name of a shipped protocol, or a YAML file.
        lists: see `apply_lists`; they are applied before the protocol's `pictures`.

    Raises as `load_protocol` does; `DataError` when the root is not a folder, none of the sets is in it, two folders
    may be the same set, or a set cannot be read.
    """
    name, file, settings = load_protocol(name)
    run = ProtocolRun(name, settings, sha256_file(file), root)
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise DataError(
            f"--root {root} cannot be read: {error.strerror}", "give the folder of the data sets"
        ) from error
    for wanted in settings.sets:
        place = _place(wanted, entries)
        if place is not None:
            run.sets.append(read_target(wanted.name, _target(wanted, place), wanted.split))
    if not run.sets:
        first = settings.sets[0]
        raise DataError(
            f"none of the {len(settings.sets)} sets of protocol {name} is in {root}",
            f"a set is a folder directly below it, {first.name} for instance {' or '.join(first.folders[:3])}",
        )
    apply_lists(run.sets, lists)
    tampered_only = {one.name for one in settings.sets if one.pictures == "tampered"}
    for one in run.sets:
        if one.name in tampered_only:
            one.samples = [sample for sample in one.samples if sample.tampered]
    return run


def _place(wanted: ProtocolSet, entries: Sequence[Path]) -> Path | None:
    """The path of a set among the entries of the root; None if it is missing."""
    names = {plain_name(name) for name in wanted.folders}
    listed = {".jsonl", ".json"} if wanted.layout == "imdlbenco" else {".jsonl"}
    fitting = [path for path in entries if path.suffix in listed and plain_name(path.stem) in names and path.is_file()]
    fitting = fitting or [path for path in entries if plain_name(path.name) in names and path.is_dir()]
    if len(fitting) > 1:
        raise DataError(f"{fitting[0]} and {fitting[1]} may both be {wanted.name}", "rename one of them")
    return fitting[0] if fitting else None


def _target(wanted: ProtocolSet, place: Path) -> str:
    """The target to read with `read_target`."""
    if place.suffix == ".jsonl" and place.is_file():
        return str(place)
    if (place / MANIFEST).is_file():
        return str(place / MANIFEST)
    return str(place) if (place / "tampered").is_dir() else f"{wanted.layout}:{place}"
