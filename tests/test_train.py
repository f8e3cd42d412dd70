"""`imltool train` end to end: exact resuming, sources, checkpoints, and error messages."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.forked import Forked
from helpers.outputs import log_of, parsed, results_in
from helpers.pictures import make_set, photo
from PIL import Image
from safetensors.torch import load_file

from imltool.config import load_settings
from imltool.errors import TrainingError
from imltool.files import sha256_file
from imltool.pictures.images import read_mask
from imltool.student.checkpoint import load_checkpoint
from imltool.student.header import read_header
from imltool.student.settings import StudentSettings
from imltool.training.data import TrainingData
from imltool.training.loop import Training
from imltool.training.losses import LOSSES
from imltool.training.settings import AugmentSettings, OptimSettings, TrainSettings

CPU = ("--device", "cpu", "-q")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the same configuration and pictures; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    run_all(write_config(folder), folder / "run")
    return folder / "run"


def write_config(tmp_path: Path) -> Path:
    """A small but complete run: pixel masks, authentic pictures and synthetic forgeries; about one second per step."""
    make_set(tmp_path / "data/set", tampered=4, authentic=3)
    make_set(tmp_path / "data/held", tampered=3, authentic=2, seed=50)
    for index in range(3):
        (tmp_path / "data/photos").mkdir(exist_ok=True)
        Image.fromarray(photo(90 + index, 160, 120)).save(tmp_path / "data/photos" / f"{index}.jpg", quality=92)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
name: tiny
init: random
workers: 0
student: {{backbone: nano, input_size: 64}}
data:
  root: {tmp_path / "data"}
  train:
    - {{name: set, kind: masks, images: set/tampered, masks: set/masks, weight: 2}}
    - {{name: set, kind: authentic, images: set/authentic}}
    - {{name: made, kind: synth, photos: [photos], synth: {{long_side: [96, 128]}}}}
  validation:
    - {{name: held, kind: masks, images: held/tampered, masks: held/masks}}
    - {{name: held, kind: authentic, images: held/authentic}}
optim: {{steps: 6, batch_size: 2, warmup: 2, precision: fp32, ema: 0.5}}
validate_every: 3
save_every: 2
log_every: 1
"""
    )
    return path


def strip(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]


