"""Check the files of a data set: damage, sizes, masks that do not match their rule, duplicates.

All limits are our choice. Findings that leave the set usable are notes, the others are faults.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from imltool.data.layouts.common import Problem
from imltool.data.layouts.orientation import settle_manifest
from imltool.data.manifest import Manifest, Record
from imltool.data.masks import HALF, MaskRule, mask_values, orientation_of, read_content
from imltool.errors import DataError, ImageError
from imltool.files import sha256_file
from imltool.pictures.images import RGB, Mask, PictureShape, read_rgb, read_shape

BETWEEN = (16, 239)
"""Grey values (0-255) between which a pixel of a two-level mask is neither black nor white."""

BETWEEN_FAULT = 0.01
"""Share of such pixels above which they are a separate level rather than a soft edge."""

BORDER_SHARE = 0.9
"""A mask that marks at least this share of the picture's border, and most of the picture, looks inverted."""


def check_files(manifest: Manifest, done: Callable[[], object] = lambda: None) -> list[Problem]:
    """Decode and hash every picture and mask of a manifest and return the problems found.

    Kinds: `missing`, `unreadable`, `size`, `orientation`, `colour`, `levels`, `empty`, `full`, `inverted`, `duplicate`.

    Args:
        done: called after each record.
    """
    manifest, orientations = settle_manifest(manifest)
    problems: list[Problem] = []
    hashes: dict[str, list[Record]] = defaultdict(list)
    suspects, masks = [], 0
    for record in manifest.records:
        found, digest = _check_record(manifest, record)
        problems += found
        if digest:
            hashes[digest].append(record)
        masks += record.tampered
        suspects += [problem for problem in found if problem.kind == "inverted"]
        done()
    if len(suspects) * 2 > masks:
        message = f"{len(suspects)} of {masks} masks look inverted: the polarity of the whole set is probably wrong"
        problems.append(Problem("inverted", suspects[0].file, message))
    return problems + orientations + _duplicates(hashes)


def _check_record(manifest: Manifest, record: Record) -> tuple[list[Problem], str]:
    """The problems of a record and the SHA-256 of its picture, "" if that cannot be read."""
    image = manifest.file(record.image)
    mask = None if record.mask is None else manifest.file(record.mask)
    problems = [
        Problem("missing", name or "", "does not exist")
        for name, file in ((record.image, image), (record.mask, mask))
        if file is not None and not os.path.isfile(file)  # also False for a name that no file system accepts
    ]
    if problems:
        return problems, ""
    try:
        digest = sha256_file(image)
    except OSError as error:
        return [Problem("unreadable", record.image, error.strerror or type(error).__name__)], ""
    try:
        read_rgb(image)
        shape = read_shape(image)
    except ImageError as error:
        return [Problem("unreadable", record.image, _reason(error, image))], digest
    if mask is None or record.mask is None:
        return [], digest
    try:
        return _check_mask(record.mask, mask, record.mask_rule, shape), digest
    except ImageError as error:
        return [Problem("unreadable", record.mask, _reason(error, mask))], digest


def _reason(error: ImageError, file: Path) -> str:
    return error.message.removeprefix(f"{file}: ")


def _check_mask(name: str, file: Path, rule: MaskRule, shape: PictureShape) -> list[Problem]:
    rgb = read_rgb(file)
    found = (rgb.shape[1], rgb.shape[0])
    try:
        orientation_of(file, found, rule, shape)
    except DataError:
        turned = ", turned by 90°" if found == shape.size[::-1] else ""
        sizes = f"is {found[0]}x{found[1]}, its picture is {shape.size[0]}x{shape.size[1]}{turned}"
        return [Problem("size", name, sizes)]
    try:
        content = read_content(file, rule)
    except DataError as error:
        reason = error.message.removeprefix(f"mask {file} ")
        return [Problem("colour", name, f"{reason}: {error.remedy}" if error.remedy else reason)]
    problems = [Problem("colour", name, content.note, fault=False)] if content.note else _check_levels(name, rgb, rule)
    truth = content.marked
    share = float(truth.mean())
    if not truth.any():
        problems.append(Problem("empty", name, "marks nothing"))
    elif truth.all():
        problems.append(Problem("full", name, "marks the whole picture"))
    elif share > 0.5 and _border(truth) >= BORDER_SHARE:
        message = f"looks inverted: it marks {share:.0%} of the picture and {_border(truth):.0%} of its border"
        problems.append(Problem("inverted", name, message))
    return problems


def _check_levels(name: str, rgb: RGB, rule: MaskRule) -> list[Problem]:
    """Problems for intermediate levels that the rule does not expect."""
    if rule.colour not in ("auto", "grey") or rule.threshold != HALF:
        return []  # a threshold other than the default means that there are more levels
    grey = mask_values(rgb, rule)
    between = float(((grey > BETWEEN[0]) & (grey < BETWEEN[1])).mean())
    if between == 0:
        return []
    levels = f"{between:.2%} of it is neither black nor white: read as tampered above half"
    return [Problem("levels", name, levels, fault=between >= BETWEEN_FAULT)]


def _border(truth: Mask) -> float:
    """Share of true pixels along the border."""
    inner = truth[1:-1, 1:-1]
    return float(truth.sum() - inner.sum()) / (truth.size - inner.size)


def _duplicates(hashes: dict[str, list[Record]]) -> list[Problem]:
    """A problem for every picture with the same bytes as an earlier record's.

    It is a fault if the records contradict each other (authentic and tampered, or two masks) or are in different
    splits.
    """
    problems = []
    for first, *others in hashes.values():
        for record in others:
            if record.tampered != first.tampered:
                contrast = "tampered" if first.tampered else "authentic"
                message, fault = f"is the same file as {first.image}, which is {contrast}", True
            elif record.split != first.split:
                message, fault = f"is the same file as {first.image} of the split {first.split or '–'}", True
            elif record.mask != first.mask:
                message, fault = f"is the same file as {first.image}, which has the mask {first.mask}", True
            else:
                message, fault = f"is the same file as {first.image}", False
            problems.append(Problem("duplicate", record.image, message, fault))
    return problems
