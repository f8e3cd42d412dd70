"""The `imltool eval` command on small generated data sets and a tiny untrained checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import CONSTANT
from helpers.outputs import csv_in, method_in, results_in, sets_in
from helpers.pictures import noise_set
from sklearn.metrics import f1_score

from imltool.cli.app import run
from imltool.data.folder import read_folder
from imltool.evaluation.methods import BASELINES
from imltool.evaluation.results import PIXEL_METRICS
from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.pictures.images import read_mask, read_rgb, write_mask
from imltool.student.header import CheckpointHeader, TrainingSet
from imltool.student.settings import StudentSettings
from imltool.versions import installed_versions

KEYS = (
    *("role", "n_tampered", "n_authentic", "n_failed", "n_seen", "list"),
    *("pixel_f1", "pixel_f1_calibrated", "pixel_f1_pooled", "pixel_f1_oracle"),
    *("pixel_iou", "pixel_mcc", "pixel_auc", "pixel_ap", "image_auc", "image_fpr", "image_tpr", "fp_area"),
    "image_tpr_at_5fpr",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a checkpoint of random weights with the header fields given."""
    folder = tmp_path_factory.mktemp("weights")
    architecture = StudentSettings(backbone="nano", input_size=64)
    localizer = Localizer.untrained(architecture, torch.device("cpu"), 1)

    def write(**fields: Any) -> Path:
        localizer.header = CheckpointHeader(architecture=architecture, **fields)
        path = folder / f"{hashlib.sha256(repr(fields).encode()).hexdigest()[:8]}.safetensors"
        localizer.save(path)
        return path

    return write


def test_constant_baseline_metrics_follow_from_mask_areas(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["eval", *CONSTANT, "--data", f"x={noise_set(tmp_path / 'x')}", "--out", str(out)]) == 0
    results = results_in(out)
    assert results["checkpoint"] is None
    assert results["complete"] is True
    block = method_in(out, "constant")
    assert (block["kind"], block["score_threshold"], block["maps"]) == ("baseline", 0.5, None)
    assert [one["label"] for one in results["methods"]] == ["constant"]
    assert (results["sets"], results["mean"]) == (block["sets"], block["mean"]), (
        "the top level repeats the first method"
    )
    metrics = block["sets"]["x"]
    assert set(KEYS) <= metrics.keys()
    areas = [200 / 2000, 400 / 2000, 600 / 2000]
    f1 = np.mean([2 * area / (1 + area) for area in areas])
    assert metrics["pixel_f1"] == pytest.approx(f1)
    assert metrics["pixel_f1_oracle"] == pytest.approx(f1)
    assert metrics["pixel_f1_pooled"] == pytest.approx(2 * 0.2 / 1.2)
    assert metrics["pixel_iou"] == metrics["pixel_ap"] == pytest.approx(0.2)
    assert (metrics["pixel_auc"], metrics["image_auc"], metrics["pixel_mcc"]) == (0.5, 0.5, 0.0)
    assert (metrics["fp_area"], metrics["image_fpr"], metrics["image_tpr"]) == (1.0, 1.0, 1.0)
    assert metrics["image_tpr_at_5fpr"] == 0.0, "only a threshold that flags nothing keeps the FPR at or below 5 %"
    assert "image TPR at 5 % FPR" in (out / "table.md").read_text(encoding="utf-8")
    assert metrics["pixel_f1_calibrated"] is None
    assert (metrics["role"], metrics["n_tampered"], metrics["n_authentic"], metrics["n_failed"]) == ("ood", 3, 2, 0)
    low, high = metrics["pixel_f1_ci"]
    assert low < metrics["pixel_f1"] < high
    assert block["mean"]["ood"] == {"sets": ["x"], **{key: metrics[key] for key in PIXEL_METRICS}}
    assert block["mean"]["ind"] == {"sets": [], **dict.fromkeys(PIXEL_METRICS)}


