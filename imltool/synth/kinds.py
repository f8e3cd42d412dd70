"""The kinds of edits: splice, copy-move, removal, and authentic pictures that only went through a history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imltool.images import RGB, Mask
from imltool.synth.blending import alpha_paste, jitter_colour, match_colour, poisson_paste
from imltool.synth.history import earlier_jpeg
from imltool.synth.regions import Piece, blob, bounds, cut, place, transform
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool


@dataclass
class Host:
    """The picture to edit: uint8 RGB, the bool mask of its own object (None when unknown), its file."""

    rgb: RGB
    own_object: Mask | None
    path: Path


@dataclass
class Edit:
    """A finished edit before the final history: picture, exact bool mask, record of the parameters."""

    rgb: RGB
    mask: Mask
    record: dict[str, Any] = field(default_factory=dict)


Kind = Callable[[np.random.Generator, Host, SourcePool, SynthSettings], Edit]


def _geometry(rng: np.random.Generator, settings: SynthSettings) -> tuple[float, bool]:
    degrees = float(rng.uniform(*settings.rotate_degrees)) if rng.random() < settings.rotate else 0.0
    return degrees, bool(rng.random() < settings.flip)


def _paste(
    rng: np.random.Generator, host: RGB, piece: Piece, x: int, y: int, settings: SynthSettings, record: dict[str, Any]
) -> tuple[RGB, Mask]:
    record.setdefault("at", []).append([x, y])
    if rng.random() < settings.poisson:
        blended = poisson_paste(host, piece, x, y)
        if blended is not None:
            record["blending"] = "poisson"
            return blended
    feather = float(rng.uniform(*settings.feather))
    record |= {"blending": "alpha", "feather": round(feather, 3)}
    return alpha_paste(host, piece, x, y, feather)


def _recolour(rng: np.random.Generator, piece: Piece, settings: SynthSettings, record: dict[str, Any]) -> Piece:
    if rng.random() >= settings.colour_jitter:
        return piece
    gain, offset = float(rng.uniform(0.85, 1.2)), float(rng.uniform(-20, 20))
    record |= {"gain": round(gain, 3), "offset": round(offset, 2)}
    return Piece(jitter_colour(piece.rgb, gain, offset), piece.shape)


def _some_region(rng: np.random.Generator, host: Host, settings: SynthSettings) -> tuple[Mask, str]:
    """The host's own object when it has one of a fitting size (six times in ten), else a blob."""
    height, width = host.rgb.shape[:2]
    own = host.own_object
    if own is not None and settings.area[0] <= own.mean() <= settings.area[1] and rng.random() < 0.6:
        return own, "object"
    # areas spread evenly over orders of magnitude: real edits are mostly small
    low = max(settings.area[0], 1e-4) * 1.5
    high = max(low, min(settings.area[1], 0.2))
    return blob(rng, height, width, float(np.exp(rng.uniform(np.log(low), np.log(high))))), "blob"


