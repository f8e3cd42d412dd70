"""Exported students: the same maps with every engine, and no import of torch without need."""

from __future__ import annotations

import io
import json
import logging
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.outputs import record_of, results_in, rows_of
from helpers.pictures import make_set, photo
from safetensors.numpy import load_file

from imltool.cli.app import run
from imltool.engines.graph import GraphNetwork
from imltool.engines.graph_info import INFO_KEY, GraphInfo
from imltool.engines.registry import GRAPH_ENGINES, graph_of
from imltool.errors import UsageError, WeightsError
from imltool.export.student import export_student, trial_inputs
from imltool.inference.localizer import Localizer
from imltool.student.checkpoint import save_checkpoint
from imltool.student.settings import StudentSettings
from imltool.weights import DEFAULT_STUDENT, WEIGHTS, student_file

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

INSTALLED = [name for name, engine in GRAPH_ENGINES.items() if engine.installed]
ARCHITECTURES = {
    "rgb": StudentSettings(backbone="nano", input_size=64, tta_flips=4),
    "traces": StudentSettings(
        backbone="nano", input_size=96, traces=("copy", "jpeg", "noise"), tta_flips=2, memory="ema"
    ),
    "growing": StudentSettings(
        backbone="nano",
        input_size=64,
        max_input_size=128,
        traces=("copy", "jpeg", "noise"),
        tta_flips=2,
        tta_scales=(1.0, 1.5),
        memory="ema",
    ),
}


def released(folder: Path, architecture: str) -> Path:
    """An untrained checkpoint in float16, as released ones are."""
    made = Localizer.untrained(ARCHITECTURES[architecture], "cpu", seed=5)
    save_checkpoint(folder / "student.safetensors", made.student.state_dict(), made.header, half=True)
    return folder / "student.safetensors"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str, str]:
    """A checkpoint whose graph the command line wrote: its exit code, stdout and stderr."""
    weights = released(tmp_path_factory.mktemp("rgb"), "rgb")
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = run(["export", "--weights", str(weights), "--json"])
    return weights, code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module", params=["rgb", pytest.param("growing", marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and its graph in one folder: with fixed or dynamic input size."""
    if request.param == "rgb":
        weights, *_ = request.getfixturevalue("command")
    else:
        weights = released(tmp_path_factory.mktemp(request.param), request.param)
        export_student(weights, graph_of(weights), size="dynamic" if request.param == "traces" else None)
    return weights  # type: ignore[no-any-return]


@pytest.fixture
def alone(exported: Path, tmp_path: Path) -> Path:
    """The checkpoint without its graph."""
    return Path(shutil.copy(exported, tmp_path / exported.name))


@pytest.mark.parametrize("engine", INSTALLED)
def test_every_engine_gives_the_maps_of_torch(exported: Path, engine: str) -> None:
    localizer, plain = Localizer.load(exported, "cpu", engine), Localizer.load(exported, "cpu", "torch")
    assert localizer.engine.startswith(f"{engine} ") and plain.engine.startswith("torch ")
    pictures = [photo(1, 90, 120), photo(2, 64, 64), photo(3, 300, 200)]
    together, one_by_one = localizer.maps(pictures), [localizer.maps([picture])[0] for picture in pictures]
    for found, single, expected in zip(together, one_by_one, plain.maps(pictures), strict=True):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5
        assert np.abs(found - single).max() < 1e-5
        assert expected.std() > 1e-4, "constant maps would make the comparison meaningless"


