"""Parts shared by all kinds of edits: the host, the finished edit, the choice of a region, and the paste."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imltool.pictures.images import RGB, Mask
from imltool.synth.blending import alpha_paste, jitter_colour, match_light, poisson_paste
from imltool.synth.edges import border
from imltool.synth.history import log_uniform
from imltool.synth.records import NOTHING, Paste, Record
from imltool.synth.regions import Piece, blob, window
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

LARGEST_BLOB = 0.2
"""Largest share of the picture that a random shape covers; objects may cover more."""


@dataclass
class Host:
    """The picture to edit: uint8 RGB, the bool mask of its object (None if unknown), and its file."""

    rgb: RGB
    own_object: Mask | None
    path: Path


@dataclass
class Edit:
    """A finished edit before the final history: picture, exact bool mask, record of the parameters.

    For kinds other than `authentic` an empty mask means that no place was found, and the caller tries again.
    """

    rgb: RGB
    mask: Mask
    record: Record = NOTHING


Kind = Callable[[np.random.Generator, Host, SourcePool, SynthSettings], Edit]


@dataclass(frozen=True)
class Geometry:
    """Transform of a piece before it is pasted: scale, rotation in degrees counter-clockwise, flip."""

    scale: float = 1.0
    degrees: float = 0.0
    flip: bool = False

    @property
    def plain(self) -> bool:
        return self == Geometry()

    def record(self) -> Record:
        return Record(scale=self.scale, degrees=self.degrees, flip=self.flip)


def nothing(rgb: RGB, record: Record = NOTHING) -> Edit:
    """A picture in which nothing is edited yet, or the result of an edit that found no place."""
    return Edit(rgb, np.zeros(rgb.shape[:2], dtype=bool), record)


def draw_geometry(rng: np.random.Generator, settings: SynthSettings) -> Geometry:
    """Draw a plain paste, or a scale, a rotation and a flip, by the settings' probabilities."""
    if rng.random() < settings.plain:
        return Geometry()
    degrees = 0.0
    if rng.random() < settings.rotate:
        full = rng.random() < settings.rotate_any
        degrees = float(rng.uniform(-180.0, 180.0) if full else rng.uniform(*settings.rotate_degrees))
    return Geometry(log_uniform(rng, *settings.scale), degrees, bool(rng.random() < settings.flip))


def some_region(rng: np.random.Generator, host: Host, settings: SynthSettings, growth: float = 1.0) -> tuple[Mask, str]:
    """Choose the host's object if it has one of a suitable size, with the settings' probability, else a blob.

    `growth` is the factor by which the edit enlarges the region's area: the area limits apply to the result.
    """
    height, width = host.rgb.shape[:2]
    low, high = settings.area[0] / growth, settings.area[1] / growth
    own = host.own_object
    if own is not None and low <= own.mean() <= high and rng.random() < settings.own_object:
        return own, "object"
    # areas are log-uniform, because real edits are mostly small
    low = max(low, 1e-4) * 1.5
    return blob(rng, height, width, log_uniform(rng, low, max(low, min(high, LARGEST_BLOB / growth)))), "blob"


def recolour(rng: np.random.Generator, piece: Piece, settings: SynthSettings) -> Piece:
    """Change brightness and contrast of a piece, with the settings' probability."""
    if rng.random() >= settings.colour_jitter:
        return piece
    gain = float(rng.uniform(*settings.jitter_gain))
    offset = float(rng.uniform(*settings.jitter_offset) * rng.choice([-1, 1]))
    return Piece(jitter_colour(piece.rgb, gain, offset), piece.shape, replace(piece.record, gain=gain, offset=offset))


def relight(rng: np.random.Generator, piece: Piece, host: RGB, x: int, y: int, settings: SynthSettings) -> Piece:
    """Apply the host's brightness gradient at the place of the paste to the piece, with the settings' probability."""
    if rng.random() >= settings.light:
        return piece
    strength = float(rng.uniform(*settings.light_strength))
    overlap = window(piece.shape.shape, x, y, *host.shape[:2])
    if overlap is None:
        return piece
    lit = match_light(piece.rgb, host[overlap[0], overlap[1]], strength)
    return Piece(lit, piece.shape, replace(piece.record, light=strength))


def paste(rng: np.random.Generator, edit: Edit, piece: Piece, x: int, y: int, settings: SynthSettings) -> Edit:
    """Paste a piece at (x, y) of the picture edited so far, with a border and blending drawn by the settings."""
    done = Paste((x, y), "poisson")
    pasted = poisson_paste(edit.rgb, piece, x, y) if rng.random() < settings.poisson else None
    if pasted is None:
        rgb, weight, how = border(rng, piece, settings)
        pasted, done = alpha_paste(edit.rgb, rgb, weight, x, y), replace(how, at=(x, y), blending="alpha")
    record = replace(edit.record | piece.record, pasted=(*edit.record.pasted, done))
    return Edit(pasted[0], edit.mask | pasted[1], record)
