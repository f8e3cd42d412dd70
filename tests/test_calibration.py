"""Calibration: thresholds come from a separate split and are stored in the checkpoint."""

from __future__ import annotations

import json
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.outputs import parsed, results_in
from helpers.pictures import make_set, photo
from PIL import Image
from safetensors.torch import load_file

from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.pictures.images import read_mask, read_rgb
from imltool.student.checkpoint import load_checkpoint, save_checkpoint
from imltool.student.header import CheckpointHeader, read_header
from imltool.student.operating_points import operating_point
from imltool.student.settings import StudentSettings
from imltool.training.settings import DataSettings, SourceSettings
from imltool.training.validation import Validation

CPU = ("--device", "cpu", "-q")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run of a student with traces, validated on one set and calibrated on another."""
    make_set(tmp_path / "data/set", tampered=3, authentic=2)
    make_set(tmp_path / "data/held", tampered=2, authentic=2, seed=50)
    make_set(tmp_path / "data/kept", tampered=3, authentic=20, seed=70)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
name: tiny
init: random
workers: 0
student: {{backbone: nano, input_size: 64, traces: [copy, jpeg, noise]}}
data:
  root: {tmp_path / "data"}
  cache: {tmp_path / "cache"}
  train:
    - {{name: set, kind: masks, images: set/tampered, masks: set/masks, variants: 2}}
    - {{name: set, kind: authentic, images: set/authentic, variants: 2}}
  validation:
    - {{name: held, kind: masks, images: held/tampered, masks: held/masks}}
    - {{name: held, kind: authentic, images: held/authentic}}
  calibration:
    - {{name: kept, kind: masks, images: kept/tampered, masks: kept/masks}}
    - {{name: kept, kind: authentic, images: kept/authentic}}
optim: {{steps: 4, batch_size: 2, warmup: 2, precision: fp32}}
validate_every: 4
save_every: 4
"""
    )
    return path


def test_thresholds_come_from_the_calibration_split(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    run, out = tmp_path / "run", tmp_path / "student.safetensors"
    assert imltool("train", "--config", config, "--out", run, *CPU)[0] == 0
    code, stdout, _ = imltool("model", "release", run, "--out", out, "--json", *CPU)
    assert code == 0
    metrics = json.loads(stdout)["calibration"]
    assert metrics["n_tampered"] == 3 and metrics["n_authentic"] == 20
    header = read_header(out)
    assert header.score_fpr == 0.0 and header.score_authentic == 20
    scores = header.authentic_scores["kept"]
    assert list(header.authentic_scores) == ["kept"] and len(scores) == 20
    assert header.score_threshold == max(scores) == operating_point({"kept": scores}, 0.05).threshold
    seen = {item.name: set(item.files) for item in header.validation_sets}
    kept = [*(tmp_path / "data/kept/tampered").iterdir(), *(tmp_path / "data/kept/authentic").iterdir()]
    assert seen["kept"] == {sha256_file(path) for path in kept} and "held" in seen
    bins = header.reliability
    assert sum(found.pictures for found in bins) == 23 and sum(found.tampered for found in bins) == 3
    assert bins[0].low == 0.0 and bins[-1].high == 1.0
    assert all(a.high == b.low for a, b in pairwise(bins))

    # eval and scan need only the checkpoint, also for traces
    code, stdout, _ = imltool("eval", "--weights", out, "--data", tmp_path / "data/held", "--out", tmp_path / "e", *CPU)
    assert code == 0, stdout
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "case").mkdir(exist_ok=True)
        Image.fromarray(photo(len(name), 120, 90)).save(tmp_path / "case" / name)
    assert imltool("scan", tmp_path / "case", "--weights", out, "--out", tmp_path / "s", *CPU)[0] == 0
    single = ("scan", tmp_path / "case" / "b.jpg", "--weights", out, "--out", tmp_path / "t", "--batch", "2", *CPU)
    assert imltool(*single)[0] == 0
    together = np.asarray(Image.open(next((tmp_path / "s").rglob("maps/b*.png"))), dtype=np.int64)
    alone = np.asarray(Image.open(next((tmp_path / "t").rglob("maps/b*.png"))), dtype=np.int64)
    assert np.abs(together - alone).max() <= 2


