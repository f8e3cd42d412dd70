"""Traces of large pictures are computed in strips of rows, with the same values as for the whole picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.pictures import photo
from numpy.typing import NDArray

from imltool.pictures.images import RGB, encode_jpeg
from imltool.pictures.pixels import decode
from imltool.traces.jpeg_grid import (
    FREQUENCIES,
    CrossDifference,
    cross_difference,
    grid_offset,
    history_likelihood,
    quantisation_steps,
)
from imltool.traces.residual import WINDOW, error_level, fine_energy, fine_structure, grid_strength
from imltool.traces.rows import Canvas, Luma
from imltool.traces.stack import GRID, TRACES, picture_traces, tiled_traces


def edited() -> RGB:
    """A picture with a history: saved twice, with a pasted patch and a copy."""
    rgb = decode(encode_jpeg(photo(3, 333, 270), 65, 0)).copy()
    rgb[60:120, 40:130] = photo(4, 90, 60)
    rgb[150:210, 200:290] = rgb[20:80, 150:240]
    return decode(encode_jpeg(rgb, 92, 0))


def luma_of(rgb: RGB) -> NDArray[np.float32]:
    return (rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.float32)


@pytest.mark.parametrize("pixels", [1, 3000, 20_000])
@pytest.mark.parametrize("size", [(333, 270), (9, 400), (400, 9), (17, 64), (65, 33)])
def test_traces_do_not_depend_on_the_strips(
    monkeypatch: pytest.MonkeyPatch, pixels: int, size: tuple[int, int]
) -> None:
    rgb = edited() if size == (333, 270) else photo(1, *size)
    whole = picture_traces(rgb)
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", pixels)
    assert np.array_equal(whole, picture_traces(rgb))


def test_strips_give_each_plane_of_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = edited()
    luma = luma_of(rgb)
    difference = cross_difference(luma)
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", 4000)
    rows = CrossDifference(Luma(rgb))
    assert rows.shape == difference.shape
    assert grid_offset(rows) == grid_offset(difference) == (0, 0)
    assert np.array_equal(fine_energy(Luma(rgb)), np.abs(fine_structure(luma)))
    for part, whole in zip(history_likelihood(Luma(rgb), (0, 0)), history_likelihood(luma, (0, 0)), strict=True):
        assert np.array_equal(part, whole)


def slow_history(luma: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """`history_likelihood` for a grid at (0, 0), block by block."""

    def coefficients(x: int, y: int) -> NDArray[np.float32]:
        rows, columns = (luma.shape[0] - y) // 8, (luma.shape[1] - x) // 8
        blocks = [
            [cv2.dct(luma[y + 8 * r : y + 8 * r + 8, x + 8 * c : x + 8 * c + 8] - 128) for c in range(columns)]
            for r in range(rows)
        ]
        return np.array(blocks, np.float32)

    own, moved = coefficients(0, 0), [coefficients(*shift) for shift in ((4, 4), (2, 4), (4, 2))]
    totals = [np.zeros(own.shape[:2]) for _ in range(2)]
    for u, v in FREQUENCIES:
        for total, step in zip(totals, quantisation_steps(own[:, :, u, v].ravel()), strict=True):
            here = np.clip(np.rint(own[:, :, u, v] / step), -60, 60).astype(int)
            there = [level for each in moved for level in np.clip(np.rint(each[:, :, u, v] / step), -60, 60).ravel()]
            observed, smooth = np.ones(121), np.ones(121)
            for level in here.ravel():
                observed[level + 60] += 1
            for level in there:
                smooth[int(level) + 60] += 1
            padded = np.pad(smooth, 1)
            smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
            ratio = np.clip(np.log(smooth / smooth.sum()) - np.log(observed / observed.sum()), -3, 3)
            ratio[60] = 0
            total += ratio[here + 60]
    return [total / len(FREQUENCIES) - np.median(total / len(FREQUENCIES)) for total in totals]


def test_history_likelihood_agrees_with_a_slow_count(monkeypatch: pytest.MonkeyPatch) -> None:
    luma = luma_of(edited()[:210, :170])
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", 4000)
    for fast, slow in zip(history_likelihood(luma, (0, 0)), slow_history(luma), strict=True):
        # a coefficient half-way between two levels may round to either: in some blocks one of 14 terms differs
        assert np.mean(np.abs(fast - slow) < 1e-4) > 0.9 and np.corrcoef(fast.ravel(), slow.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("offset", [(0, 0), (3, 5)])
def test_grid_strength_agrees_with_a_slow_window(monkeypatch: pytest.MonkeyPatch, offset: tuple[int, int]) -> None:
    difference = cross_difference(luma_of(edited()))
    height, width = difference.shape
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", 20 * width)
    strength = grid_strength(difference, offset)
    reach = WINDOW // 2
    for row, column in ((reach, reach), (39, 100), (40, 100), (41, 200), (height - 1 - reach, width - 1 - reach)):
        inside = [
            (r, c) for r in range(row - reach, row + reach + 1) for c in range(column - reach, column + reach + 1)
        ]
        borders = [(r, c) for r, c in inside if (r - offset[1]) % 8 == 7 or (c - offset[0]) % 8 == 7]
        mean = np.mean([difference[place] for place in inside])
        expected = (np.mean([difference[place] for place in borders]) - mean) / (mean + 0.5)
        assert strength[row, column] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (1, 1)])
def test_halved_canvas_has_means_of_two_by_two_pixels(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    canvas = Canvas(shape, halved=True)
    for top in range(0, shape[0], 4):
        canvas.put(top, 0, values[top : top + 4])
    even = np.pad(values, ((0, shape[0] % 2), (0, shape[1] % 2)), mode="edge")
    expected = even.reshape(even.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
    assert np.allclose(canvas.plane, expected, atol=1e-6)


def test_halved_planes_hardly_change_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = cv2.resize(edited(), (1201, 903), interpolation=cv2.INTER_CUBIC)
    whole = picture_traces(rgb).astype(np.float32)  # type: ignore[arg-type]
    monkeypatch.setattr("imltool.traces.stack.HALVED_FROM", 1)
    halved = picture_traces(rgb).astype(np.float32)  # type: ignore[arg-type]
    for name, a, b in zip(TRACES, whole, halved, strict=True):
        assert np.abs(a - b).mean() <= 0.03 * max(0.5, a.std()), name


def test_error_levels_are_halved_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = photo(2, 301, 203)
    level = error_level(rgb, 90)
    monkeypatch.setattr("imltool.traces.residual.CHANGE_ROWS", 64)
    assert np.array_equal(level, error_level(rgb, 90))
    halved = error_level(rgb, 90, halved=True)
    assert halved.shape == (102, 151)
    assert np.allclose(halved[:101, :150], level[:202, :300].reshape(101, 2, 150, 2).mean(axis=(1, 3)), atol=1e-4)


def test_tiled_traces_are_those_of_the_picture_on_a_finer_grid() -> None:
    rgb = cv2.resize(edited(), (1201, 903), interpolation=cv2.INTER_CUBIC)
    whole, finer = tiled_traces(rgb, 640, (224, 168))  # type: ignore[arg-type]
    assert np.array_equal(whole, picture_traces(rgb))  # type: ignore[arg-type]
    assert finer.shape == (len(TRACES), 168, 224)
    for number, name in enumerate(TRACES):
        again = cv2.resize(finer[number].astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()
        assert np.corrcoef(again, whole[number].astype(np.float32).ravel())[0, 1] > 0.9, name
