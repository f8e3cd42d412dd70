"""Exported students: the same maps by every engine, and no torch where none is needed."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LONG, make_set, photo

from imltool.device import require_compute
from imltool.engines.export import export_student, trial_views
from imltool.engines.graph import INFO_KEY, GraphInfo, GraphNetwork
from imltool.engines.registry import GRAPH_ENGINES, graph_of
from imltool.errors import UsageError, WeightsError
from imltool.student.checkpoint import save_checkpoint
from imltool.student.localizer import Localizer
from imltool.student.settings import StudentSettings
from imltool.weights import WEIGHTS, student_file

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

INSTALLED = [name for name, engine in GRAPH_ENGINES.items() if engine.installed]
ARCHITECTURES = {
    "rgb": StudentSettings(input_size=64, mirrors=2),
    "traces": StudentSettings(input_size=96, traces=("copy", "jpeg", "noise"), mirrors=4, memory="ema"),
}
Imltool = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", params=[*ARCHITECTURES])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, float16 as released ones are, with its graph in float32 beside it."""
    weights = tmp_path_factory.mktemp(request.param) / "student.safetensors"
    made = Localizer.untrained(ARCHITECTURES[request.param], "cpu", seed=5)
    save_checkpoint(weights, made.student.state_dict(), made.header, half=True)
    export_student(weights, graph_of(weights))
    return weights


@pytest.fixture
def alone(exported: Path, tmp_path: Path) -> Path:
    """The checkpoint without its graph."""
    return Path(shutil.copy(exported, tmp_path / exported.name))


