"""Outputs of one command are inputs of the next: a complete run from training to comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, results_in
from helpers.pictures import photo, write_rgb
from helpers.train_config import write_config
from safetensors.numpy import load_file

from imltool.engines.graph_info import GraphInfo
from imltool.engines.registry import graph_of
from imltool.inference.localizer import Localizer
from imltool.student.header import read_header

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

CPU = ("--device", "cpu")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.mark.slow  # three exports; each step has separate tests
def test_run_is_exported_scanned_evaluated_released_calibrated_and_compared(
    config: Path, tmp_path: Path, imltool: Imltool
) -> None:
    def call(*arguments: object) -> str:
        code, out, err = imltool(*arguments)
        assert code == 0, err
        return out

    run, test = tmp_path / "run", tmp_path / "test"
    best, released, own = run / "best.safetensors", tmp_path / "released.safetensors", tmp_path / "own.safetensors"
    call("train", "--config", config, "--out", run, *CPU)
    assert {tensor.dtype for tensor in load_file(best).values() if tensor.dtype.kind == "f"} == {np.dtype("float32")}

    info = GraphInfo.model_validate(json.loads(call("export", "--weights", best, "--json"))["info"])
    assert info.precision == "fp32" and info.max_difference < 1e-5 and graph_of(best).is_file()
    call("scan", test, "--weights", best, "--out", tmp_path / "scan", *CPU)
    assert "torch" not in record_of(tmp_path / "scan")["model"]["engine"]
    for weights, name in ((best, "by-graph"), (best, "by-torch")):
        engine = "torch" if name == "by-torch" else "auto"
        call("eval", "--weights", weights, "--data", f"test={test}", "--out", tmp_path / name, "--engine", engine, *CPU)
    f1s = [results_in(tmp_path / name)["sets"]["test"]["pixel_f1"] for name in ("by-graph", "by-torch")]
    assert f1s[0] == pytest.approx(f1s[1], abs=1e-3)

    call("model", "release", run, "--out", released, *CPU)
    assert json.loads(call("export", "--weights", released, "--json"))["info"]["precision"] == "fp16"
    for number in range(20):
        write_rgb(tmp_path / "camera" / f"{number}.png", photo(900 + number, 64, 48))
    camera = f"camera={tmp_path / 'camera'}"
    call("model", "calibrate", "--weights", released, "--authentic", camera, "--out", own, *CPU)
    assert read_header(own).score_authentic == 20
    call("export", "--weights", own)
    call("eval", "--weights", own, "--data", f"test={test}", "--out", tmp_path / "own", *CPU)
    out = call("compare", tmp_path / "by-torch", tmp_path / "own", "--out", tmp_path / "compared")
    assert "test" in out


@pytest.mark.slow  # an export; test_engines.py tests a released student, whose weights are not changed by rounding
def test_half_precision_export_reports_the_effect_of_rounding(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    assert imltool("train", "--config", config, "--out", tmp_path / "run", *CPU)[0] == 0
    best = tmp_path / "run" / "best.safetensors"
    code, out, err = imltool("export", "--weights", best, "--precision", "fp16", "--json")
    assert code == 0, err
    info = json.loads(out)["info"]
    pictures = [photo(1, 90, 120), photo(2, 64, 64)]
    by_graph, by_torch = (Localizer.load(best, "cpu", engine).maps(pictures) for engine in ("onnx", "torch"))
    moved = max(float(np.abs(one - other).max()) for one, other in zip(by_graph, by_torch, strict=True))
    assert info["precision"] == "fp16" and 1e-6 < moved < 0.05 and 1e-6 < info["max_difference"] < 0.05