def test_oracle_f1_is_the_best_single_threshold_of_the_set(tmp_path: Path) -> None:
    root, out = noise_set(tmp_path / "x"), tmp_path / "out"
    assert run(["eval", "--weights", "none", "--baseline", "ela", "--data", f"x={root}", "--out", str(out)]) == 0
    metrics = sets_in(out, "ela")["x"]
    samples = [sample for sample in read_folder(root).samples if sample.mask]
    maps = BASELINES["ela"](None, torch.device("cpu"), 0)([read_rgb(sample.image) for sample in samples], None)
    masks = [read_mask(sample.mask) for sample in samples if sample.mask]

    def mean_f1(threshold: float) -> float:
        pairs = zip(masks, maps, strict=True)
        return float(np.mean([f1_score(mask.ravel(), (values > threshold).ravel()) for mask, values in pairs]))

    assert metrics["pixel_f1"] == pytest.approx(mean_f1(0.5))
    assert metrics["pixel_f1_oracle"] == pytest.approx(mean_f1(metrics["pixel_f1_oracle_threshold"]))
    assert metrics["pixel_f1_oracle"] >= max(mean_f1(t) for t in np.linspace(0.05, 0.95, 19)) - 0.01


def test_checkpoint_metrics_roles_and_files(
    tmp_path: Path, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    seen, fresh = noise_set(tmp_path / "a", seed=1), noise_set(tmp_path / "b", seed=2)
    digest = sha256_file(seen / "tampered" / "1.png")
    weights = checkpoint(
        name="tiny",
        pixel_threshold=0.25,
        score_threshold=0.75,
        training_sets=(TrainingSet(name="My Photos", files=(digest,)),),
    )
    out = tmp_path / "out"
    arguments = ["eval", "--weights", str(weights), "--data", f"my_photos={seen}", "--data", f"fresh={fresh}"]
    assert run([*arguments, "--ood", "--baseline", "untrained", "--out", str(out), "--json", "--device", "cpu"]) == 0
    streams = capsys.readouterr()
    results = results_in(out)
    assert json.loads(streams.out) == results
    assert "my_photos" in streams.err
    assert "1 picture was trained on" in streams.err
    described = results["checkpoint"]
    assert (described["name"], described["threshold"], described["score_threshold"]) == ("tiny", 0.25, 0.75)
    assert (described["sha256"], described["input_size"]) == (sha256_file(weights), 64)
    sets = results["sets"]
    assert (sets["my_photos"]["role"], sets["my_photos"]["n_seen"]) == ("ind", 1)
    assert (sets["fresh"]["role"], sets["fresh"]["n_seen"]) == ("ood", 0)
    assert results["mean"]["ind"]["pixel_f1"] == sets["my_photos"]["pixel_f1"]
    assert results["mean"]["ood"]["pixel_f1"] == sets["fresh"]["pixel_f1"]
    assert sets["fresh"]["pixel_f1_calibrated"] is not None
    assert results["command"].startswith("imltool eval --weights")
    assert results["versions"] == installed_versions()

    rows = [row for row in csv_in(out) if row["set"] == "fresh" and row["method"] == "tiny"]
    assert [row["image"] for row in rows] == [sample.name for sample in read_folder(fresh).samples]
    f1s = [float(row["f1"]) for row in rows if row["tampered"] == "1"]
    assert np.mean(f1s) == pytest.approx(sets["fresh"]["pixel_f1"], abs=1e-5)
    assert all(sum(int(row[part]) for part in ("tp", "fp", "fn", "tn")) == 2000 for row in rows if row["f1"])
    table = (out / "table.md").read_text(encoding="utf-8")
    assert f"{sets['fresh']['pixel_f1']:.3f}" in table
    assert "untrained" in table


def test_renamed_training_set_is_not_accepted_as_ood(
    tmp_path: Path, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = noise_set(tmp_path / "x", seed=3), tmp_path / "out"
    digest = sha256_file(root / "authentic" / "a0.png")
    weights = checkpoint(name="tiny", training_sets=(TrainingSet(name="secret", files=(digest,)),))
    arguments = ["eval", "--weights", str(weights), "--data", f"x={root}", "--out", str(out), "--device", "cpu"]
    assert run([*arguments, "--ood"]) == 1
    assert "secret" in capsys.readouterr().err
    assert not (out / "results.json").exists()
    assert run(arguments) == 0
    assert "1 picture was trained on (secret)" in capsys.readouterr().err
    assert results_in(out)["sets"]["x"]["role"] == "ind"


def test_validation_set_is_not_accepted_as_ood(
    tmp_path: Path, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = noise_set(tmp_path / "x", seed=4), tmp_path / "out"
    digest = sha256_file(root / "tampered" / "0.png")
    weights = checkpoint(
        name="tiny",
        training_sets=(TrainingSet(name="mine", files=("0" * 64,)),),
        validation_sets=(TrainingSet(name="held", files=(digest,)),),
    )
    arguments = ["eval", "--weights", str(weights), "--data", f"x={root}", "--out", str(out), "--device", "cpu"]
    assert run([*arguments, "--ood"]) == 1
    assert "1 picture of it was validated on (held)" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    assert run(arguments) == 0
    assert "1 picture was validated on (held)" in " ".join(capsys.readouterr().err.split())
    results = results_in(out)
    assert (results["sets"]["x"]["role"], results["sets"]["x"]["n_seen"]) == ("ind", 1)
    assert results["checkpoint"]["validation_sets"] == ["held"]


def test_checkpoint_named_like_a_baseline_is_kept_in_the_table(
    tmp_path: Path, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--weights", str(checkpoint(name="constant")), "--data", f"x={noise_set(tmp_path / 'x')}"]
    assert run(["eval", *arguments, "--baseline", "constant", "--out", str(out), "--device", "cpu"]) == 0
    assert {row["method"] for row in csv_in(out)} == {"constant (checkpoint)", "constant"}
    table = (out / "table.md").read_text(encoding="utf-8")
    assert table.count("| OOD | constant |") == table.count("| OOD | constant (checkpoint) |") == 2, (
        "one row for pixels, one for pictures"
    )
    assert "constant (checkpoint)" in capsys.readouterr().out


def test_piped_table_is_not_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a_data_set_with_a_rather_long_name"
    root = noise_set(tmp_path / "x")
    assert run(["eval", *CONSTANT, "--data", f"{name}={root}", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if name in line]
    assert "…" not in out
    assert line.split()[-1] == "1.000"
    assert "FP area" in out


def test_faulty_files_are_failed_rows_and_the_rest_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = noise_set(tmp_path / "x"), tmp_path / "out"
    write_mask(root / "masks" / "0.png", np.zeros((4, 4), dtype=np.bool_))
    (root / "authentic" / "a0.png").write_bytes(b"")
    arguments = ["eval", *CONSTANT, "--baseline", "ela", "--data", f"x={root}", "--out", str(out)]
    arguments += ["--max-left-out", "0.4"]
    assert run(arguments) == 3
    assert "2 pictures could not be scored, the first: x/tampered/0.png" in capsys.readouterr().err
    metrics = sets_in(out, "ela")["x"]
    assert (metrics["n_tampered"], metrics["n_authentic"], metrics["n_failed"]) == (2, 1, 2)
    failed = {row["image"]: row["reason"] for row in csv_in(out) if row["status"] == "failed"}
    assert failed.keys() == {"tampered/0.png", "authentic/a0.png"}
    assert "4x4" in failed["tampered/0.png"]
    assert "empty" in failed["authentic/a0.png"]


@pytest.mark.parametrize(("tampered", "authentic"), [(0, 2), (2, 0)])
def test_undefined_metrics_are_null(tmp_path: Path, tampered: int, authentic: int) -> None:
    out = tmp_path / "out"
    root = noise_set(tmp_path / "x", tampered, authentic)
    assert run(["eval", *CONSTANT, "--data", f"x={root}", "--out", str(out)]) == 0
    metrics = sets_in(out, "constant")["x"]
    absent = {key for key in KEYS if metrics[key] is None} - {"pixel_f1_calibrated", "list"}
    of_tampered = {key for key in KEYS if key.startswith("pixel_")} | {"image_tpr"}
    of_both = {"image_auc", "image_tpr_at_5fpr"}
    expected = {*of_both, "image_fpr", "fp_area"} if tampered else {*of_both, *of_tampered}
    assert absent == expected - {"pixel_f1_calibrated"}


def test_unusable_set_is_reported_and_other_sets_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, out = noise_set(tmp_path / "good"), noise_set(tmp_path / "bad", 1, 0), tmp_path / "out"
    (bad / "tampered" / "0.png").write_bytes(b"no picture")
    arguments = ["eval", *CONSTANT, "--data", f"bad={bad}", "--data", f"good={good}", "--out", str(out)]
    assert run(arguments) == 1 and "bad: 1 of 1 pictures are left out" in capsys.readouterr().err
    arguments += ["--max-left-out", "1"]
    assert run(arguments) == 3
    assert "constant has no metrics on bad: " in capsys.readouterr().err
    results = results_in(out)
    assert results["complete"] is True
    assert sets_in(out, "constant").keys() == {"good"}
    assert results["unusable"]["bad"]["constant"].endswith("not a picture format known here")
    assert len(csv_in(out)) == 6
    assert "bad: constant has no metrics" in (out / "table.md").read_text(encoding="utf-8")
    assert run(["eval", *CONSTANT, "--data", f"bad={bad}", "--out", str(tmp_path / "none")]) == 1
    assert "bad: 1 of 1 pictures are left out" in capsys.readouterr().err


def test_empty_truth_mask_is_a_failed_picture(tmp_path: Path) -> None:
    root, out = noise_set(tmp_path / "x"), tmp_path / "out"
    write_mask(root / "masks" / "1.png", np.zeros((40, 50), dtype=np.bool_))
    assert run(["eval", *CONSTANT, "--data", f"x={root}", "--out", str(out), "--max-left-out", "0.2"]) == 3
    metrics = sets_in(out, "constant")["x"]
    assert (metrics["n_tampered"], metrics["n_authentic"], metrics["n_failed"]) == (2, 2, 1)
    assert metrics["pixel_iou"] == pytest.approx((0.1 + 0.3) / 2)
    (failed,) = [row for row in csv_in(out) if row["status"] == "failed"]
    assert failed["image"] == "tampered/1.png"
    assert "mask marks nothing" in failed["reason"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the second is written by some editors
def test_list_selects_only_the_named_pictures(tmp_path: Path, encoding: str) -> None:
    root, out, names = noise_set(tmp_path / "x"), tmp_path / "out", tmp_path / "val.txt"
    names.write_text("# held out\ntampered/1.png\n\nauthentic/a0.png\n", encoding=encoding)
    assert run(["eval", *CONSTANT, "--data", f"x={root}", "--list", f"x={names}", "--out", str(out)]) == 0
    metrics = sets_in(out, "constant")["x"]
    assert (metrics["n_tampered"], metrics["n_authentic"]) == (1, 1)
    assert metrics["pixel_iou"] == pytest.approx(0.2)
    assert metrics["list"] == {"name": "val.txt", "sha256": sha256_file(names)}
    assert [row["image"] for row in csv_in(out)] == ["tampered/1.png", "authentic/a0.png"]


@pytest.mark.parametrize(
    ("text", "option", "code", "message"),
    [
        ("tampered/1.png\ntampered/9.png\n", "x={}", 1, "tampered/9.png"),
        ("# nothing\n", "x={}", 1, "names no picture"),
        ("tampered/1.png\n", "y={}", 2, "the sets are x"),
        ("tampered/1.png\n", "{}", 2, "NAME=FILE"),
        (None, "x={}", 1, "cannot be read"),
    ],
)
def test_invalid_lists_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, option: str, code: int, message: str
) -> None:
    names = tmp_path / "val.txt"
    if text is not None:
        names.write_text(text, encoding="utf-8")
    arguments = ["eval", *CONSTANT, "--data", f"x={noise_set(tmp_path / 'x')}", "--list", option.format(names)]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err


def test_default_data_are_the_samples_and_default_output_is_imltool_eval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise_set(tmp_path / "sample_images" / "one")
    noise_set(tmp_path / "sample_images" / "two", 0, 1)
    (tmp_path / "sample_images" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["eval", "--ood", *CONSTANT]) == 0
    assert sets_in(tmp_path / "imltool-eval", "constant").keys() == {"one", "two"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--weights", "none"], 2, "nothing to measure"),
        ([*CONSTANT, "--baseline", "magic"], 2, "'magic'"),
        ([*CONSTANT, "--data", "x="], 2, "NAME=DIR"),
        ([*CONSTANT, "--data", "x=nowhere"], 1, "nowhere"),
        ([*CONSTANT, "--samples", "nowhere"], 1, "nowhere"),
        ([*CONSTANT, "--device", "abacus"], 2, "abacus"),
        (["--weights", "nowhere.safetensors"], 1, "nowhere.safetensors"),
    ],
)
def test_invalid_arguments_are_a_one_line_error_with_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    code: int,
    message: str,
) -> None:
    noise_set(tmp_path / "sample_images" / "one")
    monkeypatch.chdir(tmp_path)
    assert run(["eval", *arguments]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert len(streams.err.strip().splitlines()) == 1
