"""Large pictures in tiles: cut without gaps, blended evenly, and only on request."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.outputs import rows_by_path
from helpers.pictures import photo, write_rgb

from imltool.errors import EXIT_USAGE
from imltool.inference.localizer import Localizer, image_score, resize_input
from imltool.inference.tiles import LEAST_SIDE, STEP, Tiling, is_tiled, take_traces, tiled_map
from imltool.pictures.images import RGB, read_map
from imltool.scan.inputs import plan_inputs
from imltool.scan.runner import scan
from imltool.scan.settings import ScanSettings
from imltool.student.settings import StudentSettings
from imltool.traces.stack import GRID, picture_traces

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def large() -> RGB:
    return photo(0, 1150, 960)


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer.untrained(StudentSettings(input_size=64), CPU, seed=3)


@pytest.mark.parametrize("side", [64, 96, 224, 256])
@pytest.mark.parametrize("shape", [(900, 900), (3000, 4000), (801, 120), (200, 9000), (2448, 3264)])
def test_tiles_cover_the_canvas_and_overlap(shape: tuple[int, int], side: int) -> None:
    tiling = Tiling.of(shape, StudentSettings(input_size=side))
    coverage = np.zeros((tiling.height, tiling.width), int)
    for top, left in tiling.corners():
        assert top >= 0 and left >= 0 and top + side <= tiling.height and left + side <= tiling.width
        assert top * GRID % side == left * GRID % side == 0, "a tile consists of whole cells of the trace grid"
        coverage[top : top + side, left : left + side] += 1
    assert coverage.min() == 1
    for starts in (sorted({corner[i] for corner in tiling.corners()}) for i in (0, 1)):
        assert all(b - a <= STEP * side + tiling.unit for a, b in pairwise(starts))
    assert tiling.grid == (tiling.width * GRID / side, tiling.height * GRID / side)


def test_pictures_slightly_larger_than_a_tile_are_not_tiled() -> None:
    assert not is_tiled((LEAST_SIDE, 500, 3)) and is_tiled((300, LEAST_SIDE + 1, 3))


def slow_blend(localizer: Localizer, rgb: RGB, traces: Sequence[np.ndarray] = ()) -> np.ndarray:
    """`tiled_map` for a student of input size 64, tile by tile, with weights computed pixel by pixel."""
    tiling = Tiling.of(rgb.shape, StudentSettings(input_size=64))
    canvas = cv2.resize(rgb, (tiling.width, tiling.height), interpolation=cv2.INTER_AREA)
    total, weight = np.zeros(canvas.shape[:2]), np.zeros(canvas.shape[:2])
    for top, left in tiling.corners():
        y, x = top // 4 * 7, left // 4 * 7  # 64 pixels of the canvas are 112 cells of the traces
        cells = [traces[1][:, y : y + GRID, x : x + GRID]] if traces else None
        (tile,) = localizer.maps([np.ascontiguousarray(canvas[top : top + 64, left : left + 64])], cells)
        for y in range(64):
            for x in range(64):
                count = min(y + 0.5, 63.5 - y) * min(x + 0.5, 63.5 - x)
                total[top + y, left + x] += count * tile[y, x]
                weight[top + y, left + x] += count
    (whole,) = localizer.maps([resize_input(rgb, 64)], [traces[0]] if traces else None)
    blended = (enlarged(whole, total.shape) + total / weight) / 2
    return enlarged(blended, rgb.shape[:2])


def enlarged(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size=shape, mode="bilinear")[
        0, 0
    ].numpy()


def test_tiled_map_is_the_mean_of_whole_and_blended_tiles(localizer: Localizer, large: RGB) -> None:
    values = tiled_map(localizer, large, ())
    assert values.shape == large.shape[:2] and values.dtype == np.float32
    assert np.abs(values - slow_blend(localizer, large)).max() < 1e-6
    (alone,) = localizer.maps([large])
    assert np.abs(values - alone).max() > 1e-5


def test_trace_tiles_are_aligned_with_picture_tiles(large: RGB) -> None:
    settings = StudentSettings.model_validate({"input_size": 64, "traces": ["noise", "jpeg", "copy"]})
    localizer = Localizer.untrained(settings, CPU, seed=3)
    assert len(take_traces(localizer, large, tiles=False)) == 1
    traces = take_traces(localizer, large, tiles=True)
    assert np.array_equal(traces[0], picture_traces(large))
    values = tiled_map(localizer, large, traces)
    assert np.abs(values - slow_blend(localizer, large, traces)).max() < 1e-6
    mirrored = (traces[0], np.ascontiguousarray(traces[1][:, ::-1]))
    assert np.abs(tiled_map(localizer, large, mirrored) - values).max() > 1e-5


class LowMemoryLocalizer(Localizer):
    """A localizer whose memory suffices for `room` views only."""

    room = 0
    asked: list[int]

    def probabilities(self, views: Sequence[RGB], traces: Sequence[np.ndarray] | None) -> np.ndarray:
        self.asked.append(len(views))
        if len(views) > self.room:
            raise MemoryError("DefaultCPUAllocator: can't allocate memory")
        return super().probabilities(views, traces)


def low_memory(localizer: Localizer, room: int) -> LowMemoryLocalizer:
    found = LowMemoryLocalizer(localizer.network, localizer.header, "cpu")
    found.room, found.asked = room, []
    return found


@pytest.mark.parametrize(("room", "sizes"), [(1, [1, 6, 4, 2, *[1] * 6]), (3, [1, 6, 4, 2, 2, 2])])
def test_batches_of_tiles_halve_until_memory_suffices(
    localizer: Localizer, large: RGB, room: int, sizes: list[int]
) -> None:
    machine = low_memory(localizer, room)
    values = tiled_map(machine, large, (), batch=8)
    assert machine.asked == sizes
    assert np.abs(values - tiled_map(localizer, large, ())).max() < 1e-5


def test_memory_error_is_raised_if_one_tile_does_not_fit(localizer: Localizer, large: RGB) -> None:
    with pytest.raises(MemoryError, match="allocate"):
        tiled_map(low_memory(localizer, 0), large, ())


def test_scan_tiles_large_pictures_on_request(imltool: Imltool, tmp_path: Path, tiny_weights: Path, large: RGB) -> None:
    write_rgb(tmp_path / "in" / "large.png", large)
    write_rgb(tmp_path / "in" / "small.png", photo(1, 300, 200))
    call = ("scan", tmp_path / "in", "--weights", tiny_weights, "--device", "cpu")
    assert imltool(*call, "--out", tmp_path / "plain")[0] == 0
    assert imltool(*call, "--out", tmp_path / "tiled", "--tiles", "--stability")[0] == 0
    plain, tiled = (rows_by_path(tmp_path / name) for name in ("plain", "tiled"))
    assert plain["small.png"]["score"] == tiled["small.png"]["score"]
    assert read_map(tmp_path / "plain/maps/large.png.png").shape == large.shape[:2]
    localizer = Localizer.load(tiny_weights, CPU)
    expected = tiled_map(localizer, large, ())
    assert np.abs(read_map(tmp_path / "tiled/maps/large.png.png") - expected).max() < 1e-4
    assert all(change["score"] is not None for change in tiled["large.png"]["stability"])

    code, _, err = imltool(*call, "--out", tmp_path / "tiled", "--stability")
    assert code == EXIT_USAGE and "tiles" in err, "rows of both kinds must not mix"
    assert imltool(*call, "--out", tmp_path / "tiled", "--tiles", "--stability")[0] == 0
    assert rows_by_path(tmp_path / "tiled") == tiled


def test_eval_with_tiles_scores_like_scan(imltool: Imltool, tmp_path: Path, tiny_weights: Path, large: RGB) -> None:
    for folder, value in (("tampered", large), ("masks", np.indices(large.shape[:2]).sum(0) % 2 * 255)):
        write_rgb(tmp_path / "set" / folder / "a.png", np.broadcast_to(value.T, large.T.shape).T.astype(np.uint8))
    call = ("eval", "--weights", tiny_weights, "--device", "cpu", "--data", f"set={tmp_path / 'set'}", "-q")
    assert imltool(*call, "--out", tmp_path / "plain")[0] == 0
    assert imltool(*call, "--out", tmp_path / "tiled", "--tiles")[0] == 0
    plain, tiled = (
        next(csv.DictReader((tmp_path / name / "per_image.csv").open(encoding="utf-8"))) for name in ("plain", "tiled")
    )
    expected = image_score(tiled_map(Localizer.load(tiny_weights, CPU), large, ()))
    assert float(tiled["score"]) == pytest.approx(expected, abs=1e-4) and plain["score"] != tiled["score"]
    code, _, err = imltool(*call, "--out", tmp_path / "none", "--tiles", "--weights", "none", "--baseline", "ela")
    assert code == EXIT_USAGE and "--tiles" in err


def test_picture_without_memory_for_tiles_is_a_failed_row(tmp_path: Path, localizer: Localizer, large: RGB) -> None:
    write_rgb(tmp_path / "in" / "large.png", large)
    plan = plan_inputs([tmp_path / "in"], tmp_path / "out")
    settings = ScanSettings.of(localizer.header, tiles=True)
    (row,) = scan(plan, low_memory(localizer, 0), tmp_path / "out", settings)
    assert row.status == "failed" and "not enough memory" in str(row.reason)