def test_run_writes_all_documented_outputs(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    run = tmp_path / "run"
    code, stdout, _ = imltool("train", "--config", config, "--out", run, "--json", *CPU)
    assert code == 0
    events = parsed(stdout)
    assert [event["event"] for event in events] == [
        "start",
        *["train"] * 3,
        "validation",
        *["train"] * 3,
        "validation",
        "end",
    ]
    sources, *logged = log_of(run)
    assert logged == [event for event in events if event["event"] in ("train", "validation")]
    assert sources["sources"] == events[0]["sources"] and [one["used"] for one in sources["sources"]] == [4, 3, 3, 3, 2]
    assert Image.open(run / "curves.png").width > 800
    _, header = load_checkpoint(run / "last.safetensors")
    assert header.name == "tiny" and header.step == 6 and header.input_size == 64
    assert header.configuration["optim"]["steps"] == 6
    trained = {item.name: set(item.files) for item in header.training_sets}
    assert set(trained) == {"set", "made"}
    pictures = [*(tmp_path / "data/set/tampered").iterdir(), *(tmp_path / "data/set/authentic").iterdir()]
    assert trained["set"] == {sha256_file(path) for path in pictures}
    assert 0 <= header.pixel_threshold < 1 and header.score_fpr == 0.0
    figures = read_header(run / "best.safetensors").figures
    assert figures and figures.balance == max(event["balance"] for event in events if event["event"] == "validation")
    assert [path.name for path in run.glob("state-*")] == ["state-00000006"]


def test_resumed_run_equals_an_uninterrupted_one(
    config: Path, tmp_path: Path, imltool: Imltool, forked: Forked
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert imltool("train", "--config", config, "--out", straight, *CPU)[0] == 0
    command = ("train", "--config", config, "--out", broken, *CPU)
    forked.stop_midway(signal.SIGKILL, lambda: list(broken.glob("state-*")), broken, *command)
    assert 0 < len(log_of(broken)) < len(log_of(straight))
    code, _, stderr = imltool("train", "--config", config, "--out", broken, *CPU)
    assert code == 2 and "--resume" in stderr
    code, _, stderr = imltool("train", "--config", config, "--out", broken, "--resume", "--set", "optim.lr=1", *CPU)
    assert code == 2 and "other parameters" in stderr
    assert imltool("train", "--config", config, "--out", broken, "--resume", *CPU)[0] == 0
    assert strip(log_of(broken)) == strip(log_of(straight))
    first, second = load_file(straight / "last.safetensors"), load_file(broken / "last.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_running_training_locks_its_folder(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "run"
    events = Training(load_settings(TrainSettings, config, []), out, "cpu").run()
    assert next(events)["event"] == "start"
    code, _, error = imltool("train", "--config", config, "--out", out, "--resume", *CPU)
    assert code == 2 and "another command is writing" in error
    events.close()  # type: ignore[attr-defined]
    assert imltool("train", "--config", config, "--out", out, "--resume", *CPU)[0] == 0


def test_samples_depend_on_seed_and_index_only(config: Path) -> None:
    settings = load_settings(TrainSettings, config)
    first = TrainingData(settings.data, settings.augment, StudentSettings(input_size=64), seed=3, length=10)
    second = TrainingData(settings.data, settings.augment, StudentSettings(input_size=64), seed=3, length=10)
    for index in (7, 2, 7):
        for a, b in zip(first[index], second[index], strict=True):
            assert torch.equal(a, b)
    other = TrainingData(settings.data, settings.augment, StudentSettings(input_size=64), seed=4, length=10)
    assert any(not torch.equal(first[index][0], other[index][0]) for index in range(4))


def test_pseudo_source_trains_on_pseudo_masks(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", tampered=2, authentic=0)
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\nt0.png,10,10,40,40\nt1.png,5,5,50,50\n")
    out = tmp_path / "pseudo"
    assert (
        imltool("pseudo", root / "tampered", "--boxes", tmp_path / "boxes.csv", "--out", out, "--teacher", "box")[0]
        == 0
    )
    for mask in (root / "masks").iterdir():
        mask.unlink()
    source = {"name": "s", "kind": "pseudo", "images": str(root / "tampered"), "pseudo": str(out)}
    settings = TrainSettings.model_validate({"data": {"train": [source]}})
    plain = AugmentSettings(flip=0, crop=0, jpeg=0, colour=0)
    data = TrainingData(settings.data, plain, StudentSettings(input_size=64), seed=0, length=4)
    masks = [read_mask(out / "masks" / name) for name in ("t0.png", "t1.png")]
    for index in range(4):
        found = data.sample(index).mask
        assert any(np.array_equal(found, known) for known in masks)


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("data.train.0.images=set/nowhere", 1, "set/nowhere does not exist"),
        ("data.train.0.list=none.txt", 1, "none.txt cannot be read"),
        ("data.train=[]", 1, "no training source"),
        ("data.train.0.kind=boxes", 2, "data.train.0.kind"),
        ("optim.stepz=1", 2, "did you mean steps"),
        ("optim.precision=half", 2, "fp32"),
        ("student.backbone=11m", 1, "TinyViT-5M"),
    ],
)
def test_invalid_configuration_is_a_one_line_error(
    config: Path, tmp_path: Path, imltool: Imltool, override: str, code: int, message: str
) -> None:
    extra = ("--set", "init=teacher") if "backbone" in override else ()
    found, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "r", "--set", override, *extra, *CPU)
    assert found == code and message in stderr and stderr.count("\n") == 1


def test_non_finite_loss_stops_training_with_a_saved_state(config: Path, tmp_path: Path) -> None:
    settings = load_settings(TrainSettings, config, ["optim.lr=1.0e+30", "optim.warmup=0", "optim.clip_norm=1.0e+30"])
    with pytest.raises(TrainingError, match="not finite at step"):
        for _ in Training(settings, tmp_path / "run", "cpu").run():
            pass
    (state,) = (tmp_path / "run").glob("state-*")
    saved = load_file(state / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in saved.values() if tensor.is_floating_point())


@pytest.mark.slow
def test_number_of_workers_does_not_change_training(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    for workers in (0, 1):
        arguments = ("--set", f"workers={workers}", "--set", "optim.steps=2", "--set", "validate_every=2")
        assert imltool("train", "--config", config, "--out", tmp_path / f"w{workers}", *arguments, *CPU)[0] == 0
    first, second = (load_file(tmp_path / f"w{workers}/last.safetensors") for workers in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_learning_rate_schedule_has_warmup_and_cosine_decay() -> None:
    optim = OptimSettings(steps=100, lr=1.0, warmup=10, final_lr=0.1)
    rates = [optim.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 45 / 89)))


def test_losses_agree_with_plain_arithmetic() -> None:
    logits = torch.tensor([[[[0.3, -1.2], [2.0, 0.0]]], [[[1.0, 1.0], [-3.0, 0.5]]]])
    target = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    p, t = torch.sigmoid(logits).double(), target.double()
    entropy = -(t * p.log() + (1 - t) * (1 - p).log())
    assert LOSSES["bce"](logits, target).item() == pytest.approx(entropy.mean().item(), rel=1e-5)
    dice = 1 - (2 * (p[0] * t[0]).sum() + 1) / (p[0].sum() + t[0].sum() + 1)
    assert LOSSES["bce+dice"](logits, target).item() == pytest.approx((entropy.mean() + dice).item(), rel=1e-5)
    focal = (1 - (-entropy).exp()) ** 2 * entropy
    assert LOSSES["focal"](logits, target).item() == pytest.approx(focal.mean().item(), rel=1e-5)


def test_unavailable_imagenet_weights_are_a_one_line_error(config: Path, tmp_path: Path, forked: Forked) -> None:
    sets = ("--set", "init=timm", "--set", "student.backbone=5m")
    error = tmp_path / "stderr"
    assert forked.start("train", "--config", config, "--out", tmp_path / "r", *sets, *CPU, stderr=error).wait() == 1
    assert "set init to teacher" in error.read_text() and "Traceback" not in error.read_text()


@pytest.mark.slow
def test_two_processes_train_like_one_and_resume_its_run(config: Path, tmp_path: Path) -> None:
    # the full backbone: batch statistics of the small one change the loss as much as other samples would
    sets = ("optim.batch_size=8", "optim.lr=1e-4", "student.backbone=5m")
    options = ("--config", config, "--json", *(word for one in sets for word in ("--set", one)))
    run_all(config, tmp_path / "one", *sets)
    done = launch_two(*options, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [event["step"] for event in events if event["event"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in log_of(tmp_path / "two") if row["event"] == "validation"] == [3, 6]
    assert load_checkpoint(tmp_path / "two/last.safetensors")[1].step == 6
    assert (tmp_path / "two/state-00000006/random_states_1.pkl").exists(), "the second process did not take part"

    with pytest.raises(KeyboardInterrupt):
        run_all(config, tmp_path / "mixed", *sets, stop="train")
    done = launch_two(*options, "--out", tmp_path / "mixed", "--resume")
    assert done.returncode == 0 and "steps 2-6" in done.stderr
    one, two, mixed = (losses_of(tmp_path / name) for name in ("one", "two", "mixed"))
    assert mixed[:2] == one[:2]
    # each process has its own batch statistics and dropped paths; other samples would differ more
    for other in (two, mixed):
        assert np.abs(np.subtract(other, one)).max() < 0.008 < 0.03 < np.ptp(one)


def losses_of(run: Path) -> list[float]:
    return [row["loss"] for row in log_of(run) if row["event"] == "train"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("optim.batch_size=3",), "optim.batch_size 3 cannot be shared by 2 processes"),
        (("optim.batch_size=6", "optim.accumulate=2"), "optim.batch_size 6 in 2 parts cannot be shared by 2 processes"),
        (("optim.batch_size=4", "optim.sync_batch_norm=true"), "optim.sync_batch_norm needs CUDA devices"),
    ],
)
def test_unsupported_settings_for_two_processes_are_refused(
    overrides: tuple[str, ...], reason: str, config: Path, tmp_path: Path
) -> None:
    options = [word for one in overrides for word in ("--set", one)]
    done = launch_two("--config", config, "--out", tmp_path / "r", *options)
    assert done.returncode != 0 and reason in done.stderr


@pytest.mark.slow
def test_two_processes_accumulate_gradients_and_stop_early_together(config: Path, tmp_path: Path) -> None:
    sets = (
        "optim.batch_size=8",
        "optim.accumulate=2",
        "optim.steps=20",
        "optim.lr=1e-9",
        "validate_every=2",
        "patience=1",
    )
    options = [word for one in sets for word in ("--set", one)]
    done = launch_two("--config", config, "--out", tmp_path / "two", *options)
    assert done.returncode == 0, done.stderr
    watched = [(row["step"], row["score"]) for row in log_of(tmp_path / "two") if row["event"] == "validation"]
    assert watched[-1][0] < 20 and watched[-1][1] <= watched[-2][1]
    assert (tmp_path / f"two/state-{watched[-1][0]:08}/random_states_1.pkl").exists()


def launch_two(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `imltool train` in two processes on the CPU, like `accelerate launch` on two GPUs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port, "-m", "imltool", "train"]
    command = [sys.executable, *map(str, launch), "--device", "cpu", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def run_all(config: Path, out: Path, *overrides: str, resume: bool = False, stop: str | None = None) -> None:
    """Train in this process; `stop` interrupts at the second event of that kind, like Ctrl-C."""
    count = 0
    for event in Training(load_settings(TrainSettings, config, list(overrides)), out, "cpu", resume).run():
        count += event["event"] == stop
        if count == 2:
            count += 1
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "overrides",
    [
        ("student.drop_path=0.3", "student.memory=ema"),
        pytest.param((), marks=pytest.mark.slow),
        pytest.param(("log_every=4",), marks=pytest.mark.slow),
    ],
)
def test_run_resumed_after_ctrl_c_equals_an_uninterrupted_one(
    config: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    # save_every is never reached, so that the interrupt itself must save
    overrides = (*overrides, "save_every=100", "validate_every=2")
    run_all(config, tmp_path / "straight", *overrides)
    with pytest.raises(KeyboardInterrupt):
        run_all(config, tmp_path / "broken", *overrides, stop="validation")
    assert [path.name for path in (tmp_path / "broken").glob("state-*")] == ["state-00000004"]
    run_all(config, tmp_path / "broken", *overrides, resume=True)
    assert strip(log_of(tmp_path / "broken")) == strip(log_of(tmp_path / "straight"))
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_validation_pictures_are_recorded_and_separate_from_training(
    config: Path, tmp_path: Path, imltool: Imltool
) -> None:
    run_all(config, tmp_path / "run", "optim.steps=1", "validate_every=1")
    (held,) = read_header(tmp_path / "run/last.safetensors").validation_sets
    pictures = [*(tmp_path / "data/held/tampered").iterdir(), *(tmp_path / "data/held/authentic").iterdir()]
    assert held.name == "held" and set(held.files) == {sha256_file(path) for path in pictures}
    leak = ("--set", "data.validation.1.images=set/authentic")
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "r", *leak, *CPU)
    assert code == 1 and "more pictures are in training set set, too" in stderr and "validation set held: " in stderr


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_picture_is_left_out_and_unusable_set_is_a_one_line_error(
    config: Path, tmp_path: Path, imltool: Imltool, workers: int
) -> None:
    folder = tmp_path / "data/set/authentic"
    damaged = sorted(folder.iterdir())
    damaged[0].write_bytes(damaged[0].read_bytes()[:300])
    quick = ("--set", f"workers={workers}", "--set", "optim.steps=2", "--set", "validate_every=2")
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "a", *quick, *CPU)
    assert code == 1 and "data.max_left_out" in stderr, "a third of a source is above the default of data.max_left_out"
    allowed = ("--set", "data.max_left_out=0.5")
    assert imltool("train", "--config", config, "--out", tmp_path / "a", *quick, *allowed, *CPU)[0] == 0
    for number, path in enumerate(damaged[1:], 1):
        path.write_bytes(path.read_bytes()[: 300 + number])
    only = "data.train=[{name: set, kind: authentic, images: set/authentic}]"
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "b", *quick, "--set", only, *CPU)
    assert (
        code == 1 and "none of its 3 pictures" in stderr and "unreadable picture" in stderr and stderr.count("\n") == 1
    )


