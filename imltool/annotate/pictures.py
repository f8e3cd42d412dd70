"""The pictures to annotate; no other file is ever opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from imltool.errors import DataError, ImageError, UsageError
from imltool.files import IMAGE_SUFFIXES
from imltool.scan.inputs import plan_inputs
from imltool.texts import printable


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of one session.

    Attributes:
        root: the resolved folder to which all names are relative: IMAGES for `imltool pseudo`.
        names: paths relative to `root` with forward slashes, in the order in which they are shown.
        left_out: a line for each file or folder left out, with the reason.
    """

    root: Path
    names: tuple[str, ...]
    left_out: tuple[str, ...]

    def path(self, name: str) -> Path:
        """The file of a name. Raises `ImageError` when a link, changed since the start, points out of the root."""
        path = self.root / name
        if name not in self.names or not _inside(path, self.root):
            raise ImageError(f"{name}: not one of the pictures")
        return path


def find_pictures(paths: list[Path], out: Path) -> PictureFolder:
    """Find the pictures of files and folders (recursively), in the order of `plan_inputs`.

    The root is the given folder, or the closest folder that contains all given paths. Ground-truth folders of labelled
    sets are left out, as are links that point out of the root, files without a picture's suffix (`imltool pseudo` would
    not find them), folders that cannot be read, and names that a list file cannot contain.

    Raises `UsageError` for a path that does not exist, `DataError` when no picture is left.
    """
    plan = plan_inputs(paths, out)
    folders = [path.resolve() if path.is_dir() else path.resolve().parent for path in paths]
    root = Path(os.path.commonpath(folders))
    names, left_out = [], [f"{printable(str(folder))}: ground truth of a labelled data set" for folder in plan.skipped]
    for item in plan.inputs:
        # only the last part may be a link: the real path of files in a linked folder is checked
        path = item.file.parent.resolve() / item.file.name
        reason = item.fault or _reason(path, root)
        if reason:
            left_out.append(f"{printable(str(item.file))}: {reason}")
        else:
            names.append(path.relative_to(root).as_posix())
    if not names:
        raise DataError(f"no picture found in {', '.join(printable(str(path)) for path in paths)}", "check the path")
    return PictureFolder(root, tuple(dict.fromkeys(names)), tuple(left_out))


def _reason(path: Path, root: Path) -> str:
    if not _inside(path, root):
        return "a link that points out of the folder"
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return "its name does not have a picture's suffix"
    name = path.relative_to(root).as_posix()
    if not name.isprintable():
        return "its name has characters that a list cannot contain"
    return ""


def _inside(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and path.resolve().is_relative_to(root)


def check_out(out: Path) -> None:
    """Raises `UsageError` when boxes cannot be written to `out`."""
    if out.is_dir():
        raise UsageError(f"{out} is a folder", "give --out a file, for instance boxes.json")
    if out.suffix.lower() != ".json":
        raise UsageError(f"{out} does not end in .json", "boxes are written as COCO JSON")
