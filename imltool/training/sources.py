"""Find the pictures of a configuration's sources, pair them with their labels and count the unusable ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imltool.data.accounts import Account
from imltool.data.folder import Sample, name_below, pair_by_stem
from imltool.data.layouts.coarse import boxes_root
from imltool.data.manifest import read_manifest
from imltool.data.raster import settle_rasters
from imltool.data.samples import manifest_samples
from imltool.data.splits import read_list
from imltool.data.survey import survey, usable_pictures
from imltool.errors import DataError, UsageError
from imltool.files import walk_images
from imltool.synth.sources import SourcePool, object_samples, working_side
from imltool.teacher.pseudo_rows import read_boxless, read_pseudo
from imltool.training.provenance import is_readable
from imltool.training.settings import DataSettings, SourceSettings

NO_PSEUDO_MASK = "no pseudo-mask"


@dataclass
class SourceReading:
    """A source of labelled pictures after its files were checked.

    Attributes:
        samples: the usable ones.
        account: how many are used, and why the others are left out.
        notes: how masks were interpreted, one line each.
    """

    samples: list[Sample]
    account: Account
    notes: list[str]


def listed_names(lists: Iterable[Path]) -> dict[str, Path]:
    """The names in several list files, in their order, each with the list that has it first.

    Raises `DataError` when a list cannot be read or names nothing.
    """
    names: dict[str, Path] = {}
    for one in lists:
        found = read_list(one)
        if not found:
            raise DataError(f"list {one} names no picture", "one picture name per line")
        names |= {name: one for name in found if name not in names}
    return names


def select(paths: list[Path], root: Path, names: Mapping[str, Path]) -> list[Path]:
    """The pictures of `paths` that `listed_names` found in lists, in its order.

    Args:
        root: folder of the pictures. The list's names start with that folder's own name (`tampered/a.jpg`), as
            `imltool data split` writes them; lines of other folders are skipped.

    Raises `DataError` naming the first missing picture.
    """
    known = {f"{root.name}/{path.relative_to(root).as_posix()}": path for path in paths}
    chosen = [name for name in names if name.startswith(f"{root.name}/")]
    if missing := [name for name in chosen if name not in known]:
        raise DataError(
            f"list {names[missing[0]]} names {_first(missing)} in {root}", "check the data folder and the list"
        )
    if not chosen:
        lists = ", ".join(str(one) for one in dict.fromkeys(names.values()))
        raise DataError(f"list {lists} names nothing in {root}", "check the data folder and the list")
    return [known[name] for name in chosen]


def _first(names: Sequence[str]) -> str:
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"


def _folder(data: DataSettings, path: Path) -> Path:
    folder = data.root / path
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist", "set data.root to the folder of the data")
    return folder


def authentic_sources(specifications: Sequence[str]) -> tuple[SourceSettings, ...]:
    """Sources of authentic pictures from `NAME=DIR`, one kind of pictures each.

    Raises `UsageError` for another form, or when a name or a folder is given twice, `DataError` when a folder is
    missing.
    """
    sources: list[SourceSettings] = []
    for specification in specifications:
        name, equals, target = specification.partition("=")
        if not (name and equals and target):
            raise UsageError(
                f"--authentic {specification!r} is not of the form NAME=DIR",
                "for instance --authentic phone=photos/phone",
            )
        folder = Path(target)
        if not folder.is_dir():
            missing = "does not exist" if not folder.exists() else "is not a folder"
            raise DataError(f"--authentic {name}: {folder} {missing}", "give a folder of authentic pictures")
        for other in sources:
            if other.name == name:
                raise UsageError(f"two --authentic are named {name}", "give each kind of pictures its own NAME")
            if other.images is not None and other.images.samefile(folder):
                raise UsageError(f"--authentic {other.name} and {name} are the same folder", "give each folder once")
        sources.append(SourceSettings(name=name, kind="authentic", images=folder))
    return tuple(sources)


def read_source(data: DataSettings, source: SourceSettings) -> SourceReading:
    """Read the pictures and masks of a `pseudo`, `masks` or `authentic` source and check every file.

    Raises `DataError` when the source holds no usable picture.
    """
    account = Account(f"{source.name} ({source.kind})")
    notes: list[str] = []
    samples = (
        _from_manifest(data, source, account)
        if source.manifest is not None
        else _from_folders(data, source, account, notes)
    )
    settled = settle_rasters(samples)
    found = len(samples) + account.lost
    reading = SourceReading(survey(settled.samples, account, is_readable), account, notes + settled.notes())
    if not reading.samples:
        where = source.manifest if source.manifest is not None else source.images
        reasons = "; ".join(account.why())
        message = (
            f"none of its {found} pictures in {where} can be used: {reasons}" if found else f"no picture in {where}"
        )
        raise DataError(f"source {source.name} ({source.kind}): {message}", _hint(data, source, account))
    return reading


def _hint(data: DataSettings, source: SourceSettings, account: Account) -> str:
    """Advice for a source without a usable picture."""
    names = account.left_out.get(NO_PSEUDO_MASK)
    if names and source.pseudo is not None:
        known = [row.image for row in read_pseudo(_folder(data, source.pseudo))]
        return f"its pictures are called like {names[0]}, the pseudo-masks are of {known[0] if known else 'no picture'}"
    return "check the data folder"


def _from_folders(data: DataSettings, source: SourceSettings, account: Account, notes: list[str]) -> list[Sample]:
    assert source.images is not None
    images = _folder(data, source.images)
    found = walk_images(images)
    chosen = select(found, images, listed_names(data.lists / one for one in source.lists)) if source.lists else found
    names = {path: name_below(images, path) for path in chosen}
    if source.kind == "authentic":
        return [Sample(name, image, None, "authentic") for image, name in names.items()]
    if source.kind == "masks":
        assert source.masks is not None
        pairing = pair_by_stem(images, _folder(data, source.masks))
        notes += pairing.notes()
        for image, reason in pairing.left_out.items():
            if image in names:
                account.leave_out(reason, names[image])
        return [Sample(name, image, pairing.pairs[image]) for image, name in names.items() if image in pairing.pairs]
    return _with_pseudo_masks(data, source, [Sample(name, image, None) for image, name in names.items()], account)


def _from_manifest(data: DataSettings, source: SourceSettings, account: Account) -> list[Sample]:
    """The forgeries of a manifest, or its authentic pictures for an `authentic` source.

    Names in a list are those that `imltool eval` gives the pictures; names of pictures of the other kind are skipped.
    Names of pseudo-masks are relative to the folder that holds all forgeries, as in `imltool data boxes`.
    """
    assert source.manifest is not None
    file = data.root / source.manifest
    manifest = read_manifest(file)
    samples = {sample.name: sample for sample in manifest_samples(manifest)}
    names = listed_names(data.lists / one for one in source.lists) if source.lists else dict.fromkeys(samples, file)
    if unknown := [name for name in names if name not in samples]:
        raise DataError(
            f"list {names[unknown[0]]} names {_first(unknown)}, not in {file}", "check the manifest and the list"
        )
    chosen = [samples[name] for name in names if samples[name].tampered is (source.kind != "authentic")]
    if source.kind == "pseudo" and chosen:
        root = boxes_root(manifest)
        images = [Path(os.path.abspath(one.image)) for one in chosen]
        named = [Sample(image.relative_to(root).as_posix(), image, None) for image in images]
        return _with_pseudo_masks(data, source, named, account)
    return chosen


def _with_pseudo_masks(
    data: DataSettings, source: SourceSettings, chosen: Sequence[Sample], account: Account
) -> list[Sample]:
    """The samples that have a pseudo-mask, paired with it. The others are counted; pictures that were judged and have
    no box are not counted as faults, as an `authentic` source may list them.
    """
    assert source.pseudo is not None
    folder = _folder(data, source.pseudo)
    masks = {row.image: folder / row.mask for row in read_pseudo(folder)}
    boxless = read_boxless(folder)
    found = []
    for sample in chosen:
        if sample.name in masks:
            # imltool writes masks of the displayed picture
            rule = sample.rule.model_copy(update={"raster": "displayed"})
            found.append(replace(sample, mask=masks[sample.name], rule=rule))
        elif sample.name in boxless:
            account.set_aside(boxless[sample.name], sample.name)
        else:
            account.leave_out(NO_PSEUDO_MASK, sample.name)
    return found


@dataclass
class PoolReading:
    """The pool of a `synth` source, and the accounts of its photos and its objects."""

    pool: SourcePool
    accounts: list[Account]


def build_pool(data: DataSettings, source: SourceSettings) -> PoolReading:
    """The pool of a `synth` source. Raises `DataError`."""
    objects = [(_folder(data, images), _folder(data, masks)) for images, masks in source.objects]
    wanted = None if source.photo_list is None else listed_names([data.lists / source.photo_list])
    photos: list[Path] = []
    for folder in (_folder(data, path) for path in source.photos):
        found = walk_images(folder)
        photos += found if wanted is None else select(found, folder, wanted)
    photos = list(dict.fromkeys(photos))  # folders may lie in one another
    accounts = [Account(f"{source.name} (photos)"), Account(f"{source.name} (objects)")]
    photos = usable_pictures(photos, accounts[0], is_readable)
    samples = [one for images, masks in objects for one in object_samples(images, masks, accounts[1], is_readable)]
    used = [account for account in accounts if account.pictures]
    return PoolReading(SourcePool(photos, samples, working_side(source.synth)), used)
