"""Similarities that many keypoint matches agree on, found without random draws.

Every match proposes the similarities through itself and its nearest consistent neighbours; the one with most support
is kept, its matches are taken out, and so on (our choice instead of RANSAC: the same matches always give the same
similarities, and a small copy beside a large one is not missed by chance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imltool.traces.copy_match import Matches

SUPPORT = 4
"""Least number of different places that must agree on a similarity."""
TOLERANCE = 2.5
"""Largest distance of a mapped keypoint from its partner, pixels, for keypoints of the finest level."""
SCALE_TOLERANCE = 0.55
"""Largest difference of the logs of a match's and the similarity's scale: the levels of keypoints are 0.35 apart."""
TURN_TOLERANCE = 0.4
"""Largest difference of a match's and the similarity's rotation, radians."""
SCALES = (0.35, 2.85)
NEIGHBOURS, BASES, ROUNDS, MODELS = 4, 250, 4, 32
"""Proposals per match, matches that propose in a round, rounds, and largest number of similarities."""
BASELINE = 5.0
"""Least distance of two matches that propose a similarity, pixels."""
PLACE = 4.0
"""Keypoints in one square of this side count as one place, pixels."""


@dataclass(frozen=True)
class Similarity:
    """A similarity and the matches that agree on it.

    Attributes:
        matrix: float64 [2,3]; x' = matrix · (x, y, 1).
        here, there: float32 [N,2], matched keypoints and their partners.
    """

    matrix: NDArray[np.float64]
    here: NDArray[np.float32]
    there: NDArray[np.float32]


@dataclass(frozen=True)
class _Directed:
    """Every match in both directions, as complex numbers x + iy; match m is number m and m + M."""

    here: NDArray[np.complex128]
    there: NDArray[np.complex128]
    log_scale: NDArray[np.float64]
    turn: NDArray[np.float64]
    reach: NDArray[np.float64]


def fit_similarities(matches: Matches) -> list[Similarity]:
    """Similarities in the order found, best supported first."""
    count = len(matches.here)
    here, there = (points.astype(np.float64) @ np.array([1, 1j]) for points in (matches.here, matches.there))
    scale, turn = np.log(matches.scale.astype(np.float64)), matches.turn.astype(np.float64)
    reach = TOLERANCE * np.maximum(matches.level, 1.0).astype(np.float64)
    both = _Directed(
        np.concatenate([here, there]),
        np.concatenate([there, here]),
        np.concatenate([scale, -scale]),
        np.concatenate([turn, -turn]),
        np.concatenate([reach, reach]),
    )
    alive = np.ones(count, bool)
    found: list[Similarity] = []
    for _ in range(ROUNDS):
        before = len(found)
        if alive.sum() < SUPPORT:
            break
        factors, shifts = _proposals(both, np.flatnonzero(alive), np.flatnonzero(np.tile(alive, 2)))
        agreeing = _agree(both, factors, shifts)
        while len(found) < MODELS and len(factors):
            counts = np.count_nonzero(agreeing & np.tile(alive, 2), axis=1)
            best = int(counts.argmax())
            if counts[best] < SUPPORT:
                break
            similarity, used = _refine(both, agreeing[best] & np.tile(alive, 2), np.tile(alive, 2))
            alive &= ~(used[:count] | used[count:])
            agreeing[best] = False
            if similarity is not None:
                found.append(similarity)
        if len(found) == before or len(found) >= MODELS:
            break
    return found


def _proposals(
    both: _Directed, bases: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Similarities z' = factor·z + shift through matches of `bases` and their nearest consistent neighbours."""
    bases = bases[:: -(-len(bases) // BASES)]
    apart = np.abs(both.here[bases][:, None] - both.here[others])
    apart[~_consistent(both, bases[:, None], others)] = np.inf
    apart[(apart < BASELINE) | (np.abs(both.there[bases][:, None] - both.there[others]) < BASELINE)] = np.inf
    number = min(NEIGHBOURS, len(others))
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :number]
    real = np.isfinite(np.take_along_axis(apart, nearest, axis=1)).ravel()
    first, second = np.repeat(bases, number)[real], others[nearest.ravel()[real]]
    factors = (both.there[second] - both.there[first]) / (both.here[second] - both.here[first])
    scales = np.abs(factors)
    good = (scales > SCALES[0]) & (scales < SCALES[1])
    good &= np.abs(np.log(np.maximum(scales, 1e-9)) - both.log_scale[first]) < SCALE_TOLERANCE
    good &= np.abs(_wrapped(np.angle(factors) - both.turn[first])) < TURN_TOLERANCE
    factors, first = factors[good], first[good]
    return factors, both.there[first] - factors * both.here[first]


def _wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.remainder(angle + np.pi, 2 * np.pi) - np.pi)


def _consistent(both: _Directed, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether two matches agree on scale and rotation, as far as keypoints tell."""
    scale = np.abs(both.log_scale[first] - both.log_scale[second]) < SCALE_TOLERANCE
    return np.asarray(scale & (np.abs(_wrapped(both.turn[first] - both.turn[second])) < TURN_TOLERANCE))


def _agree(both: _Directed, factors: NDArray[np.complex128], shifts: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """bool [similarities, directed matches]."""
    agreeing = np.empty((len(factors), len(both.here)), bool)
    for first in range(0, len(factors), 64):
        factor, shift = factors[first : first + 64, None], shifts[first : first + 64, None]
        off = factor * both.here + shift - both.there
        good = off.real**2 + off.imag**2 < (both.reach * np.maximum(1.0, np.abs(factor))) ** 2
        good &= np.abs(both.log_scale - np.log(np.abs(factor))) < SCALE_TOLERANCE
        good &= np.abs(_wrapped(both.turn - np.angle(factor))) < TURN_TOLERANCE
        agreeing[first : first + 64] = good
    return agreeing


def _refine(
    both: _Directed, agreeing: NDArray[np.bool_], alive: NDArray[np.bool_]
) -> tuple[Similarity | None, NDArray[np.bool_]]:
    """The least-squares similarity of the matches, and which directed matches it uses up."""
    used = agreeing
    for _ in range(2):
        z, w = both.here[used], both.there[used]
        centre, target = z.mean(), w.mean()
        spread = (np.abs(z - centre) ** 2).sum()
        if spread < 1e-9:
            return None, agreeing
        factor = (np.conj(z - centre) * (w - target)).sum() / spread
        if not SCALES[0] < abs(factor) < SCALES[1]:
            return None, agreeing
        shift = target - factor * centre
        again = _agree(both, np.array([factor]), np.array([shift]))[0] & alive
        if np.count_nonzero(again) < SUPPORT:
            return None, agreeing | used
        used = again
    places = min(len(np.unique(np.round(points[used] / PLACE))) for points in (both.here, both.there))
    if places < SUPPORT:
        return None, agreeing | used
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    here, there = (
        np.stack([points[used].real, points[used].imag], axis=1).astype(np.float32)
        for points in (both.here, both.there)
    )
    return Similarity(matrix, here, there), agreeing | used