@pytest.mark.parametrize("engine", INSTALLED)
def test_map_of_a_graph_depends_on_its_picture_only(
    exported: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps are bit-identical for any other pictures in the batch and any number of parallel streams."""
    pictures = [photo(number, 70 + 9 * number, 80) for number in range(5)]
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        localizer = Localizer.load(exported, "cpu", engine)
        found += [localizer.maps(pictures), [localizer.maps([picture])[0] for picture in pictures]]
    for maps in zip(*found, strict=True):
        assert all(np.array_equal(maps[0], other) for other in maps[1:])


def test_graph_metadata_matches_the_checkpoint(exported: Path) -> None:
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
def test_graph_next_to_the_weights_is_used(
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
def test_invalid_or_mismatched_graph_is_refused(exported: Path, alone: Path, tmp_path: Path) -> None:
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
    with pytest.raises(UsageError, match="only on the CPU"):
        Localizer.load(exported, "cuda", "onnx")
    foreign = onnx.load(graph_of(exported))
    del foreign.metadata_props[:]
    onnx.save(foreign, graph)
    for engine in INSTALLED:
        with pytest.raises(WeightsError, match="not a graph that imltool has exported"):
            Localizer.load(alone, "cpu", engine)


def test_export_command_stores_half_precision_weights_without_loss(
    command: tuple[Path, int, str, str], imltool: Imltool, tmp_path: Path
) -> None:
    weights, code, out, err = command
    report = json.loads(out)
    assert code == 0 and Path(report["file"]) == graph_of(weights) and report["info"]["precision"] == "fp16"
    assert "differ from torch's by at most" in err
    state = load_file(weights)
    kept = {tensor.name: tensor for tensor in onnx.load(graph_of(weights)).graph.initializer}
    stored = sum(onnx.numpy_helper.to_array(one).nbytes for name, one in kept.items() if name.endswith(".half"))
    assert 0 < stored <= 0.5 * sum(tensor.size * 4 for tensor in state.values())
    # one-dimensional tensors are equal in an untrained student, and equal tensors are stored once
    large = {name: tensor for name, tensor in state.items() if tensor.size >= 1024 and tensor.ndim > 1}
    for name, tensor in large.items():
        assert np.array_equal(onnx.numpy_helper.to_array(kept[f"student.{name}.half"]), tensor), name
    assert len(large) > 20
    code, _, err = imltool("export", "--weights", tmp_path / "none.safetensors")
    assert code == 1 and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["growing", "traces"], indirect=True)
def test_dynamic_graph_gives_the_maps_of_torch_at_any_size(exported: Path) -> None:
    graphs = [Localizer.load(exported, "cpu", engine) for engine in INSTALLED]
    info, plain = graphs[0].network.info, Localizer.load(exported, "cpu", "torch")  # type: ignore[attr-defined]
    side = plain.header.architecture.input_size
    assert (info.free_size, info.input_size, info.trained_size, info.precision) == ((64, 2048), side, side, "fp16")
    for count, size in ((3, (64, 128)), (1, (224, 224)), (2, (320, 192))):
        views, traces = trial_inputs(plain.header.architecture, count, size)
        expected = plain.probabilities(views, traces)
        assert expected.shape == (count, *size) and expected.std() > 5e-5
        for graph in graphs:
            assert np.abs(graph.probabilities(views, traces) - expected).max() < 5e-6, (graph.engine, size)


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["growing"], indirect=True)
def test_one_graph_handles_pictures_of_several_input_sizes(exported: Path) -> None:
    plain = Localizer.load(exported, "cpu", "torch")
    pictures = [photo(1, 90, 120), photo(2, 1900, 1000), photo(3, 64, 64)]
    assert {plain.header.architecture.side_for(picture.shape) for picture in pictures} == {64, 96}
    expected = plain.maps(pictures)
    for engine in INSTALLED:
        localizer = Localizer.load(exported, "cpu", engine)
        assert (localizer.network.info.max_input_size, localizer.network.info.trace_grid) == (128, None)  # type: ignore[attr-defined]
        for found, one in zip(localizer.maps(pictures), expected, strict=True):
            assert np.abs(found - one).max() < 5e-6


@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_graph_of_another_input_size_is_not_used(
    exported: Path, alone: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("imltool"), "propagate", True)
    graph = onnx.load(graph_of(exported))
    (entry,) = graph.metadata_props
    entry.value = json.dumps(json.loads(entry.value) | {"input_size": 128})
    onnx.save(graph, graph_of(alone))
    with pytest.raises(WeightsError, match=r"takes pictures of 128 pixels, student\.safetensors sees 64"):
        Localizer.load(alone, "cpu", "onnx")
    with caplog.at_level(logging.WARNING, "imltool"):
        assert Localizer.load(alone, "cpu").engine.startswith("torch ")
    assert "takes pictures of 128 pixels" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_graph_for_another_size_gets_its_own_file_name(exported: Path, alone: Path, imltool: Imltool) -> None:
    code, out, _ = imltool("export", "--weights", alone, "--size", 96, "--json")
    report = json.loads(out)
    assert code == 0 and Path(report["file"]).name == "student.96.onnx"
    assert (report["info"]["input_size"], report["info"]["trained_size"], report["info"]["free_size"]) == (96, 64, None)
    plain = Localizer.load(alone, "cpu")
    assert plain.engine.startswith("torch ")
    views, traces = trial_inputs(ARCHITECTURES["rgb"], 2, (96, 96))
    expected = plain.probabilities(views, traces)
    for engine in INSTALLED:
        graph = GraphNetwork(GRAPH_ENGINES[engine].load(Path(report["file"]), 1, "fp32"))
        found = Localizer(graph, plain.header, "cpu").probabilities(views, traces)
        assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--size", "large"], "neither a number of pixels nor dynamic"),
        (["--size", "225"], "size 225 is not a multiple of 32 from 64 to 2048"),
        (["--size", "32"], "size 32 is not"),
        (["--size", "2080"], "size 2080 is not"),
        (["--size", "512", "--teacher", "mobile-sam"], "1024 pixels only"),
        (["--size", "dynamic", "--teacher", "mobile-sam"], "1024 pixels only"),
    ],
)
def test_invalid_export_size_is_a_one_line_error(options: list[str], reason: str, imltool: Imltool) -> None:
    code, out, err = imltool("export", *options)
    assert code == 2 and not out and reason in err and err.count("\n") == 1


@pytest.mark.parametrize("name", [DEFAULT_STUDENT, pytest.param("boxprompt", marks=pytest.mark.slow)])
def test_bundled_students_include_their_graph(name: str) -> None:
    weights = student_file(Path(name))
    assert graph_of(weights).stat().st_size < 25e6
    for engine in INSTALLED:
        localizer = Localizer.load(weights, "cpu", engine)
        info = localizer.network.info  # type: ignore[attr-defined]
        assert info.weights_sha256 == WEIGHTS[name].sha256 and info.precision == "fp16" and info.max_difference < 1e-5
        # a student with growing input size has a dynamic graph
        grows = localizer.header.architecture.max_input_size is not None
        assert info.takes(localizer.header.input_size) and info.takes(256) is grows
        views, traces = trial_inputs(localizer.header.architecture, 2)
        expected = Localizer.load(weights, "cpu", "torch").probabilities(views, traces)
        assert np.abs(localizer.probabilities(views, traces) - expected).max() < 1e-5


def test_scan_with_a_graph_does_not_import_torch(tmp_path: Path) -> None:
    source = make_set(tmp_path / "set", tampered=1, authentic=1)
    program = (
        "import sys; from imltool.cli.app import run; "
        f"code = run(['scan', {str(source)!r}, '--out', {str(tmp_path / 'out')!r}, '--engine', 'onnx', "
        "'--weights', 'boxprompt', '--device', 'cpu', '-q']); print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["0", "False"], done.stderr


def test_scans_of_two_engines_agree_and_are_not_mixed(tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    rows = {}
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        assert imltool("scan", source, "--out", out, "--engine", engine, "--weights", "boxprompt", "-q")[0] == 0
        rows[engine] = rows_of(out)
        assert record_of(out)["model"]["engine"].startswith(f"{engine} ")
    for one, other in zip(rows["torch"], rows["onnx"], strict=True):
        assert one["verdict"] == other["verdict"] and one["score"] == pytest.approx(other["score"], abs=1e-4)
    code, _, err = imltool(
        "scan", source, "--out", tmp_path / "torch", "--engine", "onnx", "--weights", "boxprompt", "-q"
    )
    assert code == 2 and "engine" in err and err.count("\n") == 1


def test_evaluation_metrics_agree_between_engines(tmp_path: Path, imltool: Imltool) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    metrics = {}
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        code, _, err = imltool(
            "eval", "--data", f"made={source}", "--out", out, "--engine", engine, "--weights", "boxprompt", "-q"
        )
        assert code == 0, err
        results = results_in(out)
        assert results["checkpoint"]["engine"].startswith(f"{engine} ")
        metrics[engine] = results["sets"]["made"]
    for name in ("pixel_auc", "pixel_iou", "fp_area"):
        assert metrics["torch"][name] == pytest.approx(metrics["onnx"][name], abs=1e-3), name


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.slow
@pytest.mark.parametrize("exported", ["growing"], indirect=True)
def test_bfloat16_maps_are_close_and_only_used_on_request(exported: Path) -> None:
    views, traces = trial_inputs(Localizer.load(exported, "cpu").header.architecture, 2)
    for engine in ("torch", *(name for name in INSTALLED if "bf16" in GRAPH_ENGINES[name].computes)):
        plain = Localizer.load(exported, "cpu", engine)
        fast = Localizer.load(exported, "cpu", engine, "bf16")
        assert (plain.network.compute, fast.network.compute) == ("fp32", "bf16")
        assert fast.engine == f"{plain.engine}, bf16"
        difference = np.abs(fast.probabilities(views, traces) - plain.probabilities(views, traces))
        assert 1e-6 < difference.max() < 0.02, engine  # untrained maps stay near one half, so the bound is tight


@pytest.mark.slow
@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_export_check_compares_f1_with_torch(exported: Path, alone: Path, imltool: Imltool, tmp_path: Path) -> None:
    source = make_set(tmp_path / "set", tampered=2, authentic=1)
    code, out, err = imltool("export", "--weights", alone, "--check", f"made={source}", "--json")
    (check,) = json.loads(out)["info"]["f1_checks"]
    assert code == 0 and check["name"] == "made" and check["pictures"] == 2
    measured = ("eval", "--weights", alone, "--data", f"made={source}", "--out", tmp_path / "eval", "-q", "--engine")
    assert imltool(*measured, "torch")[0] == 0
    expected = results_in(tmp_path / "eval")["sets"]["made"]["pixel_f1"]
    assert check["torch"] == pytest.approx(expected, abs=1e-6) and check["f1"] == pytest.approx(expected, abs=5e-3)
    code, _, err = imltool("export", "--weights", alone, "--check", f"made={make_set(tmp_path / 'clean', 0, 1)}")
    assert code == 1 and "no tampered picture" in err and err.count("\n") == 1


@pytest.mark.parametrize("exported", ["rgb"], indirect=True)
def test_torch_engine_on_cpu_gives_the_plain_student(exported: Path) -> None:
    plain = Localizer.load(exported, torch.device("cpu"), "torch")
    assert plain.device == "cpu" and plain.student.training is False
    with pytest.raises(TypeError, match="has no module"):
        _ = Localizer.load(exported, "cpu", INSTALLED[0]).student


@pytest.mark.parametrize("engine", INSTALLED)
def test_signal_is_handled_after_another_thread_released_a_student(engine: str) -> None:
    # faulthandler installs a signal stack for Python's handlers: it must still be mapped
    program = """
import faulthandler, gc, os, signal, sys, threading
from pathlib import Path
faulthandler.enable()
from imltool.inference.localizer import Localizer
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
