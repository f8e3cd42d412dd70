"""Retouches: blur, sharpen, recolour, add noise to, resample or warp a region, without a paste."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from imltool.pictures.images import RGB, Mask
from imltool.pictures.pixels import bounds, resize, scaled
from imltool.synth.blending import blend, jitter_colour
from imltool.synth.edges import LEAST_WEIGHT, feathered, field
from imltool.synth.edit import Edit, Host, nothing, some_region
from imltool.synth.history import add_noise, sharpen
from imltool.synth.records import NOTHING, Record
from imltool.synth.regions import around
from imltool.synth.settings import RetouchSettings, SynthSettings
from imltool.synth.sources import SourcePool

MARGIN = 16
"""Margin around the region that filters may read, pixels."""
LEAST_PART = 0.6
"""A retouch that changes a smaller share of its region than this is discarded."""

Method = Callable[[np.random.Generator, RGB, Mask, RetouchSettings], tuple[RGB, Record]]


def _blur(rng: np.random.Generator, rgb: RGB, shape: Mask, settings: RetouchSettings) -> tuple[RGB, Record]:
    sigma = float(rng.uniform(*settings.blur_sigma))
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), dtype=np.uint8), Record(sigma=sigma)


def _sharpen(rng: np.random.Generator, rgb: RGB, shape: Mask, settings: RetouchSettings) -> tuple[RGB, Record]:
    amount, sigma = float(rng.uniform(*settings.sharpen_amount)), float(rng.uniform(0.8, 2.0))
    return sharpen(rgb, amount, sigma), Record(amount=amount, sigma=sigma)


def _colour(rng: np.random.Generator, rgb: RGB, shape: Mask, settings: RetouchSettings) -> tuple[RGB, Record]:
    """Change brightness and contrast, or add a tint, or both."""
    record, what = NOTHING, int(rng.integers(3))
    if what != 0:
        gain = float(rng.uniform(*settings.contrast))
        offset = float(rng.uniform(*settings.brightness) * rng.choice([-1, 1]))
        rgb = jitter_colour(rgb, gain, offset)
        record = Record(gain=gain, offset=offset)
    if what != 1:
        far, angle = float(rng.uniform(*settings.tint)), float(rng.uniform(0.0, 2 * np.pi))
        lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
        shift = (0.0, far * float(np.cos(angle)), far * float(np.sin(angle)), 0.0)
        rgb = np.asarray(cv2.cvtColor(cv2.add(lab, np.array(shift)), cv2.COLOR_LAB2RGB), dtype=np.uint8)
        record = replace(record, tint=shift[1:3])
    return rgb, record


def _noise(rng: np.random.Generator, rgb: RGB, shape: Mask, settings: RetouchSettings) -> tuple[RGB, Record]:
    sigma = float(rng.uniform(*settings.noise_sigma))
    return add_noise(rng, rgb, sigma), Record(sigma=sigma)


def _resample(rng: np.random.Generator, rgb: RGB, shape: Mask, settings: RetouchSettings) -> tuple[RGB, Record]:
    factor = float(rng.uniform(*settings.resample_factor))
    small = resize(rgb, scaled(shape.shape, factor))
    return resize(small, (shape.shape[1], shape.shape[0]), cv2.INTER_LINEAR), Record(factor=factor)


def _warp(rng: np.random.Generator, rgb: RGB, shape: Mask, settings: RetouchSettings) -> tuple[RGB, Record]:
    """Displace pixels, by an amount that falls to zero at the region's border."""
    pixels = float(rng.uniform(*settings.warp_pixels))
    height, width = shape.shape
    wide = cv2.copyMakeBorder(shape.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(wide, cv2.DIST_L2, 3)[1:-1, 1:-1]
    # displaced at most half the distance to the border, so that the picture does not tear there
    push = np.minimum(depth * 0.5, pixels)
    angle = float(rng.uniform(0.0, 2 * np.pi))
    turn = (field(rng, height, width, 4) - 0.5) * np.pi + angle
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        rgb,
        (columns + push * np.cos(turn)).astype(np.float32),
        (rows + push * np.sin(turn)).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, dtype=np.uint8), Record(pixels=pixels)


METHODS: dict[str, Method] = {
    "blur": _blur,
    "sharpen": _sharpen,
    "colour": _colour,
    "noise": _noise,
    "resample": _resample,
    "warp": _warp,
}


def retouch(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Change a region in place. The mask marks the changed pixels, with holes of up to 7 pixels closed.

    A change below the settings' `least_change`, or one that leaves much of the region unchanged (such as a blur of
    plain sky), is discarded.
    """
    own = settings.retouch
    region, source = some_region(rng, host, settings)
    names = list(own.methods)
    chances = np.array([own.methods[name] for name in names])
    method = str(rng.choice(names, p=chances / chances.sum()))
    rows, columns = around(bounds(region), MARGIN, *region.shape)
    before, shape = np.ascontiguousarray(host.rgb[rows, columns]), np.ascontiguousarray(region[rows, columns])
    sigma = float(rng.uniform(*settings.feather))
    after, how = METHODS[method](rng, before, shape, own)
    weight = feathered(shape, sigma)
    weight[weight < LEAST_WEIGHT] = 0.0
    after = blend(before, after, weight)
    change = cv2.absdiff(after, before).max(axis=2)
    kernel = np.ones((7, 7), np.uint8)
    closed = cv2.morphologyEx((change > 0).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    closed &= weight > 0.0
    if closed.sum() < LEAST_PART * shape.sum() or change[closed].mean() < own.least_change:
        return nothing(host.rgb)
    rgb, mask = host.rgb.copy(), np.zeros_like(region)
    rgb[rows, columns], mask[rows, columns] = after, closed
    return Edit(rgb, mask, replace(how, region=source, method=method, feather=sigma))
