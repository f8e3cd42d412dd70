"""Convert any data set to the `folder` layout, with clean masks and unchanged picture files."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from imltool.data.layouts.common import Problem
from imltool.data.manifest import Manifest, Record, write_manifest
from imltool.data.masks import MaskRule
from imltool.errors import DataError, ImageError
from imltool.files import atomic, sha256_text
from imltool.journal import dump_json, output_folder
from imltool.pictures.images import read_shape, write_mask

PARAMETERS = "convert.json"
MANIFEST = "manifest.jsonl"


def convert(manifest: Manifest, out: Path, link: bool = False) -> Iterator[Problem | None]:
    """Write `tampered/`, `masks/` (PNG of 0 and 255), `authentic/` and `manifest.jsonl` into `out`.

    Yields None for every picture written and a `Problem` for every picture left out because it is unreadable or its
    mask is empty or of another size. The same call repeats and completes an interrupted conversion. The manifest keeps
    kind, split and source, which folders cannot express.

    Args:
        link: hard-link the pictures if possible instead of copying them. A link takes no space, but it changes the
            original's status (link count, time of change), and editing it in place edits the original.

    Raises `UsageError` when `out` contains anything but a conversion, `ResumeError` when it contains another
    conversion, and `OutputError` when a file cannot be written.
    """
    records = [record.model_dump(mode="json") for record in manifest.records]
    parameters: dict[str, Any] = {
        "command": "data convert",
        "data": os.path.abspath(manifest.root),
        "records_sha256": sha256_text(dump_json(records)),
        "link": link,
    }
    with output_folder(out, parameters, PARAMETERS):
        made: list[Record] = []
        for record, stem in zip(manifest.records, _stems(manifest.records), strict=True):
            try:
                made.append(_convert(manifest, record, stem, out, link))
            except (DataError, ImageError) as error:
                yield Problem("left-out", record.image, error.message)
            else:
                yield None
        write_manifest(out / MANIFEST, Manifest(out, made))


def _convert(manifest: Manifest, record: Record, stem: str, out: Path, link: bool) -> Record:
    image = manifest.file(record.image)
    part = "tampered" if record.tampered else "authentic"
    target = f"{part}/{stem}{PurePosixPath(record.image).suffix}"
    shape = read_shape(image)
    if not record.tampered:
        _place(image, out / target, link)
        return record.model_copy(update={"image": target, "mask_rule": MaskRule()})
    truth = manifest.truth(record)
    if not truth.any():
        raise DataError(f"its mask {record.mask} marks nothing")
    mask = f"masks/{stem}.png"
    _place(image, out / target, link)  # before the mask, because a mask without a picture makes the folder unusable
    write_mask(out / mask, truth)
    rule = MaskRule() if shape.orientation == 1 else MaskRule(raster="displayed")
    return record.model_copy(update={"image": target, "mask": mask, "mask_rule": rule})


def _place(source: Path, target: Path, link: bool) -> None:
    """Copy a file, or hard-link it; if a link is impossible (another disk, no permission), it is copied."""
    with atomic(target) as temporary:
        if link:
            try:
                os.link(source.resolve(), temporary)
                return
            except OSError:
                temporary.unlink(missing_ok=True)
        try:
            shutil.copyfile(source, temporary)
        except PermissionError as error:
            if error.filename == str(source):
                raise DataError(f"{source}: no permission to read") from None
            raise


def _stems(records: list[Record]) -> list[str]:
    """A path without suffix for each record below its part's folder, unique without regard to case.

    It is the file's stem if no two pictures of the part share one; otherwise all pictures of the part keep their
    folders below the one common to them.
    """
    stems: dict[int, str] = {}
    for tampered in (True, False):
        part = [index for index, record in enumerate(records) if record.tampered == tampered]
        paths = [PurePosixPath(records[index].image) for index in part]
        names = [path.stem for path in paths]
        if len({name.casefold() for name in names}) < len(names):
            names = _below_common(paths)
        taken: set[str] = set()
        for index, name in zip(part, names, strict=True):
            while name.casefold() in taken:  # the same stem with two suffixes in one folder
                name += "_"
            taken.add(name.casefold())
            stems[index] = name
    return [stems[index] for index in range(len(records))]


def _below_common(paths: list[PurePosixPath]) -> list[str]:
    mixed = len({path.is_absolute() for path in paths}) > 1
    common = "" if mixed else posixpath.commonpath([str(path.parent) for path in paths])
    names = [path.with_suffix("").relative_to(common) if common else path.with_suffix("") for path in paths]
    # no name may lead out of the folder: neither ".." nor the root of an absolute path
    return ["/".join(part for part in name.parts if part not in ("..", "/")) for name in names]