def test_run_without_validation_is_calibrated(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    run = (
        "train",
        "--config",
        config,
        "--set",
        "data.validation=[]",
        "--set",
        "optim.steps=1",
        "--out",
        tmp_path / "run",
    )
    assert imltool(*run, *CPU)[0] == 0
    header = read_header(tmp_path / "run/last.safetensors")
    assert header.score_authentic == 20 and header.score_threshold == max(header.authentic_scores["kept"])


def test_averaged_checkpoint_is_released_like_a_single_one(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    run, mean = tmp_path / "run", tmp_path / "mean.safetensors"
    assert imltool("train", "--config", config, "--out", run, *CPU)[0] == 0
    first, last = tmp_path / "first.safetensors", run / "last.safetensors"
    start, _ = load_checkpoint(last)
    other = read_header(last).model_copy(update={"name": "other", "step": 9, "score_threshold": 0.9})
    save_checkpoint(first, {name: weight + 1 for name, weight in start.state_dict().items()}, other)
    assert imltool("model", "average", first, last, "--out", mean)[0] == 0
    student, header = load_checkpoint(mean)
    for name, weight in start.state_dict().items():
        expected = weight + 0.5 if weight.is_floating_point() else weight
        assert torch.allclose(student.state_dict()[name], expected, atol=1e-5), name
    assert [(one.name, one.sha256) for one in header.ancestry] == [
        ("other", sha256_file(first)),
        ("tiny", sha256_file(last)),
    ]
    assert (header.name, header.score_threshold, header.figures) == ("tiny", 0.5, None), (
        "metrics and thresholds are reset"
    )
    assert header.training_sets == read_header(last).training_sets
    out = tmp_path / "student.safetensors"
    assert imltool("model", "release", run, "--checkpoint", mean, "--out", out, *CPU)[0] == 0
    assert read_header(out).score_authentic == 20 and read_header(out).ancestry == header.ancestry

    Localizer.untrained(StudentSettings(backbone="nano", input_size=96), torch.device("cpu"), 1).save(first)
    code, _, error = imltool("model", "average", first, last, "--out", mean)
    assert error.startswith(f"error: {first} has another architecture than {last}") and error.count("\n") == 1
    assert code == 1
    assert imltool("model", "average", last, "--out", mean)[0] == 2
    code, _, error = imltool("model", "release", run, "--checkpoint", "worst", "--out", out, *CPU)
    assert code == 1 and "worst" in error and error.count("\n") == 1


@pytest.mark.parametrize("side", [-1, 1])
def test_pixel_threshold_is_found_for_maps_saturated_at_0_or_1(tmp_path: Path, side: int) -> None:
    root = make_set(tmp_path / "set", tampered=3, authentic=0)
    localizer = Localizer.untrained(StudentSettings(backbone="nano", input_size=64), torch.device("cpu"), 1)
    pictures = [read_rgb(path) for path in sorted((root / "tampered").iterdir())]
    truth = np.stack([read_mask(path) for path in sorted((root / "masks").iterdir())])

    def logits() -> np.ndarray:
        maps = np.stack(localizer.maps(pictures)).astype(np.float64)
        return np.log(maps / (1 - maps))

    last = localizer.student.fusion.refinement.body[-1]
    with torch.no_grad():  # logits with a spread of some units around 12 or -12
        last.weight *= 1.5 / logits().std()
        last.bias += side * 12 - logits().mean()
    maps = np.stack(localizer.maps(pictures))
    source = SourceSettings(name="set", kind="masks", images=root / "tampered", masks=root / "masks")
    metrics, found = Validation(DataSettings(), (source,)).run(localizer)

    def mean_f1(threshold: float) -> float:
        predicted = maps > threshold
        return float(np.mean(2 * (predicted & truth).sum((1, 2)) / (predicted.sum((1, 2)) + truth.sum((1, 2)))))

    assert abs(found.pixel_threshold - 0.5) > 0.499
    assert metrics.pixel_f1_calibrated == pytest.approx(mean_f1(found.pixel_threshold))
    best = max(mean_f1(value) for value in np.quantile(maps, np.linspace(0, 1, 200)))
    assert metrics.pixel_f1_calibrated is not None
    assert best - 0.01 < metrics.pixel_f1_calibrated <= best + 0.01


def test_forgery_whose_edit_a_change_removes_counts_neither_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("imltool"), "propagate", True)  # a command may have run before
    root = make_set(tmp_path / "set", tampered=2, authentic=2)
    mask = np.zeros_like(read_mask(root / "masks/t0.png"))
    mask[5:7, 5:7] = True  # smaller than a pixel of the shrunk picture
    Image.fromarray(mask).save(root / "masks/t0.png")
    localizer = Localizer.untrained(StudentSettings(backbone="nano", input_size=64), torch.device("cpu"), 1)
    masks = {"kind": "masks", "images": root / "tampered", "masks": root / "masks"}
    sources = [
        SourceSettings.model_validate({"name": "set", "change": "resize=0.25", **one})
        for one in (masks, {"kind": "authentic", "images": root / "authentic"})
    ]
    with caplog.at_level(logging.WARNING, "imltool"):
        figures, found = Validation(DataSettings(), tuple(sources)).run(localizer)
    assert (figures.n_tampered, figures.n_authentic, len(found.authentic_scores["set"])) == (1, 2, 2)
    assert "no edit is left after resize=0.25 in 1 (t0.png)" in caplog.text


@pytest.mark.parametrize(("count", "above"), [(5, 0), (19, 0), (20, 0), (39, 1), (100, 4), (199, 9)])
def test_operating_point_bounds_the_false_positive_rate_of_new_pictures(count: int, above: int) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(count) / count).tolist()
    point = operating_point({"a": scores}, 0.05).threshold
    assert sum(score > point for score in scores) == above
    # slow oracle: how often is a new one of count + 1 exchangeable pictures above the point of the others?
    if count in (19, 39):
        pool = np.arange(count + 1) / (count + 1)
        rests = [(new, [score for score in pool if score != new]) for new in pool]
        assert np.mean([new > operating_point({"a": rest}, 0.05).threshold for new, rest in rests]) <= 0.05 + 1e-9
    assert operating_point({"a": scores, "b": [2.0, 1.0]}, 0.05).threshold == 2.0