@pytest.mark.parametrize("engine", INSTALLED)
def test_every_engine_makes_torchs_maps(exported: Path, engine: str) -> None:
    localizer, plain = Localizer.load(exported, "cpu", engine), Localizer.load(exported, "cpu", "torch")
    assert localizer.engine.startswith(f"{engine} ") and plain.engine.startswith("torch ")
    pictures = [photo(1, 90, 120), photo(2, 64, 64), photo(3, 300, 200)]
    together, one_by_one = localizer.maps(pictures), [localizer.maps([picture])[0] for picture in pictures]
    for found, single, expected in zip(together, one_by_one, plain.maps(pictures), strict=True):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5
        assert np.abs(found - single).max() < 1e-5
        assert expected.std() > 1e-4, "maps of one value compare nothing"


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_graphs_map_depends_on_its_picture_alone(
    exported: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the pictures beside it, nor on how many are seen side by side: not in one bit."""
    pictures = [photo(number, 70 + 9 * number, 80) for number in range(5)]
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        localizer = Localizer.load(exported, "cpu", engine)
        found += [localizer.maps(pictures), [localizer.maps([picture])[0] for picture in pictures]]
    for maps in zip(*found, strict=True):
        assert all(np.array_equal(maps[0], other) for other in maps[1:])


def test_the_graph_says_what_it_is(exported: Path) -> None:
    model = onnx.load(graph_of(exported))
    onnx.checker.check_model(model)
    info = GraphInfo.model_validate_json({prop.key: prop.value for prop in model.metadata_props}[INFO_KEY])
    header = Localizer.load(exported, "cpu").header
    assert info.opset == model.opset_import[0].version
    assert (info.mean, info.std, info.input_size) == (header.mean, header.std, header.input_size)
    assert (info.pixel_threshold, info.score_threshold) == (header.pixel_threshold, header.score_threshold)
    assert info.max_difference < 1e-5 and info.mean_difference <= info.max_difference and info.checked > 0
    names = [entry.name for entry in model.graph.input]
    assert names == (["pixels", "traces"] if header.architecture.traces else ["pixels"])


@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_the_graph_beside_the_weights_is_taken(
    exported: Path, alone: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("imltool"), "propagate", True)
    assert Localizer.load(exported, "cpu").engine.startswith(f"{INSTALLED[0]} ")
    assert Localizer.load(alone, "cpu").engine.startswith("torch ")
    graph_of(alone).write_bytes(graph_of(exported).read_bytes()[:-1000])
    with caplog.at_level(logging.WARNING, "imltool"):
        assert Localizer.load(alone, "cpu").engine.startswith("torch ")
    assert "torch runs student.safetensors instead" in caplog.text


@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_a_graph_that_does_not_fit_is_refused(exported: Path, alone: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has no exported graph"):
        Localizer.load(alone, "cpu", "onnx")
    graph = graph_of(alone)
    graph.write_bytes(graph_of(exported).read_bytes()[:-1000])
    for engine in INSTALLED:
        with pytest.raises(WeightsError, match="graph"):
            Localizer.load(alone, "cpu", engine)
    shutil.copy(graph_of(exported), graph)
    Localizer.untrained(StudentSettings(input_size=64), "cpu", seed=6).save(alone)
    for engine in INSTALLED:
        with pytest.raises(WeightsError, match="other weights"):
            Localizer.load(alone, "cpu", engine)
    with pytest.raises(UsageError, match="unknown engine"):
        Localizer.load(exported, "cpu", "tensorflow")
    with pytest.raises(UsageError, match="CPU alone"):
        Localizer.load(exported, "cuda", "onnx")
    foreign = onnx.load(graph_of(exported))
    del foreign.metadata_props[:]
    onnx.save(foreign, graph)
    for engine in INSTALLED:
        with pytest.raises(WeightsError, match="not a graph that imltool has exported"):
            Localizer.load(alone, "cpu", engine)


@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_export_from_the_command_line_halves_the_file_and_loses_nothing(
    exported: Path, alone: Path, imltool: Imltool, tmp_path: Path
) -> None:
    code, out, err = imltool("export", "--weights", alone, "--json")
    told = json.loads(out)
    assert code == 0 and Path(told["file"]) == graph_of(alone) and told["info"]["precision"] == "fp16"
    assert "differ from torch's by at most" in err
    assert graph_of(alone).stat().st_size < 0.6 * graph_of(exported).stat().st_size
    views, traces = trial_views(ARCHITECTURES["rgb"], 2)
    half, whole = (GraphNetwork(GRAPH_ENGINES["onnx"].open(graph_of(path))) for path in (alone, exported))
    assert whole.info.precision == "fp32"
    assert np.abs(half.probabilities(views, traces) - whole.probabilities(views, traces)).max() < 1e-6
    code, _, err = imltool("export", "--weights", tmp_path / "none.safetensors")
    assert code == 1 and err.count("\n") == 1


@pytest.mark.parametrize("name", [name for name, known in WEIGHTS.items() if known.kind == "student"])
def test_students_ship_with_their_graph(name: str) -> None:
    weights = student_file(Path(name))
    assert graph_of(weights).stat().st_size < 25e6
    for engine in INSTALLED:
        localizer = Localizer.load(weights, "cpu", engine)
        info = localizer.network.info
        assert info.weights_sha256 == WEIGHTS[name].sha256 and info.precision == "fp16" and info.max_difference < 1e-5
        views, traces = trial_views(localizer.header.architecture, 2)
        expected = Localizer.load(weights, "cpu", "torch").network.probabilities(views, traces)
        assert np.abs(localizer.network.probabilities(views, traces) - expected).max() < 1e-5


def test_a_scan_by_a_graph_starts_without_torch(tmp_path: Path) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=1)
    program = (
        "import sys; from imltool.cli.app import run; "
        f"code = run(['scan', {str(source)!r}, '--out', {str(tmp_path / 'out')!r}, '--engine', 'onnx', "
        "'--weights', 'boxprompt', '--device', 'cpu', '-q']); print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["0", "False"], done.stderr


def test_scans_by_two_engines_agree_and_are_told_apart(tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    rows = {}
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        assert imltool("scan", source, "--out", out, "--engine", engine, "--weights", "boxprompt", "-q")[0] == 0
        rows[engine] = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert json.loads((out / "run.json").read_text())["model"]["engine"].startswith(f"{engine} ")
    for one, other in zip(rows["torch"], rows["onnx"], strict=True):
        assert one["verdict"] == other["verdict"] and one["score"] == pytest.approx(other["score"], abs=1e-4)
    code, _, err = imltool(
        "scan", source, "--out", tmp_path / "torch", "--engine", "onnx", "--weights", "boxprompt", "-q"
    )
    assert code == 2 and "engine" in err and err.count("\n") == 1


def test_evaluation_by_an_engine(tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    figures = {}
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        code, _, err = imltool(
            "eval", "--data", f"made={source}", "--out", out, "--engine", engine, "--weights", "boxprompt", "-q"
        )
        assert code == 0, err
        results = json.loads((out / "results.json").read_text())
        assert results["checkpoint"]["engine"].startswith(f"{engine} ")
        figures[engine] = results["sets"]["made"]
    for name in ("pixel_auc", "pixel_iou", "fp_area"):
        assert figures["torch"][name] == pytest.approx(figures["onnx"][name], abs=1e-3), name


@pytest.fixture
def bfloat16() -> None:
    """Skips where the processor does not compute in it."""
    try:
        require_compute("bf16", "cpu")
    except UsageError as refused:
        pytest.skip(refused.message)


@pytest.mark.usefixtures("bfloat16")
def test_bfloat16_gives_nearly_the_same_maps_and_only_where_it_was_asked_for(exported: Path) -> None:
    views, traces = trial_views(Localizer.load(exported, "cpu").header.architecture, 2)
    for engine in ("torch", *(name for name in INSTALLED if GRAPH_ENGINES[name].open_bf16)):
        plain = Localizer.load(exported, "cpu", engine)
        fast = Localizer.load(exported, "cpu", engine, "bf16")
        assert (plain.network.compute, fast.network.compute) == ("fp32", "bf16")
        assert fast.engine == f"{plain.engine}, bf16"
        difference = np.abs(fast.network.probabilities(views, traces) - plain.network.probabilities(views, traces))
        assert 1e-6 < difference.max() < 0.02, engine  # untrained maps stay near one half, so the bound is tight


@pytest.mark.usefixtures("bfloat16")
def test_what_was_computed_in_bfloat16_says_so_and_mixes_with_nothing_else(tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=1)
    scan = ("scan", source, "--out", tmp_path / "scan", "--weights", "boxprompt", "-q")
    assert imltool(*scan, "--compute", "bf16")[0] == 0
    told = json.loads((tmp_path / "scan" / "run.json").read_text())
    assert told["model"]["compute"] == "bf16" and told["parameters"]["compute"] == "bf16"
    assert told["model"]["engine"].endswith(", bf16")
    code, _, err = imltool(*scan)
    assert code == 2 and "compute" in err and err.count("\n") == 1
    measure = ("eval", "--data", f"made={source}", "--out", tmp_path / "eval", "--weights", "boxprompt", "-q")
    assert imltool(*measure, "--compute", "bf16")[0] == 0
    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert results["checkpoint"]["compute"] == "bf16" and "--compute bf16" in results["command"]
    code, _, err = imltool(*measure)
    assert code == 2 and "compute" in err and err.count("\n") == 1


@pytest.mark.parametrize("flags", ["fpu avx2 avx512f avx512_vnni", None])
def test_bfloat16_is_refused_where_the_processor_has_none(
    flags: str | None, tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "cpuinfo"
    if flags is not None:
        facts.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr("imltool.device._CPU_FACTS", facts)
    monkeypatch.setattr("sys.platform", "linux")
    source = make_set(tmp_path / "set", tampered=1, authentic=0)
    code, _, err = imltool("scan", source, "--out", tmp_path / "out", "--compute", "bf16", "--device", "cpu")
    assert code == 2 and "bfloat16" in err and "leave out --compute" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("bfloat16")
def test_an_engine_without_bfloat16_is_refused(imltool: Imltool, tmp_path: Path) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=0)
    code, _, err = imltool(
        "scan", source, "--out", tmp_path / "out", "--engine", "onnx", "--compute", "bf16", "--device", "cpu"
    )
    assert code == 2 and "engine onnx does not compute in bf16" in err


@LONG
def test_a_graph_in_int8_is_measured_before_it_is_kept_and_used_when_asked_for(
    tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    weights = Path(shutil.copy(student_file(Path("boxprompt")), tmp_path / "student.safetensors"))
    command = ("export", "--weights", weights, "--precision", "int8", "--calibration", source / "tampered")
    code, _, err = imltool(*command)
    assert code == 2 and "--check NAME=DIR" in err and err.count("\n") == 1
    with monkeypatch.context() as strict:
        strict.setattr("imltool.engines.export.MAX_F1_LOSS", -2.0)
        code, _, err = imltool(*command, "--check", f"made={source}")
    assert code == 1 and "too much" in err and not graph_of(weights, "int8").exists()
    code, out, err = imltool(*command, "--check", f"made={source}", "--json")
    assert code == 0 and "F1 on 2 tampered pictures of made" in err
    told = json.loads(out)
    assert Path(told["file"]) == graph_of(weights, "int8") and told["info"]["precision"] == "int8"
    plain = Localizer.load(weights, "cpu", "torch")
    pictures = [photo(1, 90, 120), photo(2, 64, 64)]
    assert Localizer.load(weights, "cpu").engine.startswith("torch "), "int8 is never taken unasked"
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


@LONG
@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_f1_is_compared_with_torchs_on_a_labelled_set(
    exported: Path, alone: Path, imltool: Imltool, tmp_path: Path
) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    code, out, err = imltool("export", "--weights", alone, "--check", f"made={source}", "--json")
    (check,) = json.loads(out)["info"]["f1_checks"]
    assert code == 0 and check["name"] == "made" and check["pictures"] == 2
    measured = ("eval", "--weights", alone, "--data", f"made={source}", "--out", tmp_path / "eval", "-q", "--engine")
    assert imltool(*measured, "torch")[0] == 0
    expected = json.loads((tmp_path / "eval" / "results.json").read_text())["sets"]["made"]["pixel_f1"]
    assert check["torch"] == pytest.approx(expected, abs=1e-6) and check["f1"] == pytest.approx(expected, abs=5e-3)
    code, _, err = imltool("export", "--weights", alone, "--check", f"made={make_set(tmp_path / 'clean', 0, 1)}")
    assert code == 1 and "no tampered picture" in err and err.count("\n") == 1


@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_torch_on_a_cpu_is_the_reference(exported: Path) -> None:
    plain = Localizer.load(exported, torch.device("cpu"), "torch")
    assert plain.device == "cpu" and plain.student.training is False
    with pytest.raises(TypeError, match="has no module"):
        _ = Localizer.load(exported, "cpu", INSTALLED[0]).student


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_signal_is_survived_after_a_student_was_given_up_by_another_thread(engine: str) -> None:
    # a handler on the stack for signals, as faulthandler makes Python's: it must still be mapped
    program = """
import faulthandler, gc, os, signal, sys, threading
from pathlib import Path
faulthandler.enable()
from imltool.student.localizer import Localizer
held = [Localizer.load(Path("boxprompt"), "cpu", sys.argv[1])]
giver = threading.Thread(target=lambda: (held.clear(), gc.collect()))
giver.start()
giver.join()
signal.signal(signal.SIGCHLD, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGCHLD)
"""
    command = [sys.executable, "-c", program, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
