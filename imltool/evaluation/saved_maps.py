"""Saved maps of other methods: find the file of each picture, and read it."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imltool.data.folder import Sample
from imltool.data.sets import NamedSet
from imltool.errors import DataError
from imltool.evaluation.rows import ImageRow
from imltool.files import IMAGE_SUFFIXES, sha256_file, walk_images
from imltool.pictures.images import Map

SUFFIXES = frozenset({".npz", ".npy", ".png", ".tif", ".tiff"})
MAP_KEYS = ("map", "pred", "prediction", "prob", "probability", "heatmap", "output", "arr_0")
"""Names of the map in an .npz file with several arrays; the first that exists is used."""
SCORE_KEY = "score"
"""Name of the image score in an .npz file."""
ENDINGS = ("_pred", "_prediction", "_prob", "_map", "_mask", "_heatmap", "_output", "_result", ".map", ".pred")
"""Endings that programs append to a picture's name."""
SURVEYED = 32
"""Maps read before any is scored, to distinguish folders of 0 and 1 from folders of 0 to 255."""
INVERTED_BELOW = 0.4
"""A mean pixel AUC below this means that a method marks authentic pixels (our choice)."""
ROUNDING = 1e-5
"""Largest amount by which a float map may exceed 0..1; it is then clipped."""