def test_picture_in_both_validation_and_calibration_is_refused(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    text = config.read_text().replace("images: kept/authentic", "images: held/authentic")
    config.write_text(text)
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "run", *CPU)
    assert code == 1 and "calibration set kept: " in stderr and "in validation set held, too" in stderr


def test_checkpoints_of_earlier_versions_without_metrics_are_read() -> None:
    assert CheckpointHeader.model_validate({"figures": {}}).figures is None


@pytest.mark.parametrize(("name", "known"), [("boxprompt", True), ("boxpromt", False)])
def test_student_is_found_by_its_name(name: str, known: bool, imltool: Imltool) -> None:
    code, stdout, stderr = imltool("model", "info", "--weights", name, "--json")
    if known:
        assert code == 0 and json.loads(stdout)["name"] == name
    else:
        assert code == 1 and "known student: boxprompt" in stderr


def test_thresholds_are_calibrated_on_the_users_own_pictures(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    run, base, own = tmp_path / "run", tmp_path / "base.safetensors", tmp_path / "own.safetensors"
    assert imltool("train", "--config", config, "--out", run, *CPU)[0] == 0
    assert imltool("model", "release", run, "--out", base, *CPU)[0] == 0
    folder = tmp_path / "camera"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(photo(300 + number, 64, 48)).save(folder / f"{number}.png")

    code, stdout, _ = imltool(
        *("model", "calibrate", "--weights", base, "--authentic", f"camera={folder}", "--tta-flips", 2),
        *("--tta-scale", 1, "--tta-scale", 2, "--out", own, "--json", *CPU),
    )
    assert code == 0 and json.loads(stdout)["sha256"] == sha256_file(own)
    before, after = read_header(base), read_header(own)
    assert list(after.authentic_scores) == ["camera"] and len(after.authentic_scores["camera"]) == 20
    assert after.score_threshold == max(after.authentic_scores["camera"]) and after.score_authentic == 20
    assert (before.architecture.tta_flips, after.architecture.tta_flips) == (1, 2)
    assert (before.architecture.tta_scales, after.architecture.tta_scales) == ((1,), (1, 2))
    assert (after.pixel_threshold, after.reliability) == (before.pixel_threshold, before.reliability)
    assert {item.name for item in after.validation_sets} == {"held", "kept", "camera"}
    old, new = load_file(base), load_file(own)
    assert all(torch.equal(old[name], new[name]) for name in old)
    # except for rounding, no picture used for calibration is above the new threshold
    code, stdout, _ = imltool("scan", folder, "--weights", own, "--out", tmp_path / "scan", "--json", *CPU)
    rows = parsed(stdout)
    assert code == 0 and len(rows) == 20
    assert all(row["score"] < after.score_threshold + 1e-5 for row in rows)
    assert not any(row["verdict"] == "indication" for row in rows), (
        "the picture that sets the threshold is not above it"
    )
    assert sum(row["verdict"] == "indication" for row in rows) <= 1

    for number in range(18):
        (folder / f"{number}.png").unlink()
    few = ("--authentic", f"camera={folder}", "--out", tmp_path / "few.safetensors")
    code, _, stderr = imltool("model", "calibrate", "--weights", base, *few, "--device", "cpu")
    assert code == 0 and "needs 19 authentic pictures of each kind; fewer: camera 2." in stderr

    # with forgeries the pixel threshold is centred again, as in a release
    code, stdout, _ = imltool(
        "model", "calibrate", "--weights", run / "last.safetensors", "--config", config, "--out", own, "--json", *CPU
    )
    assert code == 0 and json.loads(stdout)["calibration"]["n_tampered"] == 3
    assert read_header(own).pixel_threshold == pytest.approx(0.5, abs=0.01)
    code, _, stderr = imltool("model", "calibrate", "--weights", own, "--config", config, "--out", own, *CPU)
    assert code == 2 and "is the checkpoint that is calibrated" in stderr
    scales = ("--tta-scale", 1, "--tta-scale", 2, "--keep-weights")
    assert imltool("model", "calibrate", "--weights", own, "--config", config, *scales, "--out", base, *CPU)[0] == 0
    centred, kept = read_header(own), read_header(base)
    old, new = load_file(own), load_file(base)
    assert all(torch.equal(old[name], new[name]) for name in old) and kept.pixel_threshold == centred.pixel_threshold
    assert kept.architecture.tta_scales == (1, 2) and kept.authentic_scores != centred.authentic_scores
    assert sum(each.tampered for each in kept.reliability) == 3 and kept.reliability != centred.reliability


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "no pictures to calibrate on"),
        (("--authentic", "camera"), 2, "is not of the form NAME=DIR"),
        (("--authentic", "camera=absent"), 1, "--authentic camera: absent does not exist"),
        (("--authentic", "a=data", "--authentic", "b=./data"), 2, "--authentic a and b are the same folder"),
        (("--authentic", "a=data", "--authentic", "a=data/set"), 2, "two --authentic are named a"),
        (("--authentic", "held=data/set/tampered"), 1, "more pictures are in training set"),
    ],
)
def test_invalid_calibration_options_are_a_one_line_error(
    options: tuple[str, ...],
    code: int,
    message: str,
    config: Path,
    tmp_path: Path,
    imltool: Imltool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    weights: tuple[object, ...] = ()
    if "training" in message:
        assert imltool("train", "--config", config, "--out", "run", *CPU)[0] == 0
        weights = ("--weights", "run/last.safetensors")
    result = imltool("model", "calibrate", *weights, *options, "--out", "own.safetensors", *CPU)
    assert result[0] == code and message in result[2] and not Path("own.safetensors").exists()


def test_figures_refer_to_the_pixel_threshold_that_is_kept(
    config: Path, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    base, own = tmp_path / "base.safetensors", tmp_path / "own.safetensors"
    student, header = load_checkpoint(tiny_weights)
    picture = read_rgb(next((tmp_path / "data/kept/tampered").iterdir()))
    (values,) = Localizer.of(student, header, "cpu").maps([picture])
    threshold = float(np.quantile(values, 0.7))  # between the values of a map, where F1 depends on it
    save_checkpoint(base, student.state_dict(), header.model_copy(update={"pixel_threshold": threshold}))
    given = ("model", "calibrate", "--weights", base, "--json", *CPU)
    code, stdout, err = imltool(*given, "--config", config, "--keep-weights", "--out", own)
    assert code == 0, err
    figures, kept = json.loads(stdout)["calibration"], read_header(own)
    assert kept.figures and kept.figures.pixel_threshold == threshold
    assert figures["pixel_threshold"] == kept.pixel_threshold == threshold
    split = (f"kept={tmp_path / 'data/kept'}", "--out", tmp_path / "eval", *CPU)
    assert imltool("eval", "--weights", own, "--data", *split)[0] == 0
    measured = results_in(tmp_path / "eval")["sets"]["kept"]
    assert measured["pixel_f1_calibrated"] != measured["pixel_f1"]
    assert figures["pixel_f1_calibrated"] == pytest.approx(measured["pixel_f1_calibrated"], abs=1e-6)
    own.unlink()
    code, stdout, _ = imltool(*given, "--authentic", f"kept={tmp_path / 'data/kept/authentic'}", "--out", own)
    assert code == 0 and json.loads(stdout)["calibration"]["pixel_threshold"] == threshold
