"""Which pictures are for training, which for calibration and which for measuring: no scene is in two of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imltool.adapt.settings import AdaptSettings
from imltool.data.boxes import MatchedImage
from imltool.data.near_duplicates import find_similar, fingerprint
from imltool.data.splits import connected, require_pattern, scenes_of
from imltool.data.survey import is_decodable
from imltool.errors import DataError
from imltool.files import sha256_file, walk_images
from imltool.texts import listed

LEAST_BOXED = 6
"""Fewer boxed pictures leave nothing to measure with (our choice)."""
LEAST_AUTHENTIC = 20
"""Fewer authentic pictures cannot show a false-alarm rate of 5 % (our choice)."""


@dataclass(frozen=True)
class Parts:
    """Files by what they are for.

    Attributes:
        taught, held_out: boxed pictures.
        authentic, calibrating, checking: authentic pictures for training, for fitting thresholds and for measuring;
        empty without any.
    """

    taught: tuple[Path, ...]
    held_out: tuple[Path, ...]
    authentic: tuple[Path, ...] = ()
    calibrating: tuple[Path, ...] = ()
    checking: tuple[Path, ...] = ()


def divide(boxed: Sequence[MatchedImage], authentic: Path | None, settings: AdaptSettings) -> Parts:
    """Divide boxed pictures and the authentic ones of a folder, whole scenes at a time.

    A scene is what a pattern finds in the names (`settings.scenes`) and what looks alike (`fingerprint`).

    Raises `DataError` for too few pictures, a single scene, an authentic picture that cannot be decoded, and
    a picture given as both edited and authentic, `UsageError` for a pattern that is not a regular expression.
    """
    if settings.scenes is not None:
        require_pattern(settings.scenes, "scenes")
    files = [item.image for item in boxed]
    if len(files) < LEAST_BOXED:
        raise DataError(
            f"{len(files)} pictures have usable boxes, which is too few to learn from and to measure with",
            f"draw boxes on {LEAST_BOXED} or more; twenty to thirty are a good start",
        )
    held_out, taught = _split(files, settings, (settings.held_out,), "boxed pictures")
    if authentic is None:
        return Parts(tuple(taught), tuple(held_out))
    clean = walk_images(authentic)
    if len(clean) < LEAST_AUTHENTIC:
        raise DataError(
            f"{authentic} holds {len(clean)} authentic pictures, too few to keep false alarms in sight",
            f"give {LEAST_AUTHENTIC} or more of the kind you work with, or leave --authentic out",
        )
    if broken := [path for path in clean if not is_decodable(path)]:
        names = listed([str(path) for path in broken])
        raise DataError(f"authentic pictures that cannot be decoded: {names}", "repair them, or take them out")
    edited = {sha256_file(path): path for path in files}
    for path in clean:
        if (twin := edited.get(sha256_file(path))) is not None:
            raise DataError(
                f"{path} is given as authentic, and has boxes as {twin.name}", "take it out of one of the two"
            )
    calibrating, checking, rest = _split(clean, settings, (settings.calibration, settings.check), "authentic pictures")
    return Parts(tuple(taught), tuple(held_out), tuple(rest), tuple(calibrating), tuple(checking))


def _split(files: list[Path], settings: AdaptSettings, shares: tuple[float, ...], what: str) -> list[list[Path]]:
    """Parts of about these shares, then the rest; none is empty. Raises `DataError` when scenes are too few."""
    groups = group_scenes(files, settings.scenes)
    if len(groups) <= len(shares):
        one = "all show one scene" if len(groups) == 1 else f"show {len(groups)} scenes"
        raise DataError(
            f"the {len(files)} {what} {one}: what is measured would not be independent of what is learned",
            "add pictures of other scenes",
        )
    groups.sort(key=lambda group: hashlib.sha256(f"{settings.seed}:{group[0].name}".encode()).hexdigest())
    parts: list[list[Path]] = []
    for left, share in zip(range(len(shares), 0, -1), shares, strict=True):
        part = list(groups.pop(0))
        while len(groups) > left and len(part) + len(groups[0]) / 2 < share * len(files):
            part += groups.pop(0)
        parts.append(sorted(part))
    return [*parts, sorted(itertools.chain(*groups))]


def group_scenes(files: Sequence[Path], pattern: str | None) -> list[list[Path]]:
    """Files by scene: those whose names share what `pattern` finds, and those that look alike, are in one group."""
    looks = {str(path): text for path in files if (text := fingerprint(path))}
    keys: dict[Path, list[Hashable]] = {path: [str(path)] for path in files}
    for path, own in keys.items():
        if str(path) in looks:
            own += find_similar(looks, [("", [looks[str(path)]])]).names
        if pattern is not None:
            own += [("scene", one) for one in scenes_of(path.name, pattern)]
    return connected(keys)
