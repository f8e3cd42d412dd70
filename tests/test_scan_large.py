"""Large pictures: memory is bounded, and the number of pictures in flight does not change results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.pictures import photo, write_rgb
from PIL import Image

from imltool.cli.app import run
from imltool.inference.localizer import Localizer, image_score
from imltool.pictures.images import RGB, Map, encode_jpeg, read_rgb
from imltool.scan.inputs import plan_inputs
from imltool.scan.picture_outputs import find_regions, quantise
from imltool.scan.runner import scan
from imltool.student.settings import StudentSettings

CPU = torch.device("cpu")


SCANS = """
import resource, sys
from imltool.cli.app import run
for picture in sys.argv[2:]:
    assert run(["scan", picture, "-w", sys.argv[1], "--device", "cpu", "-q", "-o", f"{picture}-out"]) == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""
"""Prints its peak memory in bytes after each of several scans."""


@pytest.mark.slow
def test_large_picture_needs_few_bytes_per_pixel(tmp_path: Path) -> None:
    weights = tmp_path / "traces.safetensors"
    settings = StudentSettings.model_validate({"input_size": 64, "traces": ["copy", "jpeg", "noise"]})
    Localizer.untrained(settings, CPU).save(weights)
    small, large = tmp_path / "small.tif", tmp_path / "large.tif"
    write_rgb(small, photo(0, 320, 240))
    tile = cv2.resize(photo(1, 400, 300), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    write_rgb(large, np.tile(tile, (3, 3, 1)))
    pixels = 4800 * 3600
    command = [sys.executable, "-c", SCANS, *map(str, (weights, small, large))]
    before, after = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    # processing in strips, which are read and analysed at the same time, needs the same memory for any large picture,
    # hence the second term
    assert after - before < 10 * pixels + 200e6


@pytest.mark.parametrize("pixels", [1, 30_000])
def test_number_of_pictures_in_flight_does_not_change_results(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    for number in range(7):
        write_rgb(tmp_path / "in" / f"{number}.png", photo(number, 100 + 20 * number, 90))
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    localizer = Localizer.load(tiny_weights, CPU)

    def lines(out: Path) -> list[str]:
        for _ in scan(plan_inputs([tmp_path / "in"], out), localizer, out, batch=4):
            pass
        return (out / "results.jsonl").read_text(encoding="utf-8").splitlines()

    free = lines(tmp_path / "free")
    monkeypatch.setattr("imltool.scan.pipeline.PIXELS_IN_FLIGHT", pixels)
    assert lines(tmp_path / "bound") == free and len(free) == 7


def slow_score(values: np.ndarray) -> float:
    ordered = sorted(values.ravel().tolist(), reverse=True)
    highest = ordered[: max(1, round(len(ordered) / 100))]
    return sum(highest) / len(highest)  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", [(1, 1), (9, 11), (240, 310)])
def test_score_by_strips_equals_that_of_the_whole_map(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    whole = image_score(values)
    assert whole == pytest.approx(slow_score(values), abs=6e-7) and whole == round(whole, 6)
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", 500)
    assert image_score(values) == pytest.approx(whole, abs=1e-12)
    values[-1, 0] = np.nan
    assert np.isnan(image_score(values))


def test_regions_by_strips_have_picture_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((300, 400), np.float32)
    values[50:80, 100:160] = 0.75
    values[200:240, 350:400] = 1.0
    expected = [
        {"x": 350, "y": 200, "width": 50, "height": 40, "area": 2000, "score": 1.0},
        {"x": 100, "y": 50, "width": 60, "height": 30, "area": 1800, "score": 0.75},
    ]
    assert [region.model_dump() for region in find_regions(values, 0.5)] == expected
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", 700)
    assert [region.model_dump() for region in find_regions(values, 0.5)] == expected
    assert find_regions(values, 1.0) == []
    (everything,) = find_regions(values + 0.01, 0.0)
    assert (everything.width, everything.height, everything.area) == (400, 300, 120_000)


def test_quantise_rounds_to_16_bit_steps_in_place() -> None:
    values = np.array([[0.5, 1.2], [-0.1, np.nan]], np.float32)
    assert quantise(values) is values
    assert values[0, 0] * 65535 == round(values[0, 0] * 65535) and values[0, 1] == 1 and values[1, 0] == 0
    assert np.isnan(values[1, 1])


class WrongSizeLocalizer(Localizer):
    """A localizer whose maps of wide pictures have a wrong size."""

    def maps(self, images: Sequence[RGB], traces: Sequence[np.ndarray] | None = None, fill: int = 0) -> list[Map]:
        found = super().maps(images, traces, fill)
        return [values[:7, :9] if values.shape[1] > 200 else values for values in found]


def test_unwritable_results_are_a_failed_row_without_files(tmp_path: Path, tiny_weights: Path) -> None:
    for name, width in (("a", 100), ("b", 300), ("c", 100)):
        write_rgb(tmp_path / "in" / f"{name}.png", photo(0, width, 90))
    loaded = Localizer.load(tiny_weights, CPU)
    out = tmp_path / "out"
    rows = [*scan(plan_inputs([tmp_path / "in"], out), WrongSizeLocalizer(loaded.network, loaded.header, "cpu"), out)]
    assert [row.status for row in rows] == ["ok", "failed", "ok"]
    assert "analysis failed (" in str(rows[1].reason) and rows[1].outputs_sha256 == {} and rows[1].map is None
    assert run(["verify", str(out)]) == 0, "every remaining file belongs to a row"


def test_picture_too_large_for_jpeg_is_refused_silently(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="at most 65500 pixels"):
        encode_jpeg(np.zeros((1, 65501, 3), np.uint8))
    assert capfd.readouterr() == ("", "")
    assert len(encode_jpeg(np.zeros((1, 65500, 3), np.uint8))) > 0


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "L", "I;16"])
def test_conversion_in_strips_equals_that_of_the_whole_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    rgb = photo(5, 130, 90)
    picture = Image.fromarray(rgb)
    if mode == "I;16":
        picture = Image.fromarray(rgb[..., 0].astype(np.uint16) * 200)
    elif mode != "RGB":
        picture = picture.convert(mode)
    file = tmp_path / ("a.png" if mode in ("P", "I;16") else "a.tif")
    picture.save(file)
    whole = read_rgb(file)
    monkeypatch.setattr("imltool.pictures.strips.STRIP_PIXELS", 130 * 7)
    assert np.array_equal(read_rgb(file), whole)
