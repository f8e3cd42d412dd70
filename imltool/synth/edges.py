"""Borders of a paste: an even feather, or an alpha that varies along the contour, as matting produces it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from imltool.pictures.images import RGB, Mask
from imltool.synth.blending import Weight
from imltool.synth.records import Paste
from imltool.synth.regions import Piece
from imltool.synth.settings import MattingSettings, SynthSettings

LEAST_WEIGHT = 0.04
"""Weights below this are set to 0: they would change no pixel and yet be marked as edited."""

DEFRINGE_REACH = 6
"""Distance from which defringing takes colours, pixels: more than the widest soft border of the default settings."""


def feathered(shape: Mask, sigma: float) -> Weight:
    """An even soft edge inside `shape`, with a standard deviation of `sigma` pixels."""
    weight = shape.astype(np.float32)
    if sigma <= 0.05:
        return weight
    pad = int(np.ceil(3 * sigma))
    # padded, because the shape may touch the border of its frame and ends there
    wide = cv2.copyMakeBorder(weight, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0.0)
    soft = cv2.GaussianBlur(wide, (0, 0), sigma)[pad:-pad, pad:-pad]
    return np.asarray(np.minimum(soft * 2.0 - 1.0, weight).clip(0.0, 1.0), dtype=np.float32)


def field(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float32]:
    """A smooth random field in [0,1], float32 [height,width], with about `cells` bumps across."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0.0, 1.0))


def ragged(rng: np.random.Generator, shape: Mask, settings: MattingSettings) -> Weight:
    """An alpha inside `shape` whose depth and softness vary along the contour."""
    height, width = shape.shape
    wide = cv2.copyMakeBorder(shape.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(wide, cv2.DIST_L2, 3)[1:-1, 1:-1] - 0.5
    cells = int(rng.integers(4, 16))
    (least, most), (sharp, soft) = settings.ragged_erosion, settings.ragged_width
    erosion = least + (most - least) * field(rng, height, width, cells)
    breadth = np.maximum(sharp + (soft - sharp) * field(rng, height, width, cells), 0.1)
    return np.asarray(((depth - erosion) / breadth + 0.5).clip(0.0, 1.0) * shape, dtype=np.float32)


def guided(rgb: RGB, shape: Mask, radius: int, epsilon: float) -> Weight:
    """Filter the shape guided by the piece's grey values, so that the alpha follows hair and edges.

    A guided filter with box `radius` and regularisation `epsilon` (grey values in [0,1]). The result may extend
    `radius` pixels into the donor's background, but not beyond the piece's frame.
    """
    pad, box = 2 * radius, (2 * radius + 1, 2 * radius + 1)
    seen = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    grey = cv2.copyMakeBorder(seen, pad, pad, pad, pad, cv2.BORDER_REPLICATE).astype(np.float32) / 255.0
    inside = cv2.copyMakeBorder(shape.astype(np.float32), pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0.0)
    mean, share = cv2.blur(grey, box), cv2.blur(inside, box)
    slope = (cv2.blur(grey * inside, box) - mean * share) / (cv2.blur(grey * grey, box) - mean * mean + epsilon)
    alpha = cv2.blur(slope, box) * grey + cv2.blur(share - slope * mean, box)
    reach = cv2.dilate(inside, np.ones((3, 3), np.uint8), iterations=radius)
    # steepened, so that the border is a few pixels wide instead of the whole box
    steep = ((alpha - 0.5) * 2.0 + 0.5).clip(0.0, 1.0) * reach
    return np.asarray(steep[pad:-pad, pad:-pad], dtype=np.float32)


def tint(piece: Piece, weight: Weight, strength: float) -> RGB:
    """Mix border pixels with the mean colour of the donor's background, more strongly at lower weights."""
    background = cv2.mean(np.ascontiguousarray(piece.rgb), mask=(~piece.shape).astype(np.uint8))[:3]
    mix = strength * (1.0 - weight)[..., None]
    rgb = piece.rgb.astype(np.float32)
    return np.rint(rgb + mix * (np.array(background, np.float32) - rgb)).astype(np.uint8)


def defringe(rgb: RGB, weight: Weight, reach: int) -> RGB:
    """Replace colours of border pixels by those of inner pixels with (nearly) full weight, within `reach` pixels."""
    core = (weight >= 0.95).astype(np.float32)
    box = (2 * reach + 1, 2 * reach + 1)
    near = cv2.blur(core, box, borderType=cv2.BORDER_CONSTANT)
    colours = cv2.blur(rgb.astype(np.float32) * core[..., None], box, borderType=cv2.BORDER_CONSTANT)
    taken = (core < 0.5) & (near > 1e-3)
    result: RGB = rgb.copy()
    result[taken] = np.rint(colours[taken] / near[taken][:, None]).clip(0, 255).astype(np.uint8)
    return result


def border(rng: np.random.Generator, piece: Piece, settings: SynthSettings) -> tuple[RGB, Weight, Paste]:
    """Draw a border by the settings; returns the piece's pixels and weights with it, and its record."""
    if rng.random() >= settings.matting:
        sigma = float(rng.uniform(*settings.feather))
        return piece.rgb, feathered(piece.shape, sigma), Paste(border="feather", feather=sigma)
    own = settings.borders
    if rng.random() < own.guided:
        radius = max(1, round(float(rng.uniform(*own.guided_radius))))
        epsilon = float(10.0 ** rng.uniform(-4.0, -2.0))
        weight = guided(piece.rgb, piece.shape, radius, epsilon)
        record = Paste(border="guided", radius=radius, epsilon=epsilon)
    else:
        weight = ragged(rng, piece.shape, own)
        record = Paste(border="ragged")
    weight[weight < LEAST_WEIGHT] = 0.0
    rgb, chance = piece.rgb, rng.random()
    if chance < own.contaminated and not piece.shape.all():
        strength = float(rng.uniform(*own.contamination))
        rgb = tint(piece, weight, strength)
        record = replace(record, contamination=strength)
    elif own.contaminated <= chance < own.contaminated + own.defringed:
        rgb = defringe(rgb, weight, DEFRINGE_REACH)
        record = replace(record, defringed=True)
    return rgb, weight, record
