"""Training data: sample `index` is a pure function of (seed, index), whatever process makes it.

That alone makes resuming exact and lets any number of workers and processes share the work.
"""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imltool.data.folder import pair_by_stem
from imltool.data.layouts.coarse import boxes_root
from imltool.data.manifest import MaskRule, read_manifest, read_truth
from imltool.data.samples import LabelledSample, manifest_samples
from imltool.data.splits import read_list
from imltool.errors import DataError, ImageError, ImlError
from imltool.evaluation.degradations import degrade
from imltool.files import walk_images
from imltool.inference.localizer import resize_input
from imltool.pictures.images import RGB, Mask, read_mask, read_rgb
from imltool.pictures.pixels import jpeg, resize_mask
from imltool.student.settings import StudentSettings
from imltool.synth.blending import jitter_colour
from imltool.synth.forge import Forge, sample_rng
from imltool.synth.sources import SourcePool, working_side
from imltool.traces.stack import picture_traces
from imltool.training.prepared import CACHE_BYTES, ArrayCache, Prepared, view
from imltool.training.settings import AugmentSettings, DataSettings, SourceSettings, change_of

ATTEMPTS = 5
KEPT_SIDE = 512
"""Samples are kept with at most this long side, pixels; their traces were taken before that."""
KEPT_SEED = 20511
SIDE_SEED = 20512
SAMPLES_VERSION = 1
"""Counts changes of how samples are read, forged and altered; kept samples of another version are not used."""


@dataclass(frozen=True)
class Labelled:
    """A picture and its label: a mask file, or None for an authentic picture.

    `rule` says how a manifest's mask is read; None for bright is tampered.
    """

    image: Path
    mask: Path | None
    rule: MaskRule | None = None


def select(paths: list[Path], root: Path, wanted: Path | None) -> list[Path]:
    """The pictures of `paths` that a list file names, in the list's order; all of them without a list.

    Args:
        root: folder of the pictures. The list's names start with that folder's own name (`tampered/a.jpg`), as
            `imltool data split` writes them; lines of other folders are skipped.

    Raises `DataError` naming the first that is missing.
    """
    if wanted is None:
        return paths
    known = {f"{root.name}/{path.relative_to(root).as_posix()}": path for path in paths}
    names = [name for name in read_list(wanted) if name.startswith(f"{root.name}/")]
    missing = [name for name in names if name not in known]
    if missing or not names:
        what = f"{missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}" if missing else "nothing"
        raise DataError(f"list {wanted} names {what} in {root}", "check the data folder and the list")
    return [known[name] for name in names]


def _folder(data: DataSettings, path: Path) -> Path:
    folder = data.root / path
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist", "set data.root to where the data lies")
    return folder


def _list(data: DataSettings, path: Path | None) -> Path | None:
    return None if path is None else data.lists / path


def read_labelled(data: DataSettings, source: SourceSettings) -> list[Labelled]:
    """Pictures and masks of a `pseudo`, `masks` or `authentic` source. Raises `DataError`."""
    if source.manifest is not None:
        return _from_manifest(data, source)
    assert source.images is not None
    images = _folder(data, source.images)
    chosen = select(walk_images(images), images, _list(data, source.list))
    if source.kind == "authentic":
        labelled = [Labelled(image, None) for image in chosen]
    elif source.kind == "masks":
        assert source.masks is not None
        truths = dict(pair_by_stem(images, _folder(data, source.masks)))
        labelled = [Labelled(image, truths[image]) for image in chosen]
    else:
        labelled = _with_pseudo_masks(data, source, images, chosen)
    return _filled(source, labelled)


def _filled(source: SourceSettings, labelled: list[Labelled]) -> list[Labelled]:
    if not labelled:
        raise DataError(f"source {source.name} ({source.kind}) holds no picture")
    return labelled


