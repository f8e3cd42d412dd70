"""Other people's methods, scored from the maps they saved: which file belongs to which picture, and how it is read."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from imltool.data.folder import Sample
from imltool.data.sets import NamedSet
from imltool.errors import DataError
from imltool.evaluation.map_files import SUFFIXES, as_map, read_raw
from imltool.evaluation.runner import ImageRow, MapSource
from imltool.files import IMAGE_SUFFIXES, sha256_file
from imltool.pictures.images import Map

SURVEYED = 32
"""Maps looked at before any is scored, to tell folders of 0 and 1 from folders of 0 to 255."""

INVERTED_BELOW = 0.4
"""A mean pixel AUC below this says that a method marks what is authentic (our choice)."""


@dataclass
class MapFolder:
    """A folder of saved maps.

    Attributes:
        name: the method's name in tables.
        folder: where the maps lie.
        invert: high values mean authentic.
        resize: maps of another size than their picture are scaled to it, bilinearly; else they are failures.
        files: (set, sample name) → map file; filled by `match`.
        unused: number of map files that belong to no picture.
        binary: integers in this folder are 0 and 1.
        digest: SHA-256 over the names and hashes of the files used.
    """

    name: str
    folder: Path
    invert: bool = False
    resize: bool = False
    files: dict[tuple[str, str], Path] = field(default_factory=dict)
    unused: int = 0
    binary: bool = False
    digest: str = ""

    def match(self, sets: Sequence[NamedSet]) -> None:
        """Find the map of every picture of the sets.

        A map belongs to a picture by its path below the folder, with or without the set's name in front, with or
        without the picture's suffix (`casia/tampered/a.jpg.npz`, `tampered/a.png`). Maps that lie flat, right in the
        folder or in one named after the set, belong by their stem alone. A stem deeper down proves nothing: it may be
        of another set.

        Raises `DataError` when the folder does not exist, no map fits, two maps fit one picture or one map fits two.
        """
        found = list(self._walk())
        by_path = _index(self.folder, found)
        self.files = {}
        owners: dict[Path, str] = {}
        for one in sets:
            for sample in one.samples:
                fitting = _fitting(one.name, sample.name, by_path)
                if len(fitting) > 1:
                    names = " and ".join(file.relative_to(self.folder).as_posix() for file in fitting[:2])
                    raise DataError(
                        f"two maps in {self.folder} fit {one.name}/{sample.name}: {names}",
                        "leave one, or lay the maps in folders as the pictures are",
                    )
                if not fitting:
                    continue
                file = fitting[0]
                if file in owners:
                    raise DataError(
                        f"map {file} fits {owners[file]} and {one.name}/{sample.name}",
                        "lay the maps in folders as the pictures are, with the set's name in front",
                    )
                owners[file] = f"{one.name}/{sample.name}"
                self.files[one.name, sample.name] = file
        if not self.files:
            hint = f", the first map is {found[0].relative_to(self.folder).as_posix()}" if found else ""
            raise DataError(
                f"no map in {self.folder} belongs to a picture{hint}",
                "maps are .npz, .npy, .png or .tif files named like their pictures",
            )
        self.unused = len(found) - len(owners)
        self._survey()

    def _walk(self) -> Iterator[Path]:
        if not self.folder.is_dir():
            raise DataError(f"maps folder {self.folder} does not exist", "give --maps a folder of map files")
        for folder, subfolders, names in os.walk(self.folder):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                    yield Path(folder) / name

    def _survey(self) -> None:
        """Look at maps spread over the folder: integers that never exceed 1 are 0 and 1, not nearly black.

        Maps of nothing tell nothing, so where all of these are, the others are looked at up to the first that is not.
        """
        paths = list(self.files.values())
        spread = paths[:: max(1, len(paths) // SURVEYED)]
        highest = 0
        for number, path in enumerate(dict.fromkeys([*spread, *paths])):
            if number >= len(spread) and highest:
                break
            try:
                values = read_raw(path).values
            except DataError:  # told when it is scored
                continue
            if values.dtype.kind != "u":
                return
            highest = max(highest, int(values.max()))
        self.binary = highest == 1

    def hash_files(self) -> Iterator[Path]:
        """Hash every map that belongs to a picture; yields each file when it is done."""
        total = hashlib.sha256(f"{self.invert} {self.resize}\n".encode())
        for (set_name, name), path in self.files.items():
            try:
                digest = sha256_file(path)
            except OSError as error:
                raise DataError(f"map {path} cannot be read: {error.strerror}", "check the file") from error
            total.update(f"{set_name}\t{name}\t{digest}\n".encode())
            yield path
        self.digest = total.hexdigest()

    def source(self, set_name: str) -> MapSource:
        """The maps of one set, for `runner.evaluate_maps`."""

        def read(sample: Sample, size: tuple[int, int]) -> tuple[Map, float | None]:
            path = self.files.get((set_name, sample.name))
            if path is None:
                raise DataError(f"no map for {sample.name} in {self.folder}")
            raw = read_raw(path)
            values = as_map(path, raw.values, self.binary)
            if values.shape != (size[1], size[0]):
                if not self.resize:
                    raise DataError(
                        f"map {path} is {values.shape[1]}x{values.shape[0]}, its picture is {size[0]}x{size[1]}; "
                        "--resize-maps scales maps to their pictures"
                    )
                values = np.clip(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
            return (1.0 - values if self.invert else values), raw.score

        return read


def _index(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Map files by every path that may name their picture."""
    by_path: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        base = PurePosixPath(file.relative_to(root).as_posix()).with_suffix("")
        for key in dict.fromkeys((base, _bare(base))):
            by_path[key.as_posix()].append(file)
    return by_path


def _fitting(set_name: str, name: str, by_path: dict[str, list[Path]]) -> list[Path]:
    """The map files for a picture by the most exact of its names that any file has."""
    path = PurePosixPath(name)
    flat = PurePosixPath(path.name)
    for exact in (set_name / path, path, set_name / flat, flat):
        for key in (exact, _bare(exact)):
            if key.as_posix() in by_path:
                return by_path[key.as_posix()]
    return []


def _bare(path: PurePosixPath) -> PurePosixPath:
    """A path without the suffix of a picture."""
    return path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path


def looks_inverted(rows: Sequence[ImageRow]) -> float | None:
    """The mean pixel AUC of tampered pictures where it is so low that low values seem to mean tampered, else None."""
    aucs = [row.pixel_auc for row in rows if row.ok and row.tampered and not np.isnan(row.pixel_auc)]
    mean = float(np.mean(aucs)) if aucs else 1.0
    return mean if mean < INVERTED_BELOW else None
