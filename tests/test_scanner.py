"""`from imltool import Scanner`: the same rows as the command line, as objects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pydantic
import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, rows_of
from helpers.pictures import photo, write_rgb
from PIL import Image

import imltool
from imltool import Scanner
from imltool.errors import DataError, ResumeError, UsageError, WeightsError
from imltool.journal import read_rows
from imltool.pictures.images import read_map, read_mask
from imltool.scan.results import ScanResult

OPTIONS: dict[str, Any] = {"threshold": 0.4, "stability": True, "companions": ["noise", "ela"], "batch": 4}
WORDS = ["--threshold", "0.4", "--stability", "--companions", "ela,noise", "--batch", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with all kinds of metadata, and files that fail."""
    path = tmp_path_factory.mktemp("in")
    exif = Image.Exif()
    exif.update({0x010F: "Canon", 0x0110: "EOS", 0x0131: "GIMP", 0x0132: "2024:05:02 12:00:00", 0x0112: 6})
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 12:00:00", 0xA002: 96, 0xA003: 64})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 0.0, 0.0), 3: "E", 4: (11.0, 0.0, 0.0)})
    Image.fromarray(photo(1)).save(path / "a.jpg", exif=exif, quality=80)
    heif = pillow_heif.from_pillow(Image.fromarray(photo(2, 320, 240)))
    heif.save(path / "b.heic", thumbnails=[64])
    write_rgb(path / "deep/c.png", photo(3))
    (path / "cut.jpg").write_bytes((path / "a.jpg").read_bytes()[:700])
    (path / "empty.png").touch()
    (path / "lost.png").symlink_to(path / "nowhere.png")
    return path


@pytest.fixture(scope="module")
def scanner(tiny_weights: Path) -> Scanner:
    return Scanner(tiny_weights, "cpu", **OPTIONS)


def test_results_equal_the_rows_of_the_command_line(
    folder: Path, scanner: Scanner, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    arguments = ("--weights", tiny_weights, "--device", "cpu", *WORDS)
    assert imltool("scan", folder, "--out", out, *arguments)[0] == 3
    rows = rows_of(out)
    results = []
    for result in scanner.scan(folder):
        results.append(result)
        if result.status == "ok":
            assert np.array_equal(result.read_map(), read_map(out / str(result.map)))
            assert np.array_equal(result.read_mask(), read_mask(out / str(result.mask)))
    assert [result.model_dump(mode="json") for result in results] == rows
    assert {result.path for result in results if result.status == "failed"} == {"cut.jpg", "empty.png", "lost.png"}
    first = results[0]
    assert first.context and first.context.camera.model == "EOS" and first.context.times.taken == "2024-05-01T12:00:00"
    assert first.stability and {remark.id for remark in first.remarks} >= {"editor", "clock-changed"}
    again = [ScanResult.of_row(row, out) for row in rows]
    assert [*scanner.scan([folder], out)] == again, "the folder of the command is resumed"
    assert ScanResult.model_json_schema()["properties"].keys() == rows[0].keys()
    assert np.array_equal(again[0].read_map(), read_map(out / "maps/a.jpg.png"))


def test_folder_made_by_a_program_can_be_resumed_and_verified(
    folder: Path, scanner: Scanner, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    for number, _ in enumerate(scanner.scan([str(folder)], str(out), case={"examiner": "Ada"})):
        if number == 2:
            break
    assert imltool("verify", out)[0] == 3, "the scan is incomplete"
    assert len([*scanner.scan([folder], out)]) == 6
    assert imltool("verify", out, "--inputs")[:2] == (0, "")
    record = record_of(out)
    assert record["case"]["examiner"] == "Ada" and len(record["sessions"]) == 2 and record["counts"]["failed"] == 3
    arguments = ("--weights", tiny_weights, "--device", "cpu", *WORDS)
    assert imltool("scan", folder, "--out", out, *arguments)[0] == 3
    assert (out / "report.html").is_file() and record_of(out)["sessions"][-1]["made"] == 0
    other = Scanner(tiny_weights, "cpu", threshold=0.3)
    with pytest.raises(ResumeError, match=r"other parameters.*--restart"):
        next(other.scan(folder, out))
    assert len([*other.scan(folder, out, restart=True)]) == 6


def test_results_are_immutable_and_nothing_is_kept_without_out(
    folder: Path, scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    results = scanner.scan([folder / "a.jpg", folder / "cut.jpg"])
    first = next(results)
    assert [path.name.startswith("imltool-") for path in tmp_path.iterdir()] == [True]
    with pytest.raises(pydantic.ValidationError):
        first.score = 0.5  # type: ignore[misc]
    with pytest.raises(DataError, match=r"cut\.jpg has no map: damaged picture"):
        next(results).read_map()
    results.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())
    for row in ({"path": "a.jpg"}, {"path": "a.jpg", "status": "ok", "unknown": 1}):
        with pytest.raises(DataError, match="not in the form"):
            ScanResult.of_row(row, tmp_path)


def test_invalid_scanner_arguments_are_refused(tiny_weights: Path, scanner: Scanner, tmp_path: Path) -> None:
    for options in (
        {"sensitivity": "extreme"},
        {"companions": ["magic"]},
        {"threshold": 1.5},
        {"batch": 0},
        {"batch": 2000},
    ):
        with pytest.raises(UsageError):
            Scanner(tiny_weights, "cpu", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown device"):
        Scanner(tiny_weights, "abacus")
    with pytest.raises(WeightsError):
        Scanner(tmp_path / "none.safetensors", "cpu")
    with pytest.raises(DataError, match="no picture found"):
        next(scanner.scan(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        next(scanner.scan([tmp_path / "nowhere"]))


def test_example_of_the_guide_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "scan.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evidence").symlink_to(folder)
    exec(compile(example, "docs/scan.md", "exec"), {})
    assert len(read_rows(tmp_path / "scan-out/results.jsonl")) == 6


def test_onnx_runtime_telemetry_is_disabled(tmp_path: Path) -> None:
    """ONNX Runtime writes a telemetry session to the temporary folder on import."""
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    program = "import imltool.engines.onnx_runtime"
    subprocess.run([sys.executable, "-c", program], env=env | {"TMPDIR": str(tmp_path)}, check=True)
    assert not [*tmp_path.iterdir()]


def test_package_import_does_not_load_torch() -> None:
    check = (
        "import sys, imltool; assert 'torch' not in sys.modules; from imltool import Scanner; print(Scanner.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "Scanner\n"
    with pytest.raises(AttributeError, match="no attribute 'Skanner'"):
        _ = imltool.Skanner
