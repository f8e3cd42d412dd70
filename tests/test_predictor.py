"""The Python API of a student: inputs, outputs, and agreement with the commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pictures import make_set, photo, write_rgb
from PIL import Image

import imltool
from imltool import Prediction, Predictor, Scanner, load_student
from imltool.errors import ImageError, UsageError, WeightsError
from imltool.inference.localizer import Localizer, image_score


@pytest.fixture(scope="module")
def student(tiny_weights: Path) -> Predictor:
    return load_student(tiny_weights, "cpu")


def test_files_arrays_and_pillow_pictures_give_the_same_prediction(student: Predictor, tmp_path: Path) -> None:
    rgb = photo(1, 90, 70)
    write_rgb(tmp_path / "a.png", rgb)
    found = [student(given) for given in (rgb, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(rgb))]
    (values,) = student.localizer.maps([rgb])
    for one in found:
        assert isinstance(one, Prediction)
        assert np.array_equal(one.map, values) and one.map.dtype == np.float32 and one.map.shape == (70, 90)
        assert np.array_equal(one.mask, values > student.threshold) and one.mask.dtype == bool
        assert one.score == image_score(values) and one.indication is (one.score > student.score_threshold)


def test_pillow_pictures_are_rotated_and_converted_like_files(student: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(photo(2, 90, 70)).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(photo(3, 60, 50)).convert("P").save(tmp_path / "palette.png")
    for name, shape in (("turned.jpg", (90, 70)), ("palette.png", (50, 60))):
        with Image.open(tmp_path / name) as picture:
            by_picture = student(picture)
        assert by_picture.map.shape == shape and np.array_equal(by_picture.map, student(tmp_path / name).map)
    grey = photo(4, 40, 30)[..., 0]
    assert np.array_equal(student(grey).map, student(Image.fromarray(grey)).map)


def test_predict_is_lazy_and_keeps_the_order(student: Predictor) -> None:
    read: list[int] = []

    def pictures() -> Iterator[Any]:  # type: ignore[no-untyped-def]
        for number in range(7):
            read.append(number)
            yield photo(number, 50 + number, 40)

    found = student.predict(pictures(), batch=3)
    first = next(found)
    assert read == [0, 1, 2] and first.map.shape == (40, 50)
    assert [one.map.shape[1] for one in found] == [51, 52, 53, 54, 55, 56]


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 4), np.uint8), r"\[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        ("nowhere.png", "no such file"),
    ],
)
def test_invalid_pictures_are_refused(student: Predictor, picture: object, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        student(picture)  # type: ignore[arg-type]


def test_threshold_and_tiles_are_options(tiny_weights: Path) -> None:
    large = photo(0, 1000, 820)
    plain, tiled = load_student(tiny_weights, "cpu", threshold=0.0), load_student(tiny_weights, "cpu", tiles=True)
    assert plain(large).mask.all() and not np.array_equal(plain(large).map, tiled(large).map)
    with pytest.raises(UsageError, match="threshold"):
        load_student(tiny_weights, "cpu", threshold=2.0)


def test_scanner_uses_the_network_of_the_predictor(student: Predictor, tmp_path: Path) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=0)
    (result,) = Scanner(student).scan(source / "tampered")
    assert result.score == pytest.approx(student(source / "tampered" / "t0.png").score, abs=1e-4)


def test_package_exports_the_api() -> None:
    assert load_student is imltool.load_student and set(imltool.__all__) >= {"load_student", "Predictor", "Scanner"}
    with pytest.raises(AttributeError, match="no attribute 'model'"):
        _ = imltool.model


def test_prediction_with_a_graph_does_not_import_torch() -> None:
    program = (
        "import sys, numpy; from imltool import load_student\n"
        "found = load_student('boxprompt', 'cpu', engine='onnx')(numpy.zeros((60, 80, 3), numpy.uint8))\n"
        "print(found.map.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(60, 80) False\n"


def on_the_hub(home: Path, weights: Path) -> None:
    """Fill the Hugging Face cache as if `somebody/student` had been downloaded."""
    repository = home / "hub" / "models--somebody--student"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    shutil.copy(weights, repository / "snapshots" / ("0" * 40) / "model.safetensors")


@pytest.mark.slow
def test_hub_student_is_loaded_from_the_cache_offline(tiny_weights: Path, tmp_path: Path) -> None:
    on_the_hub(tmp_path, tiny_weights)
    offline = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    program = (
        "from imltool import load_student; from imltool.errors import ImlError\n"
        "print(load_student('hf-hub:somebody/student', 'cpu').localizer.sha256)\n"
        "try: load_student('hf-hub:somebody/other', 'cpu')\n"
        "except ImlError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=offline)
    assert done.returncode == 0, done.stderr
    found, missing = done.stdout.splitlines()
    assert found == Localizer.load(tiny_weights, "cpu").sha256
    assert "hf-hub:somebody/other is neither in the cache nor available from the Hugging Face hub" in missing


def test_missing_student_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="do not exist"):
        load_student("nobody", "cpu")
    with pytest.raises(WeightsError, match="do not exist"):
        load_student(tmp_path / "none.safetensors", "cpu")