def _from_manifest(data: DataSettings, source: SourceSettings) -> list[Labelled]:
    """The forgeries of a manifest, or for an `authentic` source its authentic pictures.

    A list's names are those `imltool eval` has for the pictures; names of the other kind are skipped. Names in
    pseudo-masks start from the folder that holds all forgeries, as those of `imltool data boxes` do.
    """
    assert source.manifest is not None
    file = data.root / source.manifest
    manifest = read_manifest(file)
    samples = {sample.name: sample for sample in manifest_samples(manifest)}
    wanted = _list(data, source.list)
    names = list(samples) if wanted is None else read_list(wanted)
    if unknown := [name for name in names if name not in samples]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DataError(f"list {wanted} names {unknown[0]}{more}, not in {file}", "check the manifest and the list")
    chosen = [samples[name] for name in names if samples[name].tampered is (source.kind != "authentic")]
    masks = [one.mask for one in chosen if one.mask is not None and source.kind == "masks"]
    lost = [path for path in (*(one.image for one in chosen), *masks) if not path.is_file()]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise DataError(f"{file} lists files that do not exist: {lost[0]}{more}", "make the manifest anew")
    if source.kind == "pseudo" and chosen:
        images = [Path(os.path.abspath(one.image)) for one in chosen]
        return _filled(source, _with_pseudo_masks(data, source, boxes_root(manifest), images))
    rules = [one.rule if isinstance(one, LabelledSample) else None for one in chosen]
    return _filled(source, [Labelled(one.image, one.mask, rule) for one, rule in zip(chosen, rules, strict=True)])


def _with_pseudo_masks(data: DataSettings, source: SourceSettings, images: Path, chosen: list[Path]) -> list[Labelled]:
    from imltool.teacher.pseudo import read_pseudo

    assert source.pseudo is not None
    out = _folder(data, source.pseudo)
    masks = {row["image"]: out / row["mask"] for row in read_pseudo(out)}
    found = [Labelled(path, masks.get(path.relative_to(images).as_posix())) for path in chosen]
    labelled = [item for item in found if item.mask is not None]
    if source.list is not None and len(labelled) < len(found):
        lost = next(item.image for item in found if item.mask is None)
        raise DataError(f"{out} has no pseudo-mask for {lost.name}", "run imltool pseudo over the whole folder first")
    return labelled


def build_pool(data: DataSettings, source: SourceSettings) -> SourcePool:
    """The pool of a `synth` source. Raises `DataError`."""
    objects = [(_folder(data, images), _folder(data, masks)) for images, masks in source.objects]
    photos = []
    for folder in (_folder(data, path) for path in source.photos):
        photos += select(walk_images(folder), folder, _list(data, source.photo_list))
    pairs = [pair for images, masks in objects for pair in pair_by_stem(images, masks)]
    return SourcePool(photos, pairs, working_side(source.synth))


class LabelledPictures:
    """Decoded pictures with their masks, kept in memory after the first use up to `CACHE_BYTES`.

    Args:
        change: what is done to every picture, as `SourceSettings.change` says it.
    """

    def __init__(self, items: list[Labelled], change: str | None = None) -> None:
        self.items, self.change = items, change
        self._cache: dict[int, tuple[RGB, Mask]] = {}
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": {}, "_used": 0}  # a worker process decodes for itself

    def get(self, index: int) -> tuple[RGB, Mask]:
        """Picture uint8 RGB [H,W,3] and mask bool [H,W].

        Raises `ImageError`, or `DataError` for a mask of another size or one that marks nothing.
        """
        if index in self._cache:
            return self._cache[index]
        item = self.items[index]
        rgb = read_rgb(item.image)
        mask = np.zeros(rgb.shape[:2], dtype=bool)
        if item.mask is not None:
            size = rgb.shape[1], rgb.shape[0]
            mask = read_mask(item.mask, size) if item.rule is None else read_truth(item.mask, item.rule, size)
            if not mask.any():
                raise DataError(f"mask {item.mask} marks nothing", "pictures without an edit belong in authentic")
        if self.change is not None:
            name, level = change_of(self.change)
            rgb, mask = degrade(name, level, rgb, mask, item.image.name, KEPT_SEED)
        if self._used < CACHE_BYTES:
            self._cache[index] = (rgb, mask)
            self._used += rgb.nbytes + mask.nbytes
        return rgb, mask


