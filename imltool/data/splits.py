"""Scene-disjoint splits: no picture of the second part shares a source scene with the first."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from imltool.data.folder import name_below, require_plain
from imltool.errors import DataError, UsageError
from imltool.files import walk_images

ItemT = TypeVar("ItemT", bound=Hashable)

CASIA_SCENE = r"([a-z]{3})_?(\d{4})"
"""Source ids in CASIA's file names: `ani0049` in forgeries, `ani_0049` in authentic pictures."""


def require_pattern(pattern: str, option: str) -> None:
    """Raises `UsageError`, which names the option or setting, when a scene pattern is not a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} {pattern!r} is not a regular expression: {error}") from error


def scenes_of(name: str, pattern: str = CASIA_SCENE) -> list[str]:
    """Scene ids in a file name: every match of `pattern` that is not empty, with its groups joined, or the name if
    there is none.
    """
    found = ["".join(match.groups("")) or match.group() for match in re.finditer(pattern, name)]
    return [scene for scene in found if scene] or [name]


def scene_groups(names: Sequence[str], pattern: str = CASIA_SCENE) -> list[list[str]]:
    """Group names so that two names that share a scene, directly or through others, are in the same group."""
    return connected({name: scenes_of(name, pattern) for name in names})


def connected(keys: Mapping[ItemT, Sequence[Hashable]]) -> list[list[ItemT]]:
    """Group items so that two that share a key, directly or through others, are in the same group.

    Args:
        keys: item → its keys, at least one.
    """
    parent: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for first, *others in keys.values():
        for key in others:
            parent[root(key)] = root(first)
    groups: dict[Hashable, list[ItemT]] = defaultdict(list)
    for item, (first, *_) in keys.items():
        groups[root(first)].append(item)
    return list(groups.values())


def split_by_scene(
    names: Sequence[str], share: float, seed: int = 0, pattern: str = CASIA_SCENE
) -> tuple[list[str], list[str]]:
    """Split names into (train, held out) by whole scene groups; both are sorted.

    Args:
        share: wanted share of held-out names. In the order of a seeded hash, every group is taken that brings the share
            closer to it.

    Raises `DataError` when one part would be empty.
    """
    groups = scene_groups(names, pattern)
    groups.sort(key=lambda group: hashlib.sha256(f"{seed}:{min(group)}".encode()).hexdigest())
    wanted = share * len(names)
    held: list[str] = []
    for group in groups:
        if abs(len(held) + len(group) - wanted) < abs(len(held) - wanted):
            held += group
    taken = set(held)
    train = [name for name in names if name not in taken]
    if not train or not held:
        raise DataError(
            f"{len(names)} pictures of {len(groups)} unconnected scenes cannot be split at {share:.0%}",
            "choose another share or scene pattern",
        )
    return sorted(train), sorted(held)


def require_listable(root: Path) -> None:
    """Raises `DataError` unless list files can name every picture below a folder, see `read_list`."""
    require_plain(root)
    if root.name.startswith("#") or root.name != root.name.strip():
        raise DataError(f"{root} begins with # or with a space, which lists of pictures cannot contain", "rename it")
    for file in walk_images(root):
        name_below(root, file)


def read_list(path: Path) -> list[str]:
    """Names in a list file, one per line; blank lines and lines starting with # are skipped. Raises `DataError`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"list file {path} cannot be read: {error.strerror}", "check the name of the list") from error
    except UnicodeDecodeError as error:
        raise DataError(f"list file {path} is not UTF-8 text", "one picture name per line") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
