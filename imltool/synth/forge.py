"""The forge: one seeded random number generator in, one synthetic forgery with its exact mask out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from imltool.errors import ConfigError, DataError
from imltool.images import RGB, Mask
from imltool.synth.history import earlier_jpeg, finish
from imltool.synth.kinds import KINDS, Host
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

TRIES = 12


@dataclass(frozen=True)
class Forgery:
    """A synthetic sample.

    Attributes:
        image: uint8 RGB [H,W,3], the decoded final picture.
        mask: bool [H,W], exactly the edited pixels; empty for `authentic`.
        kind: a key of `KINDS`.
        boxes: coarse XYXY boxes as a person might draw them, one for each separate region.
        record: every parameter and the names of the source files; JSON-able.
        file: the JPEG file `image` was decoded from, None when the final picture is lossless. Writing these bytes,
            not the pixels again, keeps the one final compression that the record names.
    """

    image: RGB
    mask: Mask
    kind: str
    boxes: list[tuple[float, float, float, float]]
    record: dict[str, Any]
    file: bytes | None = None


def sample_rng(seed: int, index: int) -> np.random.Generator:
    """The generator of sample `index`: any sample can be made again alone, in any process."""
    return np.random.default_rng([seed, index])


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
        """One sample of `kind`, or of a kind drawn by the settings' weights. The same `rng` state gives the same one.

        Raises `ImageError` when a source cannot be decoded, `DataError` when no try meets the area limits.
        """
        kind = kind or str(rng.choice(self._names, p=self._chances))
        low, high = self.settings.area
        for _ in range(TRIES):
            host, crop = self._host(rng)
            record: dict[str, Any] = {"kind": kind, "host": host.path.name, "crop": crop}
            host.rgb, record["host_jpeg"] = earlier_jpeg(
                rng, host.rgb, self.settings.history, self.settings.history.host_jpeg
            )
            edit = KINDS[kind](rng, host, self.pool, self.settings)
            share = float(edit.mask.mean())
            if kind == "authentic" or low <= share <= high:
                image, mask, final, file = finish(rng, edit.rgb, edit.mask, self.settings.history)
                record |= edit.record | {"final": final, "area": round(float(mask.mean()), 6)}
                return Forgery(image, mask, kind, coarse_boxes(rng, mask, self.settings.box_sloppiness), record, file)
        raise DataError(
            f"no {kind} with a tampered share of {low:.1%}-{high:.1%} in {TRIES} tries", "widen synth's area range"
        )

    def _host(self, rng: np.random.Generator) -> tuple[Host, list[int]]:
        """A random crop of a random picture, scaled so that its long side is in the settings' range; and its XYXY."""
        path = self.pool.pick_host(rng)
        rgb, own = self.pool.picture(path)
        height, width = rgb.shape[:2]
        share = float(rng.uniform(0.6, 1.0))
        tall, wide = max(16, round(height * share)), max(16, round(width * share))
        top = int(rng.integers(0, height - min(tall, height) + 1))
        left = int(rng.integers(0, width - min(wide, width) + 1))
        rgb = rgb[top : top + tall, left : left + wide]
        crop = [left, top, left + rgb.shape[1], top + rgb.shape[0]]
        own = own[top : top + tall, left : left + wide] if own is not None else None
        target = float(rng.uniform(*self.settings.long_side))
        factor = target / max(rgb.shape[:2])
        if factor < 1.0 or factor > 1.25:
            size = max(16, round(rgb.shape[1] * factor)), max(16, round(rgb.shape[0] * factor))
            kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=kind), dtype=np.uint8)
            if own is not None:
                own = cv2.resize(own.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        return Host(np.ascontiguousarray(rgb), own if own is not None and own.any() else None, path), crop


def coarse_boxes(
    rng: np.random.Generator, mask: Mask, sloppiness: tuple[float, float]
) -> list[tuple[float, float, float, float]]:
    """XYXY boxes around the separate regions of a mask, each side moved outwards by a random share of its length.

    Regions under a fiftieth of the largest one are crumbs of blending, and get no box.
    """
    if not mask.any():
        return []
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions = sorted(stats[1:].tolist(), key=lambda region: -region[cv2.CC_STAT_AREA])
    boxes = []
    for x, y, wide, tall, area in regions:
        if area * 50 < regions[0][cv2.CC_STAT_AREA]:
            break
        left, top, right, bottom = rng.uniform(*sloppiness, 4) * (wide, tall, wide, tall)
        boxes.append(
            (
                round(max(0.0, x - left), 2),
                round(max(0.0, y - top), 2),
                round(min(float(width), x + wide + right), 2),
                round(min(float(height), y + tall + bottom), 2),
            )
        )
    return boxes