def alter(rng: np.random.Generator, rgb: RGB, settings: AugmentSettings) -> RGB:
    """Random colour change and JPEG save of a whole picture."""
    if rng.random() < settings.colour:
        rgb = jitter_colour(rgb, float(rng.uniform(0.8, 1.2)), float(rng.uniform(-20, 20)))
    if rng.random() < settings.jpeg:
        low, high = settings.jpeg_quality
        rgb = jpeg(rgb, int(rng.integers(low, high + 1)), int(rng.choice([0, 2])))
    return rgb


class Source:
    """One source of the mix: draws prepared samples, kept when there is a limited number of them."""

    def __init__(
        self, data: DataSettings, source: SourceSettings, augmentation: AugmentSettings, student: StudentSettings
    ) -> None:
        self.settings, self.augmentation, self.traces = source, augmentation, bool(student.traces)
        # a crop of a kept sample must not have to be enlarged more than the picture itself
        self.kept_side = max(
            KEPT_SIDE, math.ceil(max(augmentation.sides, default=student.input_size) / augmentation.min_crop)
        )
        self.pictures: Forge | LabelledPictures = (
            Forge(source.synth, build_pool(data, source))
            if source.kind == "synth"
            else LabelledPictures(read_labelled(data, source))
        )
        unseen = {"weight", "pool", "variants"} | (set() if source.kind == "synth" else {"synth"})
        listed = [] if source.manifest is None else [data.root / source.manifest]  # it says how masks are read
        self.cache = ArrayCache(
            data.cache,
            {
                "source": source.model_dump(mode="json", exclude=unseen),
                "augment": augmentation.model_dump(mode="json", include={"colour", "jpeg", "jpeg_quality"}),
                "files": [file_identity(path) for path in (*self.files(), *self._masks(), *listed)],
                "seen": self.traces,
                "side": self.kept_side,
                "version": SAMPLES_VERSION,
            },
        )

    def files(self) -> list[Path]:
        """Every picture file the source may use."""
        if isinstance(self.pictures, Forge):
            return self.pictures.pool.files()
        return [item.image for item in self.pictures.items]

    def _masks(self) -> list[Path]:
        if isinstance(self.pictures, Forge):
            return [mask for _, mask in self.pictures.pool.objects]
        return [item.mask for item in self.pictures.items if item.mask is not None]

    def draw(self, rng: np.random.Generator) -> Prepared:
        """A random sample. Raises `ImageError`, or `DataError` when a mask does not fit or no edit finds a place."""
        if isinstance(self.pictures, Forge):
            forge, pool = self.pictures, self.settings.pool
            if pool is None:
                return self._forged(forge, rng)
            number = int(rng.integers(pool))
            return Prepared(**self.cache.get(f"{number}", lambda: self._forged(forge, _kept_rng(number)).arrays()))
        pictures = self.pictures
        number, variants = int(rng.integers(len(pictures.items))), self.settings.variants
        if not variants:
            return self._altered(pictures, number, rng)
        variant = int(rng.integers(variants))
        # the first is the picture as it is, traces unharmed
        changes = _kept_rng(number, variant) if variant else None
        key = f"{number}-{variant}"
        return Prepared(**self.cache.get(key, lambda: self._altered(pictures, number, changes).arrays()))

    def _altered(self, pictures: LabelledPictures, number: int, rng: np.random.Generator | None) -> Prepared:
        rgb, mask = pictures.get(number)
        return self._prepared(alter(rng, rgb, self.augmentation) if rng is not None else rgb, mask)

    def _forged(self, forge: Forge, rng: np.random.Generator) -> Prepared:
        forgery = forge.make(rng)
        return self._prepared(forgery.image, forgery.mask)

    def _prepared(self, rgb: RGB, mask: Mask) -> Prepared:
        traces = picture_traces(rgb) if self.traces else None
        longest = max(mask.shape)
        if longest > self.kept_side:
            factor = self.kept_side / longest
            size = max(32, round(mask.shape[1] * factor)), max(32, round(mask.shape[0] * factor))
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            # a small edit of a large picture must not vanish: it would be taught as authentic
            smaller = resize_mask(mask, size)
            shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            mask = smaller if smaller.any() else np.asarray(shares > 0)
        return Prepared(rgb, mask, traces)


