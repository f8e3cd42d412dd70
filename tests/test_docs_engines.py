"""The programs in docs/engines.md run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import photo, write_rgb
from PIL import Image

from imltool.engines.registry import graph_of
from imltool.inference.localizer import Localizer, image_score
from imltool.pictures.images import read_rgb
from imltool.student.checkpoint import save_checkpoint
from imltool.student.settings import StudentSettings
from imltool.weights import student_file

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(LOADING,) = (program for program in PROGRAMS if "load_student" in program)
(ALONE,) = (program for program in PROGRAMS if "onnxruntime" in program)


def run_alone(graph: Path, picture: Path, folder: Path) -> tuple[np.ndarray, float]:
    """Map and score computed by the program of the page, without imltool."""
    assert "import imltool" not in ALONE and "from imltool" not in ALONE
    command = [sys.executable, "-I", "-c", ALONE, str(graph), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "map.npy"), float(done.stdout.split()[1].rstrip(","))


def pictures(folder: Path) -> list[Path]:
    """A large picture, one rotated by its EXIF orientation, and one that is enlarged in one direction only."""
    write_rgb(folder / "large.jpg", photo(1, 900, 700))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(photo(2, 300, 260)).save(folder / "turned.jpg", exif=exif)
    write_rgb(folder / "flat.png", photo(3, 500, 40))
    return sorted(folder.glob("*.*g"))


def test_bundled_rgb_student_runs_with_onnx_runtime_only(tmp_path: Path) -> None:
    weights = student_file(Path("boxprompt"))
    reference = Localizer.load(weights, "cpu", "torch")
    for picture in pictures(tmp_path):
        found, score = run_alone(graph_of(weights), picture, tmp_path)
        (expected,) = reference.maps([read_rgb(picture)])
        assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-5
        assert score == pytest.approx(image_score(expected), abs=1e-5)


@pytest.mark.slow  # an export; the bundled student's documented use is tested above
def test_student_with_tta_and_growing_input_size_runs_with_onnx_runtime_only(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from imltool.export.student import export_student

    settings = StudentSettings(backbone="nano", input_size=96, max_input_size=160, tta_flips=4, tta_scales=(1, 1.5))
    made = Localizer.untrained(settings, "cpu", seed=5)
    weights = tmp_path / "student.safetensors"
    save_checkpoint(weights, made.student.state_dict(), made.header)
    info = export_student(weights, graph_of(weights))
    assert info.max_input_size == 160 and info.free_size is not None
    write_rgb(tmp_path / "huge.png", photo(4, 2000, 1500))
    for picture in (tmp_path / "huge.png", pictures(tmp_path)[-1]):
        found, score = run_alone(graph_of(weights), picture, tmp_path)
        (expected,) = made.maps([read_rgb(picture)])
        assert np.abs(found - expected).max() < 1e-5 and score == pytest.approx(image_score(expected), abs=1e-5)


@pytest.mark.slow
def test_loading_example_runs() -> None:
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    score, indication, *_ = done.stdout.split()
    assert 0 <= float(score) <= 1 and indication in ("True", "False")
