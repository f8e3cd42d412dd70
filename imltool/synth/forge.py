"""The forge: makes a synthetic forgery with its exact mask from a seeded random number generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imltool.data.layouts.coarse import coarse_boxes
from imltool.errors import ConfigError, DataError
from imltool.pictures.images import RGB, Mask
from imltool.pictures.pixels import resize_mask, scaled
from imltool.synth.edit import Host
from imltool.synth.history import Before, earlier, finish
from imltool.synth.kinds import KINDS, UNTOUCHED
from imltool.synth.records import Record, named
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

TRIES = 12
TRIES_A_HOST = 4
"""Tries per host before another is drawn: a host with its history takes longer than most edits."""


@dataclass(frozen=True)
class Forgery:
    """A synthetic sample.

    Attributes:
        image: uint8 RGB [H,W,3], the decoded final picture.
        mask: bool [H,W], exactly the edited pixels; empty for `authentic`.
        kind: a key of `KINDS`.
        boxes: coarse XYXY boxes as a person might draw them, one for each separate region.
        record: every parameter and the names of the source files.
        file: the JPEG file that `image` was decoded from, None if the final picture is lossless. Write these bytes
            rather than the pixels, so that the file has only the compression given in the record.
    """

    image: RGB
    mask: Mask
    kind: str
    boxes: list[tuple[float, float, float, float]]
    record: Record
    file: bytes | None = None


def sample_rng(seed: int, index: int) -> np.random.Generator:
    """The generator of sample `index`, with which any sample can be made again by itself, in any process."""
    return np.random.default_rng([seed, index])


class NoRegionError(DataError):
    """No try of a forgery met the area limits; another draw may succeed."""


class Forge:
    """Makes synthetic forgeries from a pool of sources.

    Raises `ConfigError` when a kind is unknown or all weights are zero.
    """

    def __init__(self, settings: SynthSettings, pool: SourcePool) -> None:
        unknown = sorted(set(settings.kinds) - set(KINDS))
        if unknown:
            raise ConfigError(f"unknown kind of forgery {unknown[0]!r}", f"known kinds: {', '.join(KINDS)}")
        weights = np.array(list(settings.kinds.values()), dtype=np.float64)
        if (weights < 0).any() or weights.sum() <= 0:
            raise ConfigError("the weights of kinds must not be negative, and not all zero")
        self.settings = settings
        self.pool = pool
        self._names = list(settings.kinds)
        self._chances = weights / weights.sum()

    def make(self, rng: np.random.Generator, kind: str | None = None) -> Forgery:
        """Make a sample of `kind`, or of a kind drawn by the settings' weights. The same `rng` state gives the same
        sample.

        Raises `ImageError` when a source cannot be decoded, `NoRegionError` when no try meets the area limits.
        """
        kind = kind or str(rng.choice(self._names, p=self._chances))
        low, high = self.settings.area
        for attempt in range(TRIES):
            if attempt % TRIES_A_HOST == 0:
                host, record = self._host(rng)
            edit = KINDS[kind](rng, host, self.pool, self.settings)
            if kind not in UNTOUCHED and not low <= float(edit.mask.mean()) <= high:
                continue
            image, mask, final, file = finish(rng, edit.rgb, edit.mask, self.settings.history)
            if kind not in UNTOUCHED and not mask.any():
                continue  # the edit was a few pixels and was lost when the picture was shrunk
            record = replace(record | edit.record, kind=kind, final=final, area=float(mask.mean()))
            return Forgery(image, mask, kind, coarse_boxes(rng, mask, self.settings.box_jitter), record, file)
        raise NoRegionError(
            f"no {kind} with a tampered share of {low:.1%}-{high:.1%} in {TRIES} tries", "widen synth's area range"
        )

    def _host(self, rng: np.random.Generator) -> tuple[Host, Record]:
        """A random crop of a random picture with a history, its long side in the settings' range; and its record."""
        path = self.pool.pick_host(rng)
        rgb, own = self.pool.picture(path)
        if self.settings.native and rng.random() < self.settings.native:
            return self._native(rng, path, rgb, own)
        height, width = rgb.shape[:2]
        share = float(rng.uniform(0.6, 1.0))
        tall, wide = max(16, round(height * share)), max(16, round(width * share))
        top = int(rng.integers(0, height - min(tall, height) + 1))
        left = int(rng.integers(0, width - min(wide, width) + 1))
        rgb = np.ascontiguousarray(rgb[top : top + tall, left : left + wide])
        crop = (left, top, left + rgb.shape[1], top + rgb.shape[0])
        factor = float(rng.uniform(*self.settings.long_side)) / max(rgb.shape[:2])
        if 1.0 <= factor <= 1.25:
            factor = 1.0
        size = scaled(rgb.shape, factor)
        own = resize_mask(own[top : top + tall, left : left + wide], size) if own is not None else None
        history = self.settings.history
        before = Before(history.host_jpeg, history.host_resample, history.host_noise)
        rgb, done = earlier(rng, rgb, size, before, history)
        host = Host(rgb, own if own is not None and own.any() else None, path)
        return host, Record(host=path.name, crop=crop) | named(done, "host")

    def _native(self, rng: np.random.Generator, path: Path, rgb: RGB, own: Mask | None) -> tuple[Host, Record]:
        """A crop along the JPEG grid at the source's own resolution, with only the history it came with."""
        wanted = float(rng.uniform(*self.settings.long_side)) / max(rgb.shape[:2])
        tall, wide = (max(16, min(side, round(side * wanted))) for side in rgb.shape[:2])
        top, left = (
            8 * int(rng.integers(0, (side - kept) // 8 + 1))
            for side, kept in zip(rgb.shape[:2], (tall, wide), strict=True)
        )
        part = np.ascontiguousarray(rgb[top : top + tall, left : left + wide])
        own = own[top : top + tall, left : left + wide] if own is not None else None
        record = Record(host=path.name, crop=(left, top, left + wide, top + tall), host_native=True)
        return Host(part, own if own is not None and own.any() else None, path), record
