"""Inference precision: bfloat16 and int8 are used only on request and always recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, results_in
from helpers.pictures import make_set, photo

from imltool.engines.registry import GRAPH_ENGINES, graph_of
from imltool.errors import UsageError, WeightsError
from imltool.inference.localizer import Localizer
from imltool.weights import student_file

INSTALLED = [name for name, engine in GRAPH_ENGINES.items() if engine.installed]


@pytest.mark.slow
@pytest.mark.usefixtures("bfloat16")
def test_bfloat16_results_are_marked_and_not_mixed_with_others(tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=1)
    scan = ("scan", source, "--out", tmp_path / "scan", "--weights", "boxprompt", "-q")
    assert imltool(*scan, "--precision", "bf16")[0] == 0
    record = record_of(tmp_path / "scan")
    assert record["model"]["precision"] == "bf16" and record["parameters"]["precision"] == "bf16"
    assert record["model"]["engine"].endswith(", bf16")
    code, _, err = imltool(*scan)
    assert code == 2 and "precision" in err and err.count("\n") == 1
    measure = ("eval", "--data", f"made={source}", "--out", tmp_path / "eval", "--weights", "boxprompt", "-q")
    assert imltool(*measure, "--precision", "bf16")[0] == 0
    results = results_in(tmp_path / "eval")
    assert results["checkpoint"]["precision"] == "bf16" and "--precision bf16" in results["command"]
    code, _, err = imltool(*measure)
    assert code == 2 and "precision" in err and err.count("\n") == 1


@pytest.mark.parametrize("flags", ["fpu avx2 avx512f avx512_vnni", None])
def test_bfloat16_is_refused_on_processors_without_it(
    flags: str | None, tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "cpuinfo"
    if flags is not None:
        facts.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr("imltool.engines.network._CPU_FACTS", facts)
    monkeypatch.setattr("sys.platform", "linux")
    source = make_set(tmp_path / "set", tampered=1, authentic=0)
    code, _, err = imltool("scan", source, "--out", tmp_path / "out", "--precision", "bf16", "--device", "cpu")
    assert code == 2 and "bfloat16" in err and "leave out --precision" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("bfloat16")
def test_engine_without_bfloat16_is_refused(imltool: Imltool, tmp_path: Path) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=0)
    code, _, err = imltool(
        "scan", source, "--out", tmp_path / "out", "--engine", "onnx", "--precision", "bf16", "--device", "cpu"
    )
    assert code == 2 and "engine onnx does not compute in bf16" in err


@pytest.mark.slow
def test_int8_graph_is_measured_before_saving_and_used_on_request(
    tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    weights = Path(shutil.copy(student_file(Path("boxprompt")), tmp_path / "student.safetensors"))
    command = ("export", "--weights", weights, "--precision", "int8", "--calibration", source / "tampered")
    code, _, err = imltool(*command)
    assert code == 2 and "--check NAME=DIR" in err and err.count("\n") == 1
    with monkeypatch.context() as strict:
        strict.setattr("imltool.export.student.MAX_F1_LOSS", -2.0)
        code, _, err = imltool(*command, "--check", f"made={source}")
    assert code == 1 and "too much" in err and not graph_of(weights, "int8").exists()
    code, out, err = imltool(*command, "--check", f"made={source}", "--json")
    assert code == 0 and "F1 on 2 tampered pictures of made" in err
    exported = json.loads(out)
    assert Path(exported["file"]) == graph_of(weights, "int8") and exported["info"]["precision"] == "int8"
    plain = Localizer.load(weights, "cpu", "torch")
    pictures = [photo(1, 90, 120), photo(2, 64, 64)]
    assert Localizer.load(weights, "cpu").engine.startswith("torch "), "int8 is never used by default"
    for engine in ("auto", *INSTALLED):
        quantised = Localizer.load(weights, "cpu", engine, "int8")
        assert quantised.engine.endswith(", int8")
        for found, expected in zip(quantised.maps(pictures), plain.maps(pictures), strict=True):
            assert np.abs(found - expected).max() > 1e-4 and np.abs(found - expected).mean() < 0.1
    with pytest.raises(UsageError, match="torch does not compute in int8"):
        Localizer.load(weights, "cpu", "torch", "int8")
    graph_of(weights, "int8").rename(graph_of(weights))
    with pytest.raises(WeightsError, match="computes in int8, not in fp32"):
        Localizer.load(weights, "cpu", "onnx")


def test_int8_with_dynamic_size_is_refused(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=0)
    options = ("--precision", "int8", "--calibration", source / "tampered", "--check", f"made={source}")
    code, _, err = imltool("export", "--weights", tiny_weights, *options, "--size", "dynamic")
    assert code == 2 and "cannot be dynamic" in err and err.count("\n") == 1
    assert not graph_of(tiny_weights, "int8").exists()
