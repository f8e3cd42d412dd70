"""Fill larger holes with patches of the surroundings, like object removal, or re-rendered content, like networks."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from imltool.pictures.images import RGB, Mask
from imltool.pictures.pixels import bounds
from imltool.synth.edit import Edit, Host, nothing, some_region
from imltool.synth.history import add_noise, log_uniform
from imltool.synth.records import Record
from imltool.synth.regions import around, blob
from imltool.synth.removal import grow
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

CANDIDATES = 4
"""Number of best places from which the source of a patch is drawn, so that two fills of a hole differ."""


def fill_by_patches(rng: np.random.Generator, rgb: RGB, hole: Mask, patch: int, reach: int) -> RGB | None:
    """Fill a hole from its edge inwards with patches of the surroundings (our simplified exemplar-based filling).

    Each step completes the patch with most known pixels from one of the places that match them best (masked squared
    difference), and writes only unknown pixels.

    Args:
        rgb: uint8 [H,W,3]; hole: bool [H,W].
        patch: side of a patch, pixels, odd.
        reach: greatest distance of source patches from the hole, pixels.

    Returns the picture, or None if the surroundings contain no complete patch.
    """
    rows, columns = around(bounds(hole), reach, *hole.shape)
    part = np.ascontiguousarray(rgb[rows, columns]).astype(np.float32)
    unknown = hole[rows, columns].copy()
    height, width = unknown.shape
    half = patch // 2
    if height <= 2 * patch or width <= 2 * patch:
        return None
    # places with a completely known patch
    covered = cv2.boxFilter(hole[rows, columns].astype(np.float32), -1, (patch, patch), normalize=False)
    usable = covered[half : height - half, half : width - half] < 0.5
    if not usable.any():
        return None
    source = part.copy()
    # places are compared in grey, which takes a third of the time; the fill itself is in colour
    grey = np.ascontiguousarray(part.mean(axis=2))
    compared = np.where(unknown, np.float32(0), grey).astype(np.float32)
    while unknown.any():
        known = cv2.boxFilter((~unknown).astype(np.float32), -1, (patch, patch), borderType=cv2.BORDER_CONSTANT)
        edge = unknown & (cv2.erode(unknown.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
        if not edge.any():
            edge = unknown
        score = np.where(edge, known + 0.05 * rng.random(known.shape, dtype=np.float32), -1.0)
        row, column = divmod(int(score.argmax()), width)
        y, x = int(np.clip(row, half, height - half - 1)), int(np.clip(column, half, width - half - 1))
        target = (slice(y - half, y + half + 1), slice(x - half, x + half + 1))
        missing = unknown[target]
        weight = (~missing).astype(np.float32)
        if weight.any():
            cost = cv2.matchTemplate(compared, grey[target], cv2.TM_SQDIFF, mask=weight)
            cost = np.where(usable, cost, np.inf)
        else:
            cost = np.where(usable, rng.random(usable.shape), np.inf)
        best = np.argpartition(cost.ravel(), min(CANDIDATES, cost.size - 1))[:CANDIDATES]
        best = best[np.isfinite(cost.ravel()[best])]
        top, left = divmod(int(rng.choice(best)), cost.shape[1])
        found = source[top : top + patch, left : left + patch]
        part[target][missing] = found[missing]
        grey[target][missing] = found[missing].mean(axis=1)
        unknown[target] = False
    result: RGB = rgb.copy()
    filled = result[rows, columns]
    inside = hole[rows, columns]
    filled[inside] = np.clip(part[inside], 0, 255).astype(np.uint8)
    return result


def erased(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Remove one to four objects or places and fill the holes with patches of the surroundings."""
    rgb, mask = host.rgb, np.zeros(host.rgb.shape[:2], dtype=bool)
    fills: list[Record] = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        region, source = some_region(rng, Host(rgb, host.own_object, host.path), settings)
        hole = grow(region, 2)
        if hole.mean() > 0.12 or (hole & mask).any():
            continue
        # large holes need coarse patches, or filling takes minutes
        side = float(hole.sum()) ** 0.5
        patch = int(np.clip(side / float(rng.uniform(3, 6)), 7, 61)) | 1
        filled = fill_by_patches(rng, rgb, hole, patch, int(min(2.5 * patch + side / 3, 110)))
        if filled is None:
            continue
        rgb, mask = filled, mask | hole
        fills.append(Record(region=source, patch=patch))
    return Edit(rgb, mask, Record(fills=tuple(fills))) if mask.any() else nothing(host.rgb)