def splice(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """An object of another picture, with a history of its own, pasted into the host."""
    donor = pool.pick_object(rng)
    if donor is None or rng.random() < 0.15:
        donor = pool.pick_host(rng)
    rgb, shape = pool.picture(donor)
    record: dict[str, Any] = {"donor": donor.name}
    rgb, earlier = earlier_jpeg(rng, rgb, settings.history, settings.history.donor_jpeg)
    record["donor_jpeg"] = earlier
    if shape is None or not shape.any():
        shape = blob(rng, rgb.shape[0], rgb.shape[1], float(rng.uniform(0.05, 0.3)))
    piece = cut(rgb, shape)
    height, width = host.rgb.shape[:2]
    side = float(rng.uniform(*settings.object_side)) * max(height, width)
    scale = side / max(piece.shape.shape)
    degrees, flip = _geometry(rng, settings)
    piece = transform(piece, scale, degrees, flip)
    x, y = place(rng, piece, height, width)
    strength = float(rng.uniform(*settings.colour_match))
    piece = Piece(match_colour(piece.rgb, piece.shape, host.rgb, strength), piece.shape)
    piece = _recolour(rng, piece, settings, record)
    pasted, mask = _paste(rng, host.rgb, piece, x, y, settings, record)
    record |= {"scale": round(scale, 4), "degrees": round(degrees, 2), "flip": flip, "colour_match": round(strength, 3)}
    return Edit(pasted, mask, record)


def copymove(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """A region of the host pasted elsewhere in the host. The mask marks the pasted region only."""
    region, source = _some_region(rng, host, settings)
    record: dict[str, Any] = {"region": source}
    original = cut(host.rgb, region)
    height, width = host.rgb.shape[:2]
    plain = rng.random() < 0.4  # many real copy-moves neither scale nor rotate
    scale = 1.0 if plain else float(rng.uniform(*settings.scale))
    degrees, flip = (0.0, False) if plain else _geometry(rng, settings)
    piece = _recolour(rng, transform(original, scale, degrees, flip), settings, record) if not plain else original
    rgb, mask = host.rgb, np.zeros((height, width), dtype=bool)
    count = 2 if rng.random() < settings.pastes else 1
    record |= {"scale": round(scale, 4), "degrees": round(degrees, 2), "flip": flip, "pastes": count}
    for _ in range(count):
        for _ in range(8):
            x, y = place(rng, piece, height, width, overhang=0.1)
            x1, y1, _, _ = bounds(region)
            if abs(x - x1) + abs(y - y1) > 0.5 * max(piece.shape.shape):
                break
        rgb, pasted = _paste(rng, rgb, piece, x, y, settings, record)
        mask |= pasted
    return Edit(rgb, mask, record)


def removal(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """A region painted over: by OpenCV's inpainting, or by a patch of the surroundings."""
    region, source = _some_region(rng, host, settings)
    grown = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2)
    record: dict[str, Any] = {"region": source}
    share = float(region.mean())
    if share < 0.06 and rng.random() < 0.5:
        method, radius = str(rng.choice(["telea", "ns"])), float(rng.uniform(3, 6))
        flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
        x1, y1, x2, y2 = bounds(grown > 0)
        margin = 12  # inpainting looks only at the surroundings: a crop gives the same result sooner
        rows = slice(max(0, y1 - margin), y2 + margin)
        columns = slice(max(0, x1 - margin), x2 + margin)
        rgb = host.rgb.copy()
        rgb[rows, columns] = cv2.inpaint(
            np.ascontiguousarray(rgb[rows, columns]), np.ascontiguousarray(grown[rows, columns]), radius, flag
        )
        return Edit(rgb, grown > 0, record | {"method": method, "radius": round(radius, 2)})
    x1, y1, x2, y2 = bounds(grown > 0)
    height, width = grown.shape
    best: tuple[float, int, int] | None = None
    edge = cv2.dilate(grown, np.ones((5, 5), np.uint8)) - grown > 0
    small = cv2.blur(host.rgb, (5, 5)).astype(np.float32)
    ys, xs = np.nonzero(edge)
    thin = rng.permutation(len(ys))[:200]
    ys, xs = ys[thin], xs[thin]
    for _ in range(24):
        dx, dy = (int(value) for value in rng.integers(-max(x2 - x1, y2 - y1) * 2, max(x2 - x1, y2 - y1) * 2 + 1, 2))
        if x1 + dx < 0 or y1 + dy < 0 or x2 + dx > width or y2 + dy > height:
            continue
        if abs(dx) < (x2 - x1) * 0.8 and abs(dy) < (y2 - y1) * 0.8:
            continue
        inside = (xs + dx >= 0) & (xs + dx < width) & (ys + dy >= 0) & (ys + dy < height)
        if not inside.any():
            continue
        seam = np.abs(small[ys[inside], xs[inside]] - small[ys[inside] + dy, xs[inside] + dx]).mean()
        if best is None or seam < best[0]:
            best = (float(seam), dx, dy)
    if best is None:
        return Edit(host.rgb, np.zeros_like(region), record)  # no room: the caller tries again
    _, dx, dy = best
    patch = Piece(host.rgb[y1 + dy : y2 + dy, x1 + dx : x2 + dx], grown[y1:y2, x1:x2] > 0)
    rgb, mask = _paste(rng, host.rgb, patch, x1, y1, settings, record)
    return Edit(rgb, mask, record | {"method": "patch", "offset": [dx, dy]})


def authentic(rng: np.random.Generator, host: Host, pool: SourcePool, settings: SynthSettings) -> Edit:
    """Nothing is edited; the histories before and after are the same as for every other kind."""
    return Edit(host.rgb, np.zeros(host.rgb.shape[:2], dtype=bool), {})


KINDS: dict[str, Kind] = {"splice": splice, "copymove": copymove, "removal": removal, "authentic": authentic}