def test_full_disk_is_an_error_and_keeps_written_checkpoints(config: Path, tmp_path: Path, forked: Forked) -> None:
    command = ("train", "--config", config, "--out", tmp_path / "run", *CPU, "--set", "validate_every=1")
    error = tmp_path / "stderr"
    # a checkpoint fits, the optimizer's state does not
    assert forked.start(*command, room=1_000_000, stderr=error).wait() == 1
    assert "Traceback" not in error.read_text() and "cannot write" in error.read_text()
    assert not list((tmp_path / "run").glob("state-*"))
    assert load_checkpoint(tmp_path / "run/last.safetensors")[1].step > 0


def test_release_is_half_the_size_with_threshold_one_half(trained: Path, tmp_path: Path, imltool: Imltool) -> None:
    run, out = trained, tmp_path / "shipped.safetensors"
    code, stdout, _ = imltool("model", "release", run, "--out", out, "--json", *CPU)
    facts = json.loads(stdout)
    assert code == 0 and facts["sha256"] == sha256_file(out)
    assert out.stat().st_size < 0.55 * (run / "best.safetensors").stat().st_size
    before, header = load_checkpoint(run / "best.safetensors")
    after, shipped = load_checkpoint(out)
    assert shipped.figures and shipped.figures.model_dump() == facts["calibration"]
    assert shipped.training_sets == header.training_sets
    # values that were above the calibrated threshold are now above one half
    x = torch.randn(2, 3, 64, 64)
    shift = float((after.fusion.refinement.body[-1].bias - before.fusion.refinement.body[-1].bias).detach())  # type: ignore[operator]
    with torch.no_grad():
        assert torch.allclose(after(x), before(x) + shift, atol=0.02)
    expected = -math.log(max(header.pixel_threshold, 0.001) / (1 - max(header.pixel_threshold, 0.001)))
    assert shift == pytest.approx(expected, abs=0.02)
    assert imltool("model", "release", tmp_path / "none", "--out", out)[0] == 2