def regenerated(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Fill a hole with content that was rendered at a lower resolution and enlarged, as networks do.

    The content comes from OpenCV's inpainting, from patches, or from another photo. It is shrunk and then enlarged with
    a kernel that may leave a periodic trace; the border is hard or soft. This stands in for generative networks, which
    cannot be shipped.
    """
    height, width = host.rgb.shape[:2]
    low, high = settings.area
    if host.own_object is not None and rng.random() < settings.own_object:
        hole = grow(host.own_object, int(rng.integers(2, 12)))
    elif rng.random() < 0.3:  # a rectangle, as in many demonstrations
        hole = np.zeros((height, width), dtype=bool)
        side = log_uniform(rng, max(low, 0.01), min(high, 0.3)) ** 0.5
        tall, wide = max(8, round(height * side)), max(8, round(width * side))
        top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
        hole[top : top + tall, left : left + wide] = True
    else:
        share = log_uniform(rng, max(low, 0.01), min(high, 0.3))
        pieces = int(rng.integers(1, 5))
        hole = np.zeros((height, width), dtype=bool)
        for _ in range(pieces):
            hole |= blob(rng, height, width, share / pieces)
    if not hole.any() or hole.all():
        return nothing(host.rgb)
    rows, columns = around(bounds(hole), 24, height, width)
    part, inside = np.ascontiguousarray(host.rgb[rows, columns]), hole[rows, columns]
    factor = int(rng.choice([2, 3, 4]))
    size = (max(8, part.shape[1] // factor), max(8, part.shape[0] // factor))
    small = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    small_hole = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    how = str(rng.choice(["inpaint", "patches", "other"], p=[0.25, 0.45, 0.3]))
    content: RGB | None = None
    if how == "patches" and small_hole.any():
        side = float(small_hole.sum()) ** 0.5
        patch = int(np.clip(side / float(rng.uniform(3, 6)), 5, 41)) | 1
        content = fill_by_patches(rng, small, small_hole, patch, 80)
    elif how == "other":
        donor, _ = pool.picture(pool.pick_host(rng))
        content = np.asarray(cv2.resize(donor, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        mean, goal = donor.reshape(-1, 3).mean(axis=0), small.reshape(-1, 3).mean(axis=0)
        content = np.clip(content.astype(np.float32) + 0.7 * (goal - mean), 0, 255).astype(np.uint8)
    if content is None:
        how = "inpaint"
        content = np.asarray(cv2.inpaint(small, small_hole.astype(np.uint8), 3, cv2.INPAINT_TELEA), dtype=np.uint8)
    kernel = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST]))
    large = np.asarray(cv2.resize(content, (part.shape[1], part.shape[0]), interpolation=kernel), dtype=np.uint8)
    if kernel == cv2.INTER_NEAREST:  # like transposed convolutions: blocks, smoothed afterwards
        large = np.asarray(cv2.GaussianBlur(large, (0, 0), 0.45 * factor), dtype=np.uint8)
    record = Record(content=how, factor=factor, kernel=kernel)
    if rng.random() < 0.5:
        period, level = int(rng.choice([2, 4, 8])), float(rng.uniform(0.4, 2.5))
        wave = np.zeros(large.shape[:2], np.float32)
        wave[::period] += level
        wave[:, ::period] += level
        large = np.clip(large.astype(np.float32) + wave[..., None] - wave.mean(), 0, 255).astype(np.uint8)
        record = replace(record, period=period)
    if rng.random() < 0.5:
        large = add_noise(rng, large, float(rng.uniform(0.5, 3.0)))
    weight = inside.astype(np.float32)
    if rng.random() < 0.5:
        weight = np.maximum(cv2.GaussianBlur(weight, (0, 0), float(rng.uniform(0.6, 3.0))) * 2 - 1, 0)
    mask = np.zeros_like(hole)
    mask[rows, columns] = weight > 0
    rgb = host.rgb.copy()
    blended = part + weight[..., None] * (large.astype(np.float32) - part)
    rgb[rows, columns] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return Edit(rgb, mask, record)