def file_identity(path: Path) -> tuple[str, int, int]:
    """What tells a file from another or a later one without reading it: path, bytes, nanoseconds of its change."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def _kept_rng(*number: int) -> np.random.Generator:
    """Kept samples do not depend on the run's seed, so that runs of several seeds share them."""
    return np.random.default_rng([KEPT_SEED, *number])


class TrainingData(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The weighted mix of all sources, as an endless numbered sequence.

    The side S of the input is drawn for each batch of `batch_size` items.

    Item `index`: picture uint8 [S,S,3] RGB; traces float16 [len(TRACES),GRID,GRID] (empty [0] when the student sees
    RGB alone); target uint8 [S,S], 255 = tampered (grey where a pixel is partly so).
    """

    def __init__(
        self,
        data: DataSettings,
        augmentation: AugmentSettings,
        student: StudentSettings,
        seed: int,
        length: int,
        batch_size: int = 1,
    ) -> None:
        active = [source for source in data.train if source.weight > 0]
        if not active:
            raise DataError("no training source", "list at least one under data.train in the configuration")
        self.names = [source.name for source in active]
        self.augmentation, self.seed, self.length, self.batch_size = augmentation, seed, length, batch_size
        sides = augmentation.sides or {student.input_size: 1.0}
        self._sides = list(sides)
        self._side_chances = np.array(list(sides.values())) / sum(sides.values())
        weights = np.array([source.weight for source in active])
        self._chances = weights / weights.sum()
        self._sources = [Source(data, source, augmentation, student) for source in active]

    def files(self) -> dict[str, list[Path]]:
        """Every picture file the training may use, by the source's name."""
        files: dict[str, list[Path]] = {}
        for name, source in zip(self.names, self._sources, strict=True):
            files.setdefault(name, []).extend(source.files())
        return files

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> Prepared:
        """Sample `index` before it is brought to the network's size.

        A picture that cannot be read, or an edit that finds no place, is drawn again a few times, so that one bad file
        does not end a long run. Raises the last `ImageError` or `DataError`.
        """
        for attempt in range(ATTEMPTS - 1):
            try:
                return self._draw(self._rng(index, attempt))
            except (ImageError, DataError):
                continue
        return self._draw(self._rng(index, ATTEMPTS - 1))

    def _rng(self, index: int, attempt: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, index, attempt]) if attempt else sample_rng(self.seed, index)

    def _draw(self, rng: np.random.Generator) -> Prepared:
        source = self._sources[int(rng.choice(len(self._sources), p=self._chances))]
        settings = self.augmentation
        return view(rng, source.draw(rng), settings.flip, settings.crop, settings.min_crop)

    def side(self, index: int) -> int:
        """Side of the input that sample `index` is brought to, the same for all of its batch."""
        if len(self._sides) == 1:
            return self._sides[0]
        rng = np.random.default_rng([self.seed, index // self.batch_size, SIDE_SEED])
        return int(rng.choice(self._sides, p=self._side_chances))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        sample, side = self.sample(index), self.side(index)
        target = sample.mask.astype(np.uint8) * 255
        resized = cv2.resize(target, (side, side), interpolation=cv2.INTER_AREA)
        traces = sample.traces if sample.traces is not None else np.zeros(0, np.float16)
        pixels = torch.from_numpy(resize_input(sample.rgb, side))
        return pixels, torch.from_numpy(traces), torch.from_numpy(np.asarray(resized))


def seed_worker(_: int) -> None:
    """One OpenCV thread a worker: the cores belong to the network. Ctrl-C is the main process's to handle."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def plain_fault(error: ImlError) -> ImlError:
    """A worker's error with its own message again; torch puts the worker's whole traceback into it."""
    if "Traceback" not in error.message:
        return error
    last = error.message.strip().splitlines()[-1]
    return DataError(last.partition(": ")[2] or last, "mend or remove the file; --resume goes on from the last state")
