"""Training data: sample `index` is a pure function of (seed, index), in whichever process it is made.

This makes resuming exact and lets any number of workers and processes share the work.
"""

from __future__ import annotations

import logging
import math
import signal
from pathlib import Path

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
from imltool.traces.stack import on_grid, picture_traces
from imltool.training.prepared import ArrayCache, Prepared, view
from imltool.training.provenance import joined
from imltool.training.settings import AugmentSettings, DataSettings, SourceSettings, change_of
from imltool.training.sources import build_pool, read_source

log = logging.getLogger("imltool")
ATTEMPTS = 5
OUTLIVE = 60
KEPT_SIDE = 512
"""Longest side of a cached sample, in pixels; its traces are computed before it is shrunk."""
KEPT_SEED = 20511
SIDE_SEED = 20512
SAMPLES_VERSION = 2
"""Counts changes of how samples are read, forged and altered; kept samples of another version are not used."""


class LabelledPictures:
    """Decoded pictures with their masks, kept in memory after the first use (see `ArrayCache`).

    Args:
        change: a degradation applied to every picture, written as in `SourceSettings.change`.
    """

    def __init__(self, items: list[Sample], change: str | None = None) -> None:
        self.items, self.change = items, change
        self._cache = ArrayCache(None, {})

    def get(self, index: int) -> tuple[RGB, Mask]:
        """Picture uint8 RGB [H,W,3] and mask bool [H,W].

        Raises `ImageError`, or `DataError` for an empty mask or one of another size.
        """
        kept = self._cache.get(f"{index}", lambda: Prepared(*self._read(self.items[index])).arrays())
        return kept["rgb"], kept["mask"]

    def _read(self, item: Sample) -> tuple[RGB, Mask]:
        rgb = read_rgb(item.image)
        mask = np.zeros(rgb.shape[:2], dtype=bool)
        if item.mask is not None:
            mask = read_sample_mask(item)
            if not mask.any():
                raise DataError(f"mask {item.mask} marks nothing", "pictures without an edit belong in authentic")
        if self.change is not None:
            name, level = change_of(self.change)
            rgb, mask = degrade(name, level, rgb, mask, item.image.name, KEPT_SEED)
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
    """One source of the mix: draws prepared samples, which are cached when their number is limited."""

    def __init__(
        self, data: DataSettings, source: SourceSettings, augmentation: AugmentSettings, student: StudentSettings
    ) -> None:
        self.settings, self.augmentation = source, augmentation
        self.student = student
        # a crop of a cached sample must not be enlarged more than a crop of the picture itself would be
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
            self.pictures, self.accounts = LabelledPictures(reading.samples), [reading.account]
            self.notes = reading.notes
        # a forgery depends on all pictures it could be made from; an altered picture depends on itself alone and has
        # its own key, so that it stays cached when a list grows
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
            return self.pictures.pool.hosts
        return [item.image for item in self.pictures.items]

    def masks(self) -> list[Path]:
        """Every mask file the source may use."""
        if isinstance(self.pictures, Forge):
            return [mask for _, mask in self.pictures.pool.objects]
        return [item.mask for item in self.pictures.items if item.mask is not None]

    def draw(self, rng: np.random.Generator) -> Prepared:
        """Draw a random sample. Raises `ImageError`, or `DataError` for a bad mask or if an edit finds no place."""
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
        # the first variant is the unaltered picture with intact traces
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
        # the grid that the student uses for a picture of this size
        traces = picture_traces(rgb, student.trace_grid(student.side_for(rgb.shape))) if student.traces else None
        longest = max(mask.shape)
        if longest > self.kept_side:
            factor = self.kept_side / longest
            size = max(32, round(mask.shape[1] * factor)), max(32, round(mask.shape[0] * factor))
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            # a small edit of a large picture must not vanish: the sample would be learned as authentic
            smaller = resize_mask(mask, size)
            shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            mask = smaller if smaller.any() else np.asarray(shares > 0)
        return Prepared(rgb, mask, traces)


def file_identity(path: Path) -> tuple[str, int, int]:
    """Identity of a file's version without reading it: path, size in bytes, time of the last change in nanoseconds."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def sample_identity(sample: Sample) -> str:
    """Hash of the versions of a picture and its mask and of the rule to read the mask, 24 hexadecimal digits."""
    files = [file_identity(path) for path in (sample.image, sample.mask) if path is not None]
    return sha256_text(repr((files, sample.rule)))[:24]


def _number(name: str) -> int:
    """A 32-bit number derived from a file's name, the same on every machine."""
    return int(sha256_text(name)[:8], 16)


def _kept_rng(*number: int) -> np.random.Generator:
    """Generator for cached samples: independent of the run's seed, so that runs with other seeds can share them."""
    return np.random.default_rng([KEPT_SEED, *number])


class TrainingData(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The weighted mix of all sources as a numbered sequence of `length` samples.

    The side S of the input is drawn for each batch of `batch_size` items.

    Item `index`: picture uint8 [S,S,3] RGB; traces float16 [len(TRACES),t,t], t the student's `trace_grid` (empty [0]
    when it sees RGB alone); target uint8 [S,S], 255 = tampered (values between for pixels that are partly tampered).
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

        self.augmentation, self.seed, self.length, self.batch_size = augmentation, seed, length, batch_size
        self.trace_grid = student.trace_grid
        sides = augmentation.sides or {student.input_size: 1.0}
        self._sides = list(sides)
        self._side_chances = np.array(list(sides.values())) / sum(sides.values())
        weights = np.array([source.weight for source in active])
        self._chances = weights / weights.sum()
        self._sources = [Source(data, source, augmentation, student) for source in active]

    def files(self) -> dict[str, list[Path]]:
        """Every picture file the training may use, by source name."""
        return joined([{source.settings.name: source.files()} for source in self._sources])

    def accounts(self) -> list[Account]:
        """The number of pictures that each source has, uses and leaves out."""
        return [account for source in self._sources for account in source.accounts]

    def notes(self) -> list[str]:
        """How masks were interpreted, one line each."""
        return [f"{source.settings.name}: {note}" for source in self._sources for note in source.notes]

    def masks(self) -> list[Path]:
        """Every mask file the training may use, source by source."""
        return [mask for source in self._sources for mask in source.masks()]

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int) -> Prepared:
        """Sample `index` before it is brought to the network's size.

        The sample is drawn again, up to `ATTEMPTS` draws in all, when no place for an edit is found, or with a warning
        when a picture has become unreadable since the run began: one bad file does not end a long run. Raises the last
        `ImageError` or `DataError`.
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
        """Input side that sample `index` is resized to; the same for its whole batch."""
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
    """Limit a worker to one OpenCV thread (the network needs the cores) and leave signals to the main process.

    Ctrl-C is ignored. `timeout` and SLURM send SIGTERM to all processes; a worker killed by it would end the main
    process before it has saved its state, so a worker exits only `OUTLIVE` seconds after SIGTERM.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(OUTLIVE))


def plain_fault(error: ImlError) -> ImlError:
    """Restore the original message of a worker's error, into which torch puts the worker's whole traceback."""
    if "Traceback" not in error.message:
        return error
    last = error.message.strip().splitlines()[-1]
    return DataError(last.partition(": ")[2] or last, "repair or remove the file, then --resume")