@dataclass
class MapFolder:
    """A folder of saved maps.

    Attributes:
        name: the method's name in tables.
        folder: the folder.
        invert: whether high values mean authentic.
        resize: whether maps of another size than their picture are resized bilinearly; otherwise they are failures.
        files: (set, sample name) → map file; filled by `match`.
        unused: number of map files that belong to no picture.
        binary: whether integers in this folder are 0 and 1.
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
        without the picture's suffix (`casia/tampered/a.jpg.npz`, `tampered/a.png`). Maps directly in the folder, or in
        one named after the set, are matched by their stem alone. Stems deeper down are not, as they may be of another
        set. If no map matches, one of `ENDINGS` may follow the picture's name (`a_pred.png`).

        Raises `DataError` when the folder does not exist, no map matches, two maps match a picture or a map matches
        two.
        """
        if not self.folder.is_dir():
            raise DataError(f"maps folder {self.folder} does not exist", "give --maps a folder of map files")
        found = walk_images(self.folder, wanted=lambda path: path.suffix.lower() in SUFFIXES)
        indexes = _index(self.folder, found), _index(self.folder, found, ENDINGS)
        self.files = {}
        owners: dict[Path, str] = {}
        for one in sets:
            for sample in one.samples:
                fitting = next(filter(None, (_fitting(one.name, sample.name, index) for index in indexes)), [])
                if len(fitting) > 1:
                    names = " and ".join(file.relative_to(self.folder).as_posix() for file in fitting[:2])
                    raise DataError(
                        f"two maps in {self.folder} fit {one.name}/{sample.name}: {names}",
                        "keep one, or arrange the maps in folders like the pictures",
                    )
                if not fitting:
                    continue
                file = fitting[0]
                if file in owners:
                    raise DataError(
                        f"map {file} fits {owners[file]} and {one.name}/{sample.name}",
                        "arrange the maps in folders like the pictures, with the set's name in front",
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

    def _survey(self) -> None:
        """Sample maps over the folder: integers that never exceed 1 mean 0 and 1, not almost black.

        Empty maps do not decide this: if all sampled maps are empty, the others are read up to the first that is not.
        """
        paths = list(self.files.values())
        spread = paths[:: max(1, len(paths) // SURVEYED)]
        highest = 0
        for number, path in enumerate(dict.fromkeys([*spread, *paths])):
            if number >= len(spread) and highest:
                break
            try:
                values = read_raw(path).values
            except DataError:  # reported when the map is scored
                continue
            if values.dtype.kind != "u":
                return
            highest = max(highest, int(values.max()))
        self.binary = highest == 1

    def hash_files(self) -> Iterator[Path]:
        """Hash every map that belongs to a picture; yields each file when it is hashed."""
        total = hashlib.sha256(f"{self.invert} {self.resize}\n".encode())
        for (set_name, name), path in self.files.items():
            try:
                digest = sha256_file(path)
            except OSError as error:
                raise DataError(f"map {path} cannot be read: {error.strerror}", "check the file") from error
            total.update(f"{set_name}\t{name}\t{digest}\n".encode())
            yield path
        self.digest = total.hexdigest()

    def read(self, set_name: str, sample: Sample, size: tuple[int, int]) -> tuple[Map, float | None]:
        """The map of a sample, float32 [H,W] in [0,1], and the method's own image score, or None.

        Args:
            size: (width, height) of its picture.

        Raises `DataError` when the map is missing, cannot be read or has another size.
        """
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


def _index(root: Path, files: Sequence[Path], endings: Sequence[str] = ("",)) -> dict[str, list[Path]]:
    """Map files by every path that may refer to their picture, after removing one of `endings`."""
    by_path: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        base = file.relative_to(root).with_suffix("").as_posix()
        ending = next((one for one in endings if base.endswith(one) and base != one), None)
        if ending is not None:
            path = PurePosixPath(base.removesuffix(ending))
            for key in dict.fromkeys((path, _bare(path))):
                by_path[key.as_posix()].append(file)
    return by_path


def _fitting(set_name: str, name: str, by_path: dict[str, list[Path]]) -> list[Path]:
    """The map files for a picture by the most exact of its names that matches any file."""
    path = PurePosixPath(name)
    flat = PurePosixPath(path.name)
    for exact in (set_name / path, path, set_name / flat, flat):
        for key in (exact, _bare(exact)):
            if key.as_posix() in by_path:
                return by_path[key.as_posix()]
    return []


def _bare(path: PurePosixPath) -> PurePosixPath:
    """A path without a picture's suffix."""
    return path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path


def looks_inverted(rows: Sequence[ImageRow]) -> float | None:
    """The mean pixel AUC of tampered pictures if it is so low that low values probably mean tampered, else None."""
    aucs = [row.pixel_auc for row in rows if row.ok and row.tampered and not np.isnan(row.pixel_auc)]
    mean = float(np.mean(aucs)) if aucs else 1.0
    return mean if mean < INVERTED_BELOW else None


@dataclass(frozen=True)
class RawMap:
    """The contents of a map file.

    Attributes:
        values: [H,W], bool, uint8, uint16 or float.
        score: the method's own image score, None if the file has none.
    """

    values: NDArray[Any]
    score: float | None = None


def read_raw(path: Path) -> RawMap:
    """Read an .npz, .npy, PNG (8 or 16 bit) or TIFF (also float) file.

    From an .npz, the array with the first existing name of `MAP_KEYS`, or its only array, is read, and `score`. Axes of
    length 1 are dropped. Of two channels that add up to 1 everywhere (a softmax of authentic and tampered), the second
    is taken.

    Raises `DataError` naming the file when it is damaged or contains no single-channel map.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = _read(path)
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile and Pillow raise many types for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"map {path} cannot be read: {reason}") from error
    values = raw.values
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # TIFFs may have another byte order
    values = _one_channel(values)
    if values.ndim != 2 or not values.size:
        raise DataError(f"map {path} has the shape {raw.values.shape}, not height×width")
    if values.dtype.kind in "iu" and values.dtype not in (np.uint8, np.uint16):
        # such a type does not define what its highest integer means, and a single map cannot show it
        if not np.isin(values, (0, int(values.max()))).all() or values.max() not in (0, 1, 255):
            raise DataError(
                f"map {path} holds {values.dtype} from {values.min()} to {values.max()}: save it as uint8 (0 to 255), "
                "uint16 (0 to 65535) or float (0 to 1)"
            )
        values = values > 0
    elif values.dtype.kind not in "iufb":
        raise DataError(f"map {path} holds {values.dtype}, not numbers")
    return RawMap(values, raw.score)


def _one_channel(values: NDArray[Any]) -> NDArray[Any]:
    """Remove batch and channel axes of an array if they are unambiguous; a map is then [H,W]."""
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim == 3 and values.dtype.kind == "f":
        for axis in (0, 2):
            if values.shape[axis] == 2 and np.allclose(values.sum(axis=axis, dtype=np.float64), 1.0, atol=1e-3):
                return values[1] if axis == 0 else values[..., 1]
    return values


def _read(path: Path) -> RawMap:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return RawMap(np.load(path, allow_pickle=False))
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            arrays = [name for name in names if name != SCORE_KEY]
            key = next((name for name in MAP_KEYS if name in names), arrays[0] if len(arrays) == 1 else None)
            if key is None:
                raise DataError(f"map {path} holds {', '.join(names) or 'nothing'}: name the map `{MAP_KEYS[0]}`")
            return RawMap(archive[key], _score(path, archive[SCORE_KEY]) if SCORE_KEY in names else None)
    with Image.open(path) as picture:
        return RawMap(_single_channel(path, picture))


def _score(path: Path, value: NDArray[Any]) -> float:
    score = float(np.asarray(value, np.float64).reshape(-1)[0]) if value.size == 1 else float("nan")
    if not 0.0 <= score <= 1.0:
        raise DataError(f"map {path} holds the image score {value.tolist()}, it must be one number in 0..1")
    return score


def _single_channel(path: Path, picture: Image.Image) -> NDArray[Any]:
    if picture.mode in ("L", "1", "F") or picture.mode.startswith("I"):
        array = np.asarray(picture)
        # some Pillow versions return 16-bit PNGs as 32-bit integers
        return array.astype(np.uint16) if picture.format == "PNG" and array.dtype == np.int32 else array
    colours = np.asarray(picture.convert("RGB"))
    if (colours != colours[..., :1]).any():
        if picture.mode == "P" and len({0, *np.unique(np.asarray(picture)).tolist()}) <= 2:
            return np.asarray(picture) > 0  # a map of classes: index 0 is authentic, the other one tampered
        raise DataError(
            f"map {path} is a colour picture, not a map of one channel: save the values before they are coloured"
        )
    return colours[..., 0]


def as_map(path: Path, raw: NDArray[Any], binary: bool = False) -> Map:
    """Scale the result of `read_raw` to float32 in [0,1]: 8 bit by 255, 16 bit by 65535, floats unchanged.

    Args:
        binary: whether integers are 0 and 1, not 0 and 255.

    Raises `DataError` naming the file for NaN and for values outside the range.
    """
    if raw.dtype == np.bool_:
        return raw.astype(np.float32)
    if raw.dtype.kind == "u":
        if binary:
            if raw.max() > 1:
                raise DataError(f"map {path} holds values up to {raw.max()}, the others of its folder only 0 and 1")
            return raw.astype(np.float32)
        return np.asarray(raw.astype(np.float32) / np.float32(np.iinfo(raw.dtype).max))
    values = raw.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if np.isnan(low) or np.isnan(high):
        raise DataError(f"map {path} holds NaN")
    if low < -ROUNDING or high > 1 + ROUNDING:
        remedy = "divide by 255" if low >= 0 and high <= 255 else "apply a sigmoid"
        raise DataError(f"map {path} holds values from {low:g} to {high:g}, not 0..1: {remedy} before saving")
    return np.clip(values, 0.0, 1.0)
