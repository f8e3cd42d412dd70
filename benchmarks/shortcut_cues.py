"""Shortcut cues: can the synthetic labels be predicted by a trivial cue?

A network learns the cheapest cue that predicts its labels. If mean brightness, the picture's size or the contrast
along the mask outline predict a synthetic label much better than a real one, the network learns the generator.
Cues are compared by AUC (0.5: uninformative, 0 or 1: perfect); all of them are our choice.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imltool.errors import DataError
from imltool.evaluation.metrics import image_auc
from imltool.pictures.images import RGB, Mask
from imltool.synth.regions import bounds
from imltool.synth.removal import grow, shrink

Cues = dict[str, float]

RIDGE = 1.0
"""Weight of the squared coefficients in the logistic regression, on standardised cues."""
LEAST_SIDE = 64
"""Pictures with a shorter side are too small for the cues."""


@dataclass(frozen=True)
class Judged:
    """A picture to compute cues of: uint8 RGB, bool mask (empty if authentic), the file content if it is a JPEG.

    `group` names its source: pictures of one group stay in one fold.
    """

    image: RGB
    mask: Mask
    file: bytes | None
    group: str
    kind: str = ""


def picture_cues(item: Judged) -> Cues:
    """Cues of a whole picture, which should not distinguish tampered from authentic pictures.

    Light, its spread, colour, fine detail (log mean absolute Laplacian), blockiness at the 8-pixel grid (log ratio),
    long side and shape in pixels, and coarseness of the last JPEG (log mean of its luma table, 0 for a lossless file).
    """
    grey = np.asarray(cv2.cvtColor(item.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    everywhere = np.ones(grey.shape, dtype=bool)
    saturation = item.image.max(axis=2).astype(np.int16) - item.image.min(axis=2)
    return {
        "light": float(grey.mean()),
        "spread": float(grey.std()),
        "saturation": float(saturation.mean()),
        "detail": _log_mean(_detail(grey), everywhere),
        "blockiness": _blockiness(grey, everywhere),
        "long_side": float(max(grey.shape)),
        "aspect": float(np.log(grey.shape[1] / grey.shape[0])),
        "quantisation": _coarseness(item.file),
    }


def region_cues(rgb: RGB, mask: Mask) -> Cues:
    """Cues of a region against its surroundings, to be compared between the true mask and a misplaced one.

    light, saturation, detail, spread, blockiness: inside minus outside; `step` the colour difference between the two
    sides of the outline, `outline` the log contrast on it against a few pixels away, `outline_blockiness` the
    blockiness there against elsewhere; `off_centre` the distance of the region's box from the middle (0..1), `area`
    its log share. The mask must be neither empty nor full.
    """
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    inside, outside = _or(shrink(mask, 3), mask), _or(~grow(mask, 3), ~mask)
    near = _or(grow(mask, 24) & outside, outside)
    line = grow(mask, 1) & ~shrink(mask, 1)
    line[[0, 1, -2, -1]] = line[:, [0, 1, -2, -1]] = False  # the picture border is not an outline
    line = _or(line, mask)
    sides = _or(grow(mask, 7) & ~shrink(mask, 7) & ~grow(line, 2), ~line)
    detail, contrast = _detail(grey), _contrast(grey)
    saturation = (rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)).astype(np.float32)
    within, beyond = _or(mask & ~shrink(mask, 3), mask), _or(grow(mask, 3) & ~mask, ~mask)
    step = np.abs(rgb[within].mean(axis=0) - rgb[beyond].mean(axis=0)).mean()
    x1, y1, x2, y2 = bounds(mask)
    height, width = mask.shape
    off = np.hypot((x1 + x2) / width - 1, (y1 + y2) / height - 1) / 2**0.5
    return {
        "light": float(grey[inside].mean()) - float(grey[near].mean()),
        "saturation": float(saturation[inside].mean()) - float(saturation[near].mean()),
        "spread": float(np.log((grey[inside].std() + 1.0) / (grey[near].std() + 1.0))),
        "detail": _log_mean(detail, inside) - _log_mean(detail, near),
        "blockiness": _blockiness(grey, inside) - _blockiness(grey, outside),
        "step": float(step),
        "outline": _log_mean(contrast, line) - _log_mean(contrast, sides),
        "outline_blockiness": _blockiness(grey, line) - _blockiness(grey, ~line),
        "off_centre": float(off),
        "area": float(np.log(mask.mean())),
    }


def misplaced_mask(rng: np.random.Generator, mask: Mask, others: Sequence[Mask], tries: int = 20) -> Mask | None:
    """A plausible mask in the wrong place: mirrored, shifted, or that of another picture.

    It overlaps the true mask by less than a fifth of either. None if no try succeeds.
    """
    height, width = mask.shape
    for _ in range(tries):
        way = int(rng.integers(4))
        if way == 0:
            wrong = mask[:, ::-1]
        elif way == 1:
            wrong = mask[::-1]
        elif way == 2:
            x1, y1, x2, y2 = bounds(mask)
            wrong = np.zeros_like(mask)
            top, left = int(rng.integers(height - (y2 - y1) + 1)), int(rng.integers(width - (x2 - x1) + 1))
            wrong[top : top + y2 - y1, left : left + x2 - x1] = mask[y1:y2, x1:x2]
        else:
            other = others[int(rng.integers(len(others)))].astype(np.uint8)
            wrong = cv2.resize(other, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        if wrong.any() and (wrong & mask).sum() < 0.2 * min(wrong.sum(), mask.sum()):
            return np.ascontiguousarray(wrong)
    return None


def cue_aucs(true: Sequence[Cues], false: Sequence[Cues]) -> Cues:
    """AUC of each cue alone: the probability that it is larger in `true` than in `false`, ties counted by half.

    Raises `DataError` when one of them is empty.
    """
    if not true or not false:
        raise DataError("no pictures to compare cues of", "give more samples")
    return {name: image_auc([cues[name] for cues in true], [cues[name] for cues in false]) for name in true[0]}


def joint_auc(
    true: Sequence[Cues], false: Sequence[Cues], groups: tuple[Sequence[str], Sequence[str]], folds: int = 5
) -> float:
    """AUC of a logistic regression on all cues together, cross-validated; a group never crosses a fold.

    `groups` names the group of each of `true` and of `false`. NaN when a fold lacks one side.
    """
    names = list(true[0])
    values = np.array([[cues[name] for name in names] for cues in (*true, *false)])
    labels = np.repeat([1.0, 0.0], [len(true), len(false)])
    order: dict[str, int] = {}
    for group in (*groups[0], *groups[1]):
        order.setdefault(group, len(order))
    fold = np.array([order[group] % folds for group in (*groups[0], *groups[1])])
    sides = [(labels[fold == number], labels[fold != number]) for number in range(folds)]
    if any(len(set(side)) < 2 for pair in sides for side in pair):
        return float("nan")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0 / RIDGE))
    return float(cross_val_score(model, values, labels, cv=PredefinedSplit(fold), scoring="roc_auc").mean())


def compare_regions(items: Sequence[Judged], seed: int = 0) -> tuple[list[Cues], list[Cues], list[Judged]]:
    """Paired region cues of true and misplaced masks, and their pictures; small pictures are left out."""
    rng = np.random.default_rng(seed)
    usable = [item for item in items if item.mask.any() and not item.mask.all() and min(item.mask.shape) >= LEAST_SIDE]
    true, false, kept = [], [], []
    for item in usable:
        wrong = misplaced_mask(rng, item.mask, [other.mask for other in usable])
        if wrong is None or wrong.all():
            continue
        true.append(region_cues(item.image, item.mask))
        false.append(region_cues(item.image, wrong))
        kept.append(item)
    return true, false, kept


def stronger(ours: Mapping[str, float], real: Mapping[str, float], margin: float = 0.15) -> list[str]:
    """Cues that separate ours better than they separate real pictures, by more than `margin` of AUC."""
    return [name for name in ours if abs(ours[name] - 0.5) > abs(real[name] - 0.5) + margin]


def _or(wanted: Mask, fallback: Mask) -> Mask:
    return wanted if wanted.any() else fallback


def _detail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), dtype=np.float32)


def _contrast(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return np.asarray(np.hypot(across, down), dtype=np.float32)


def _log_mean(values: NDArray[np.float32], where: Mask) -> float:
    return float(np.log(values[where].mean() + 0.5))


def _blockiness(grey: NDArray[np.uint8], where: Mask) -> float:
    """Log ratio of the steps between pixels across the 8-pixel grid and off it, both directions; 0 without either."""
    lines: list[list[float]] = [[], []]
    for steps, selected in (
        (np.abs(np.diff(grey.astype(np.float32), axis=1)), where[:, 1:]),
        (np.abs(np.diff(grey.astype(np.float32), axis=0)).T, where[1:].T),
    ):
        grid = np.arange(steps.shape[1]) % 8 == 7
        for number, chosen in enumerate((grid, ~grid)):
            lines[number].append(float(steps[:, chosen][selected[:, chosen]].sum()))
            lines[number].append(float(selected[:, chosen].sum()))
    on, off = (sum(line[::2]) / max(sum(line[1::2]), 1.0) for line in lines)
    return float(np.log((on + 0.5) / (off + 0.5)))


def _coarseness(file: bytes | None) -> float:
    if file is None:
        return 0.0
    with Image.open(io.BytesIO(file)) as picture:
        tables = getattr(picture, "quantization", None) or {}
    return float(np.log(np.mean(tables[0]))) if tables else 0.0
