"""Training that stays close to the student it starts from: `optim.distill` and `optim.fix_batch_norm`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.outputs import log_of
from helpers.train_config import write_config
from safetensors.numpy import load_file

from imltool.config import load_settings
from imltool.training.loop import Training
from imltool.training.losses import divergence
from imltool.training.settings import TrainSettings

CPU = ("--device", "cpu", "-q")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    config = write_config(folder, optim={"steps": 2, "batch_size": 2, "ema": 0})
    for _ in Training(load_settings(TrainSettings, config), folder / "run", "cpu").run():
        pass
    return folder / "run" / "last.safetensors"


def trained(folder: Path, imltool: Imltool, parent: Path, *overrides: str) -> Path:
    """The folder of a run of three steps that starts from `parent`."""
    folder.mkdir()
    config = write_config(folder, optim={"steps": 3, "batch_size": 2, "ema": 0, "lr": 0.01, "warmup": 0}, log_every=1)
    sets = [word for one in overrides for word in ("--set", one)]
    code, _, error = imltool("train", "--config", config, "--from", parent, "--out", folder / "run", *sets, *CPU)
    assert code == 0, error
    return folder / "run"


def test_divergence_agrees_with_plain_arithmetic() -> None:
    rng = np.random.default_rng(0)
    logits, before = rng.normal(0, 2, (2, 1, 3, 4)), rng.uniform(0.01, 0.99, (2, 1, 3, 4))
    target = rng.integers(0, 2, (2, 1, 3, 4)).astype(float)
    total = 0.0
    for logit, old, label in zip(logits.flat, before.flat, target.flat, strict=True):
        now = 1 / (1 + math.exp(-logit))
        if label == 0 or old > 0.5:  # a tampered pixel that the student before misses does not count
            total += old * math.log(old / now) + (1 - old) * math.log((1 - old) / (1 - now))
    tensors = [torch.tensor(values, dtype=torch.float64) for values in (logits, before, target)]
    assert float(divergence(*tensors)) == pytest.approx(total / logits.size)
    same = torch.tensor(np.log(before / (1 - before)))
    assert float(divergence(same, tensors[1], tensors[2])) == pytest.approx(0, abs=1e-12)


def test_student_before_counts_as_soon_as_the_maps_move(tmp_path: Path, imltool: Imltool, parent: Path) -> None:
    fixed = "optim.fix_batch_norm=true"
    plain = log_of(trained(tmp_path / "plain", imltool, parent, fixed), "train")
    close = log_of(trained(tmp_path / "close", imltool, parent, fixed, "optim.distill=50"), "train")
    assert close[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-4), "the first maps are those of the start"
    assert close[1]["loss"] > plain[1]["loss"]


def test_fixed_statistics_are_those_of_the_start(tmp_path: Path, imltool: Imltool, parent: Path) -> None:
    start = load_file(parent)
    statistics = [name for name in start if name.endswith(("running_mean", "running_var"))]
    kept = load_file(trained(tmp_path / "kept", imltool, parent, "optim.fix_batch_norm=true") / "last.safetensors")
    free = load_file(trained(tmp_path / "free", imltool, parent) / "last.safetensors")
    assert statistics and all(np.array_equal(start[name], kept[name]) for name in statistics)
    assert not any(np.array_equal(start[name], free[name]) for name in statistics)
    assert any(not np.array_equal(start[name], kept[name]) for name in start if name not in statistics)


def test_distillation_without_a_fitting_student_is_refused(tmp_path: Path, imltool: Imltool, parent: Path) -> None:
    config = write_config(tmp_path)
    distill = ("--set", "optim.distill=1", "--out", tmp_path / "run", *CPU)
    code, _, error = imltool("train", "--config", config, *distill)
    assert code == 2 and "set init to a student, or optim.distill to 0" in " ".join(error.split())
    traces = ("--set", "student.traces=[jpeg]")
    code, _, error = imltool("train", "--config", config, "--from", parent, *traces, *distill)
    assert code == 2 and "sees other traces" in " ".join(error.split())
    assert not (tmp_path / "run").exists()
