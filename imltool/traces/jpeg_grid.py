"""JPEG traces computed from the pixels alone: the 8×8 grid, and whether a block shares the history of the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from imltool.pictures.strips import strips
from imltool.traces.rows import Plane, Rows

BLOCK = 8
FREQUENCIES = [(u, v) for u in range(5) for v in range(5) if 1 <= u + v <= 4]
LEVELS = 60
CLIP = 3.0
SAMPLES = 1500
EXACT, ROUGH = 0.97, 0.75
"""Required fit of a step, relative to that of exact multiples."""
STEPS = np.arange(2, 41)
STEPS_AT_ONCE = 8


def _cosines() -> Plane:
    """The first five rows of the orthonormal 8-point DCT-II, float32 [5,8]."""
    k, n = np.arange(5)[:, None], np.arange(BLOCK)[None]
    rows = 0.5 * np.cos((2 * n + 1) * k * np.pi / 16)
    rows[0] *= np.sqrt(0.5)
    return rows.astype(np.float32)


COSINES = _cosines()


def cross_difference(luma: Plane) -> Plane:
    """|I(x,y) + I(x+1,y+1) − I(x+1,y) − I(x,y+1)|, float32 [H-1,W-1]: zero on linear slopes, high at block corners."""
    return np.asarray(np.abs(luma[:-1, :-1] + luma[1:, 1:] - luma[:-1, 1:] - luma[1:, :-1]))


class CrossDifference:
    """`cross_difference` of a luma, float32 [H-1,W-1], computed whenever rows are read."""

    def __init__(self, luma: Rows) -> None:
        self.shape = (luma.shape[0] - 1, luma.shape[1] - 1)
        self._luma = luma

    def __getitem__(self, rows: slice, /) -> Plane:
        return cross_difference(self._luma[rows.start : rows.stop + 1])


def grid_offset(difference: Rows) -> tuple[int, int]:
    """(x, y) of the first block corner, 0..7 each; (0, 0) when no JPEG grid stands out.

    Args:
        difference: `cross_difference` of the picture.
    """

    def phase(profile: NDArray[np.float64]) -> int:
        usable = len(profile) // BLOCK * BLOCK
        if usable < 4 * BLOCK:
            return 0
        energy = profile[:usable].reshape(-1, BLOCK).mean(axis=0)
        peak = int(energy.argmax())
        others = np.delete(energy, peak)
        # the last column of a block differs from the first of the next: index 7 when the grid starts at 0
        return (peak + 1) % BLOCK if energy[peak] > others.mean() + 4 * others.std() + 1e-6 else 0

    height, width = difference.shape
    columns, of_rows = np.zeros(width), np.empty(height)
    for rows in strips(difference.shape):
        strip = difference[rows]
        columns += strip.sum(axis=0, dtype=np.float64)
        of_rows[rows] = strip.mean(axis=1, dtype=np.float64)
    return phase(columns / height), phase(of_rows)


def low_frequencies(luma: Plane) -> Plane:
    """DCT coefficients of every whole 8×8 block, float32 [rows,5,columns,5] (vertical, then horizontal frequency)."""
    rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
    strips = luma[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns * BLOCK)
    vertical = np.matmul(COSINES, strips).reshape(rows, 5, columns, BLOCK)
    return np.asarray(np.matmul(vertical, COSINES.T))


def quantisation_steps(values: Plane) -> tuple[int, int]:
    """The largest steps in 2..40 of which the coefficients are exact and approximate multiples; 1 when there is none.

    The last JPEG save makes them exact multiples of its step. An earlier save with a larger step leaves them near
    multiples of that step: this is the approximate fit.
    """
    picked = values[np.abs(values) > 1.0]
    if len(picked) < 40:
        return 1, 1
    if len(picked) > SAMPLES:
        picked = picked[:: len(picked) // SAMPLES + 1]
    sizes = np.sort(np.abs(picked))
    # coefficients closer to 0 than half a step fit every step and are no evidence
    smallest = 0.5 * STEPS.astype(np.float32)
    begin = np.searchsorted(sizes, smallest, side="right")
    enough, fit = len(sizes) - begin, np.empty(len(STEPS))
    # a few steps at a time fit into the fastest cache, and the larger steps have few coefficients to compare
    for first in range(0, len(STEPS), STEPS_AT_ONCE):
        part, seen = slice(first, first + STEPS_AT_ONCE), sizes[begin[first] :]
        waves = seen / STEPS[part].astype(np.float32)[:, None]
        waves -= np.rint(waves)  # near 0 a cosine in single precision is accurate enough and much faster
        waves *= np.float32(2 * np.pi)
        np.cos(waves, out=waves)
        waves *= seen > smallest[part, None]
        fit[part] = waves.sum(axis=1, dtype=np.float64)
    fit /= np.maximum(enough, 1)
    # decoding rounds to whole grey levels, which adds noise of about 0.4 to the coefficients
    expected = np.exp(-2 * np.pi**2 * 0.16 / STEPS**2)
    exact, rough = (np.flatnonzero((enough >= 30) & (fit > share * expected)) for share in (EXACT, ROUGH))
    return int(STEPS[exact[-1]]) if len(exact) else 1, int(STEPS[rough[-1]]) if len(rough) else 1


def _coefficients(luma: Rows, x: int, y: int) -> Iterator[tuple[slice, list[Plane]]]:
    """Strips of block rows of a grid at (x, y): the slice of rows, and a plane [rows,columns] for each frequency."""
    blocks = (luma.shape[0] - y) // BLOCK, (luma.shape[1] - x) // BLOCK
    for rows in strips((blocks[0] * BLOCK, luma.shape[1]), BLOCK):
        strip = luma[y + rows.start : y + rows.stop][:, x:] - np.float32(128.0)
        found = low_frequencies(strip)
        yield slice(rows.start // BLOCK, rows.stop // BLOCK), [found[:, u, :, v] for u, v in FREQUENCIES]


def history_likelihood(luma: Rows, offset: tuple[int, int]) -> tuple[Plane, Plane]:
    """Likelihood ratio, for each 8×8 block, that it lacks the earlier JPEG save shared by the picture's blocks.

    After two saves on the same grid, the histogram of coefficients has peaks and gaps; that of a block pasted in
    between them is smooth. The smooth histogram is measured on the same picture with a shifted grid, so no quantisation
    table is needed (our choice, after Lin et al. 2009 and Bianchi and Piva 2012). Coefficients are counted in units of
    the last save's step and again in units of the earlier one's: each shows histories that the other hides.

    Args:
        luma: float32 [H,W], 0..255.
        offset: (x, y) of the grid, see `grid_offset`.

    Returns:
        Two planes float32 [rows,columns]: mean log-likelihood ratio over 14 low frequencies, in −3..3, minus its
        median; zeros [1,1] when the picture is smaller than four blocks.
    """
    x, y = offset
    if min(luma.shape[0] - y, luma.shape[1] - x) < 4 * BLOCK:
        return np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
    shape = (luma.shape[0] - y) // BLOCK, (luma.shape[1] - x) // BLOCK
    own = [np.empty(shape, np.float32) for _ in FREQUENCIES]
    for rows, found in _coefficients(luma, x, y):
        for plane, values in zip(own, found, strict=True):
            plane[rows] = values
    steps = [quantisation_steps(plane.ravel()) for plane in own]
    moved = np.zeros((len(FREQUENCIES), 2, 2 * LEVELS + 1), np.int64)
    for dx, dy in ((4, 4), (2, 4), (4, 2)):
        for _, found in _coefficients(luma, x + dx, y + dy):
            for which, values in enumerate(found):
                for step in set(steps[which]):  # both fits often have the same step
                    count = np.bincount(_levels(values, step).ravel(), minlength=2 * LEVELS + 1)
                    moved[which, np.equal(steps[which], step)] += count
    totals = [np.zeros(shape, np.float32) for _ in range(2)]
    for which, plane in enumerate(own):
        for step in set(steps[which]):
            fits = [fit for fit in range(2) if steps[which][fit] == step]
            here = _levels(plane, step)
            seen = np.bincount(here.ravel(), minlength=2 * LEVELS + 1) + 1.0
            smooth = np.convolve(moved[which, fits[0]] + 1.0, [0.25, 0.5, 0.25], "same")
            ratio = np.log(smooth / smooth.sum()) - np.log(seen / seen.sum())
            ratio[LEVELS] = 0.0  # flat blocks are no evidence
            likelihood = np.clip(ratio, -CLIP, CLIP).astype(np.float32)[here]
            for fit in fits:
                totals[fit] += likelihood
    exact, rough = (total / np.float32(len(FREQUENCIES)) for total in totals)
    return exact - np.float32(np.median(exact)), rough - np.float32(np.median(rough))


def _levels(values: Plane, step: int) -> NDArray[np.int64]:
    levels = values / step
    np.rint(levels, out=levels)
    np.clip(levels, -LEVELS, LEVELS, out=levels)
    levels += LEVELS
    return levels.astype(np.int64)


def corner_mask(shape: tuple[int, int], offset: tuple[int, int]) -> NDArray[np.bool_]:
    """Bool [H-1,W-1]: True where `cross_difference` spans the border of two blocks of the grid."""
    columns = (np.arange(shape[1]) - offset[0]) % BLOCK == BLOCK - 1
    rows = (np.arange(shape[0]) - offset[1]) % BLOCK == BLOCK - 1
    return np.asarray(rows[:, None] | columns[None])
