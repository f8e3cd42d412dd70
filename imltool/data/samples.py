"""Information about pictures beyond their files: the kind of manipulation, and the rule to read the mask."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from imltool.data.folder import FolderReading, Sample, read_folder
from imltool.data.layouts.casia import KINDS
from imltool.data.manifest import Manifest, is_manifest, read_manifest
from imltool.data.masks import MaskRule, read_truth
from imltool.journal import read_rows
from imltool.pictures.images import Mask

CASIA_NAME = re.compile(r"(?:Sp|Tp)_([DS])_")
"""CASIA names a forgery after its sources: D (different pictures) is a splice, S (the same) a copy-move."""

MANIFEST, SYNTHETIC = "manifest.jsonl", "synth.jsonl"
"""Files of `imltool data convert` and `imltool synth` with the kinds of manipulation."""


def kind_of(sample: Sample) -> str | None:
    """The kind of manipulation of a tampered picture: from its data set, else from a CASIA name, else None."""
    if not sample.tampered:
        return None
    if sample.kind:
        return sample.kind
    found = CASIA_NAME.match(Path(sample.name).name)
    return KINDS[found[1]] if found else None


def read_sample_mask(sample: Sample) -> Mask:
    """The ground truth of a tampered picture, bool [H,W] over the displayed picture. Raises as `read_truth` does."""
    assert sample.mask is not None
    return read_truth(sample.mask, sample.rule, sample.image)


def folder_samples(root: Path) -> FolderReading:
    """Read a data set in the `folder` layout, with kinds if a file in it records them.

    A file with the name of such a file and other contents adds a note. Raises `DataError` as `read_folder` does, and
    when the record of kinds is damaged.
    """
    kinds: dict[str, str] = {}
    rules: dict[str, MaskRule] = {}
    reading = read_folder(root)
    if (root / SYNTHETIC).is_file():
        kinds = {row["image"]: row["kind"] for row in read_rows(root / SYNTHETIC) if "image" in row and "kind" in row}
    if (root / MANIFEST).is_file():
        if is_manifest(root / MANIFEST):
            records = read_manifest(root / MANIFEST).records
            kinds |= {record.image: record.kind for record in records if record.kind}
            rules = {record.image: record.mask_rule for record in records}
        else:
            reading.notes.append(f"{MANIFEST} is no manifest of imltool: not used")
    reading.samples = [
        replace(sample, kind=kinds.get(sample.name), rule=rules.get(sample.name, sample.rule))
        for sample in reading.samples
    ]
    return reading


def manifest_samples(manifest: Manifest) -> list[Sample]:
    """The pictures of a manifest, tampered first, each part sorted by name.

    Names are those of the manifest. If all are absolute, they lose the folder that all pictures share; if only some
    are, nothing is removed, because a shortened name might be another picture's.
    """
    names = [Path(record.image) for record in manifest.records]
    shared = Path(os.path.commonpath([name.parent for name in names])) if all(map(Path.is_absolute, names)) else None
    samples = manifest.samples()
    if shared:
        samples = [replace(one, name=Path(one.name).relative_to(shared).as_posix()) for one in samples]
    return sorted(samples, key=lambda sample: (not sample.tampered, sample.name))
