"""Training data: sample `index` is a pure function of (seed, index), whatever process makes it.

That alone makes resuming exact and lets any number of workers and processes share the work.
"""

from __future__ import annotations

import logging
import math
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imltool.data.accounts import Account
from imltool.data.folder import Sample
from imltool.data.samples import read_sample_mask
from imltool.errors import DataError, ImageError, ImlError
from imltool.evaluation.degradations import degrade
from imltool.files import sha256_text
from imltool.inference.localizer import resize_input
from imltool.pictures.images import RGB, Mask, read_rgb
from imltool.pictures.pixels import jpeg, resize_mask
from imltool.student.settings import StudentSettings
from imltool.synth.blending import jitter_colour
from imltool.synth.forge import Forge, NoRegionError, sample_rng
from imltool.traces.stack import picture_traces
from imltool.training.prepared import CACHE_BYTES, ArrayCache, Prepared, on_grid, view
from imltool.training.settings import AugmentSettings, DataSettings, SourceSettings, change_of
from imltool.training.sources import build_pool, read_source

log = logging.getLogger("imltool")
ATTEMPTS = 5
OUTLIVE = 60
KEPT_SIDE = 512
"""Samples are kept with at most this long side, pixels; their traces were taken before that."""
KEPT_SEED = 20511
SIDE_SEED = 20512
SAMPLES_VERSION = 2
"""Counts changes of how samples are read, forged and altered; kept samples of another version are not used."""


class LabelledPictures:
    """Decoded pictures with their masks, kept in memory after the first use up to `CACHE_BYTES`.

    Args:
        change: what is done to every picture, as `SourceSettings.change` says it.
    """

    def __init__(self, items: list[Sample], change: str | None = None) -> None:
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
            mask = read_sample_mask(item)
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
        self.settings, self.augmentation = source, augmentation
        self.student = student
        # a crop of a kept sample must not have to be enlarged more than the picture itself
        self.kept_side = max(
            KEPT_SIDE, math.ceil(max(augmentation.sides, default=student.input_size) / augmentation.min_crop)
        )
        self.pictures: Forge | LabelledPictures
        self.accounts: list[Account]
        self.notes: list[str] = []
        if source.kind == "synth":
            pool = build_pool(data, source)
            self.pictures, self.accounts = Forge(source.synth, pool.pool), pool.accounts
        else:
            reading = read_source(data, source)
            self.pictures, self.accounts, self.notes = (
                LabelledPictures(reading.samples),
                [reading.account],
                reading.notes,
            )
        # a forgery depends on everything it could be made of, an altered picture on itself: each has a key of its own,
        # so that a list that grows keeps what was made before
        forged = source.kind == "synth"
        unseen = {"weight", "pool", "variants"}
        self.cache = ArrayCache(
            data.cache,
            {
                "source": source.model_dump(mode="json", exclude=unseen) if forged else None,
                "augment": augmentation.model_dump(mode="json", include={"colour", "jpeg", "jpeg_quality"}),
                "files": [file_identity(path) for path in (*self.files(), *self.masks())] if forged else [],
                "seen": bool(student.traces),
                "grid": [student.input_size, student.max_input_size],
                "side": self.kept_side,
                "version": SAMPLES_VERSION,
            },
        )

    def files(self) -> list[Path]:
        """Every picture file the source may use."""
        if isinstance(self.pictures, Forge):
            return self.pictures.pool.files()
        return [item.image for item in self.pictures.items]

    def masks(self) -> list[Path]:
        """Every mask file the source may use."""
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
        sample = pictures.items[number]
        # the first is the picture as it is, traces unharmed
        changes = _kept_rng(_number(sample.image.name), variant) if variant else None
        key = f"{sample_identity(sample)}-{variant}"
        return Prepared(**self.cache.get(key, lambda: self._altered(pictures, number, changes).arrays()))

    def _altered(self, pictures: LabelledPictures, number: int, rng: np.random.Generator | None) -> Prepared:
        rgb, mask = pictures.get(number)
        return self._prepared(alter(rng, rgb, self.augmentation) if rng is not None else rgb, mask)

    def _forged(self, forge: Forge, rng: np.random.Generator) -> Prepared:
        forgery = forge.make(rng)
        return self._prepared(forgery.image, forgery.mask)

    def _prepared(self, rgb: RGB, mask: Mask) -> Prepared:
        student = self.student
        # as fine as they are where a picture of that size is seen
        traces = picture_traces(rgb, student.trace_grid(student.side_for(rgb.shape))) if student.traces else None
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
    """What identifies a version of a file without reading it: path, bytes, nanoseconds of its change."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def sample_identity(sample: Sample) -> str:
    """What identifies a version of a picture and its mask, and how that is read: 24 hexadecimal digits."""
    files = [file_identity(path) for path in (sample.image, sample.mask) if path is not None]
    return sha256_text(repr((files, sample.rule)))[:24]


def _number(name: str) -> int:
    """A number of 32 bits for a file's name, the same on every machine."""
    return int(sha256_text(name)[:8], 16)


def _kept_rng(*number: int) -> np.random.Generator:
    """Kept samples do not depend on the run's seed, so that runs of several seeds share them."""
    return np.random.default_rng([KEPT_SEED, *number])


class TrainingData(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The weighted mix of all sources, as an endless numbered sequence.

    The side S of the input is drawn for each batch of `batch_size` items.

    Item `index`: picture uint8 [S,S,3] RGB; traces float16 [len(TRACES),t,t], t the student's `trace_grid` (empty [0]
    when it sees RGB alone); target uint8 [S,S], 255 = tampered (grey where a pixel is partly so).
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
        self.trace_grid = student.trace_grid
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

    def accounts(self) -> list[Account]:
        """How many pictures each source has, uses and leaves out."""
        return [account for source in self._sources for account in source.accounts]

    def notes(self) -> list[str]:
        """One line each on how masks were understood."""
        return [f"{source.settings.name}: {note}" for source in self._sources for note in source.notes]

    def masks(self) -> list[Path]:
        """Every mask file the training may use, source by source."""
        return [mask for source in self._sources for mask in source.masks()]

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> Prepared:
        """Sample `index` before it is brought to the network's size.

        An edit that finds no place is drawn again a few times; so is a picture that has become unreadable since the
        run began, with a warning, so that one bad file does not end a long run. Raises the last `ImageError` or
        `DataError`.
        """
        for attempt in range(ATTEMPTS - 1):
            try:
                return self._draw(self._rng(index, attempt))
            except NoRegionError:
                continue
            except (ImageError, DataError) as error:
                log.warning("sample %d is drawn again: %s", index, error.message)
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
        traces = np.zeros(0, np.float16) if sample.traces is None else on_grid(sample.traces, self.trace_grid(side))
        pixels = torch.from_numpy(resize_input(sample.rgb, side))
        return pixels, torch.from_numpy(traces), torch.from_numpy(np.asarray(resized))


def seed_worker(_: int) -> None:
    """One OpenCV thread a worker: the cores belong to the network. Ctrl-C and SIGTERM are the main process's to handle.

    `timeout` and SLURM send SIGTERM to all processes, and a worker that died of it would end the main process before it
    has saved its state. A worker that is not ended exits after `OUTLIVE` seconds.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(OUTLIVE))


def plain_fault(error: ImlError) -> ImlError:
    """A worker's error with its own message again; torch puts the worker's whole traceback into it."""
    if "Traceback" not in error.message:
        return error
    last = error.message.strip().splitlines()[-1]
    return DataError(last.partition(": ")[2] or last, "repair or remove the file, then --resume")
