"""Readers of data sets as they are distributed, one function per layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imltool.data.folder import require_plain
from imltool.data.layouts.by_name import (
    read_autosplice,
    read_cocoglide,
    read_columbia,
    read_comofod,
    read_coverage,
    read_dso1,
    read_imd2020,
    read_inthewild,
    read_korus,
)
from imltool.data.layouts.casia import read_casia1, read_casia2
from imltool.data.layouts.common import Problem, Reading
from imltool.data.layouts.generic import read_folder_layout, read_imdlbenco
from imltool.data.layouts.nist16 import read_nist16
from imltool.data.manifest import Manifest, read_manifest
from imltool.errors import DataError, UsageError

__all__ = ["LAYOUTS", "Problem", "Reading", "read_layout", "read_set"]

LAYOUTS: dict[str, Callable[[Path], Reading]] = {
    "casia1": read_casia1,
    "casia2": read_casia2,
    "columbia": read_columbia,
    "coverage": read_coverage,
    "nist16": read_nist16,
    "imd2020": read_imd2020,
    "korus": read_korus,
    "dso1": read_dso1,
    "inthewild": read_inthewild,
    "cocoglide": read_cocoglide,
    "autosplice": read_autosplice,
    "comofod": read_comofod,
    "folder": read_folder_layout,
    "imdlbenco": read_imdlbenco,
}


def read_layout(name: str, root: Path) -> tuple[Manifest, list[Problem]]:
    """Read the data set at `root` (for `imdlbenco` a file) in the layout `name`.

    Raises `UsageError` for an unknown layout, `DataError` when the root is missing or contains nothing of the layout,
    or when every picture had to be left out.
    """
    if name not in LAYOUTS:
        raise UsageError(f"unknown layout {name!r}", f"known layouts: {', '.join(LAYOUTS)}")
    if not root.exists():
        raise DataError(f"data set {root} does not exist")
    require_plain(root)
    reading = LAYOUTS[name](root)
    if not reading.records:
        first = f", first {reading.problems[0].file}: {reading.problems[0].message}" if reading.problems else ""
        raise DataError(f"no picture of {root} can be used in the layout {name}{first}", "see docs/data.md")
    return Manifest(root.parent if root.is_file() else root, reading.records), reading.problems


def read_set(target: str) -> tuple[Manifest, list[Problem]]:
    """Read `LAYOUT:DIR` or a manifest file; for a manifest the list of problems is empty.

    Raises as `read_layout` and `read_manifest` do, and `UsageError` when `target` is neither.
    """
    name, colon, path = target.partition(":")
    if colon and path and name in LAYOUTS:
        return read_layout(name, Path(path))
    if Path(target).is_file():
        return read_manifest(Path(target)), []
    if Path(target).is_dir():
        raise UsageError(f"the layout of {target} is not given", f"for instance folder:{target}")
    if colon and path and Path(path).exists():
        return read_layout(name, Path(path))  # raises an error with the known layouts
    raise UsageError(f"{target} is neither a manifest nor LAYOUT:DIR", f"known layouts: {', '.join(LAYOUTS)}")