def test_run_in_a_folder_with_a_non_utf8_name_can_be_evaluated(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / os.fsdecode(b"o\xff")
    assert imltool("train", "--config", config, "--out", out, *CPU)[0] == 0
    root = make_set(tmp_path / "test", 1, 1)
    options = ("--weights", out / "last.safetensors", "--data", f"test={root}", "--allow-overlap", "-q")
    assert imltool("eval", *options, "--out", out / "eval")[0] == 0
    command = results_in(out / "eval")["command"]
    assert "o\\xff" in command


def test_run_from_a_student_keeps_its_list_of_seen_pictures(
    config: Path, trained: Path, tmp_path: Path, imltool: Imltool
) -> None:
    second, parent = tmp_path / "second", trained / "last.safetensors"
    # the second run trains on other pictures with a tiny learning rate: it saves its initial weights
    make_set(tmp_path / "data/new", tampered=3, authentic=1, seed=70)
    make_set(tmp_path / "data/kept", tampered=1, authentic=1, seed=80)
    new = ["data.train.0.images=new/tampered", "data.train.0.masks=new/masks", "data.train.1.images=new/authentic"]
    new += ["data.validation.0.images=kept/tampered", "data.validation.0.masks=kept/masks"]
    new += ["data.validation.1.images=kept/authentic"]
    still = ["optim.lr=1e-30", "optim.weight_decay=0", "optim.steps=1", "optim.ema=0.999", "data.train.2.weight=0"]
    overrides = [part for one in (*new, *still) for part in ("--set", one)]
    code, _, stderr = imltool("train", "--config", config, "--from", parent, "--out", second, *overrides, *CPU)
    assert code == 0 and "start from" not in stderr
    (theirs, before), (ours, after) = load_checkpoint(parent), load_checkpoint(second / "last.safetensors")
    for (name, start), (_, saved) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert torch.allclose(start, saved, atol=1e-6), name
    assert [(one.name, one.sha256, one.step) for one in after.ancestry] == [("tiny", sha256_file(parent), 6)]
    seen = {digest for one in after.training_sets for digest in one.files}
    assert {digest for one in before.training_sets for digest in one.files} < seen
    assert sha256_file(next((tmp_path / "data/new/tampered").iterdir())) in seen
    held = {digest for one in after.validation_sets for digest in one.files}
    assert {digest for one in before.validation_sets for digest in one.files} < held, "the start was chosen on them"
    assert sha256_file(next((tmp_path / "data/kept/tampered").iterdir())) in held


def test_mismatch_of_the_starting_student_is_reported(
    config: Path, trained: Path, tmp_path: Path, imltool: Imltool
) -> None:
    other, parent = tmp_path / "other", trained / "last.safetensors"
    short = ["--set", "optim.steps=1", "--set", "student.traces=[jpeg]", "--set", "student.memory=none"]
    code, _, stderr = imltool("train", "--config", config, "--from", parent, "--out", other, *short, *CPU[:2])
    text = " ".join(stderr.split())
    assert code == 0 and "traces.enter" in text and "not in it, at their own start" in text
    assert "fusion.memory" in text and "left out" in text
    overrides = ["--set", "student.backbone=5m"]
    code, _, stderr = imltool("train", "--config", config, "--from", parent, "--out", tmp_path / "x", *overrides, *CPU)
    assert code != 0 and "backbone nano" in stderr and "Traceback" not in stderr
    code, _, stderr = imltool("train", "--config", config, "--from", "nobody", "--out", tmp_path / "y", *CPU)
    assert code != 0 and "nobody" in stderr and "boxprompt-traces" in stderr and "Traceback" not in stderr
    assert not (tmp_path / "y").exists()


def test_training_pictures_of_the_starting_student_cannot_be_held_out(
    config: Path, trained: Path, tmp_path: Path, imltool: Imltool
) -> None:
    make_set(tmp_path / "data/new", tampered=3, authentic=1, seed=70)
    swapped = [
        "data.train.0.images=new/tampered",
        "data.train.0.masks=new/masks",
        "data.train.1.images=new/authentic",
        "data.validation.0.images=set/tampered",
        "data.validation.0.masks=set/masks",
    ]
    overrides = [part for one in swapped for part in ("--set", one)]
    start = ("--from", trained / "last.safetensors")
    code, _, stderr = imltool("train", "--config", config, *start, "--out", tmp_path / "x", *overrides, *CPU)
    assert code != 0 and "validation set held" in " ".join(stderr.split())
