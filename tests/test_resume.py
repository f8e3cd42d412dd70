"""Stopping and resuming runs: SIGTERM, no --config, changed settings, moved data."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.forked import Forked
from helpers.outputs import log_of
from helpers.pictures import make_set
from safetensors.numpy import load_file

CPU = ("--device", "cpu")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Training of the smallest student on pixel masks."""
    make_set(tmp_path / "data/set", tampered=4, authentic=2)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
name: tiny
init: random
workers: 0
student: {{input_size: 64, backbone: nano}}
data:
  root: {tmp_path / "data"}
  train:
    - {{name: set, kind: masks, images: set/tampered, masks: set/masks}}
    - {{name: set, kind: authentic, images: set/authentic}}
optim: {{steps: 4, batch_size: 2, warmup: 1, precision: fp32, final_lr: 1}}
validate_every: 100
save_every: 2
log_every: 1
""",
        encoding="utf-8",
    )
    return path


def losses(run: Path) -> list[float]:
    rows = log_of(run)
    return [row["loss"] for row in rows if row["event"] == "train"]


@pytest.mark.slow
def test_resumed_run_uses_its_configuration_and_allows_neutral_changes(
    config: Path, tmp_path: Path, imltool: Imltool
) -> None:
    straight, run = tmp_path / "straight", tmp_path / "run"
    done = imltool("train", "--config", config, "--out", straight, "--set", "optim.steps=6", *CPU)
    assert done[0] == 0, done[2]
    assert imltool("train", "--config", config, "--out", run, *CPU)[0] == 0
    code, _, stderr = imltool("train", "--out", tmp_path / "none", "--resume", *CPU)
    assert code == 2 and "holds no training run to resume" in stderr
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "data", moved)
    changes = {
        "workers": 1,
        "log_every": 1,
        "save_every": 5,
        "validate_every": 50,
        "data.root": moved,
        "optim.steps": 6,
    }
    options = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    code, _, stderr = imltool("train", "--out", run, "--resume", *options, *CPU)
    assert code == 0 and "steps 4-6" in stderr
    assert losses(run) == losses(straight)
    first, second = load_file(straight / "last.safetensors"), load_file(run / "last.safetensors")
    assert all((first[name] == second[name]).all() for name in first)
    assert "workers: 1" in (run / "config.yaml").read_text()
    assert imltool("train", "--out", run, "--resume", "--set", "workers=0", *CPU)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_killed_run_resumed_with_neutral_changes_gives_the_same_bytes(
    config: Path, tmp_path: Path, imltool: Imltool, forked: Forked, end: signal.Signals
) -> None:
    make_set(tmp_path / "data/held", tampered=2, authentic=0, seed=50)
    held = "data.validation=[{name: held, kind: masks, images: held/tampered, masks: held/masks}]"
    run, straight, moved = tmp_path / "run", tmp_path / "straight", tmp_path / "moved"
    begun = ("--set", "optim.steps=40", "--set", held)
    process = forked.start("train", "--config", config, "--out", run, *begun, *CPU)
    process.wait_for(lambda: list(run.glob("state-*")))
    process.send_signal(end)
    code = process.wait()
    assert code == 130 if end == signal.SIGTERM else code != 0
    assert 0 < len(losses(run)) < 40
    shutil.move(tmp_path / "data", moved)
    changes = [f"data.root={moved}", "workers=1", "log_every=2", "save_every=7", "validate_every=21", "optim.steps=42"]
    options = [word for change in changes for word in ("--set", change)]
    others = ("--set", "optim.lr=1", "--set", "augment.colour=0.9")
    code, _, stderr = imltool("train", "--out", run, "--resume", *options, *others, *CPU)
    assert code == 2 and "optim.lr was 0.001, now 1.0" in stderr and "augment.colour was" in stderr
    assert not any(f"{key} was" in stderr for key in ("workers", "log_every", "data.root", "optim.steps"))
    assert imltool("train", "--out", run, "--resume", *options, *CPU)[0] == 0
    assert imltool("train", "--config", config, "--out", straight, "--set", held, *options, *CPU)[0] == 0
    assert (run / "last.safetensors").read_bytes() == (straight / "last.safetensors").read_bytes()


def test_forbidden_changes_are_all_named(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    run = tmp_path / "run"
    options = ("--set", "optim.final_lr=0.1", *CPU)
    assert imltool("train", "--config", config, "--out", run, *options)[0] == 0
    before = (run / "parameters.json").read_bytes()
    changes = ("--set", "optim.lr=1", "--set", "optim.steps=9", "--set", "workers=1")
    code, _, stderr = imltool("train", "--out", run, "--resume", *changes, *CPU)
    assert code == 2 and "optim.lr was 0.001, now 1.0" in stderr and "optim.steps was 4, now 9" in stderr
    assert "unless optim.final_lr is 1" in stderr and "workers was" not in stderr
    picture = tmp_path / "data/set/tampered/t0.png"
    picture.write_bytes((tmp_path / "data/set/tampered/t1.png").read_bytes())
    code, _, stderr = imltool("train", "--out", run, "--resume", *CPU)
    assert code == 2 and "other pictures or masks" in stderr
    assert (run / "parameters.json").read_bytes() == before


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_sigterm_to_all_processes_saves_the_state(
    config: Path, tmp_path: Path, imltool: Imltool, forked: Forked, workers: int
) -> None:
    run = tmp_path / "run"
    many = ("--set", "optim.steps=5000", "--set", "save_every=4000", "--set", f"workers={workers}")
    error = tmp_path / "stderr"
    process = forked.start("train", "--config", config, "--out", run, *many, *CPU, stderr=error, session=True)
    process.wait_for(lambda: (run / "log.jsonl").exists() and len(losses(run)) > 2)
    assert process.poll() is None, error.read_text()
    os.killpg(process.pid, signal.SIGTERM)  # like `timeout` and SLURM
    code, stderr = process.wait(), error.read_text()
    assert code == 130 and "resumes it" in stderr and "Traceback" not in stderr
    (state,) = run.glob("state-*")
    taken = int(state.name.removeprefix("state-"))
    assert taken >= 3 and len(losses(run)) == taken
    more = (("--set", f"optim.steps={taken + 1}"), ("--set", "optim.steps=5001"))
    code, _, stderr = imltool("train", "--out", run, "--resume", *more[0], *CPU)
    assert code == 0 and f"steps {taken}-{taken + 1}" in stderr
    code, _, stderr = imltool("train", "--out", run, "--resume", "--set", f"optim.steps={taken}", *CPU)
    assert code == 2 and "optim.steps was" in stderr


def test_sigterm_ends_other_commands_like_ctrl_c(tmp_path: Path, imltool: Imltool, forked: Forked) -> None:
    make_set(tmp_path / "photos", tampered=0, authentic=2)
    out = tmp_path / "out"
    command = ("synth", "--photos", tmp_path / "photos", "--out", out, "--set", "long_side=[96,128]")
    error = tmp_path / "stderr"
    process = forked.start(*command, "--count", 100000, stderr=error)
    process.wait_for(lambda: (out / "synth.jsonl").exists() and (out / "synth.jsonl").stat().st_size > 2000)
    process.send_signal(signal.SIGTERM)
    code, stderr = process.wait(), error.read_text()
    assert code == 130 and "interrupted" in stderr and "Traceback" not in stderr
    made = len((out / "synth.jsonl").read_text().splitlines())
    assert imltool(*command, "--count", made)[0] in (0, 3)


def test_training_without_a_terminal_prints_lines(config: Path, tmp_path: Path, imltool: Imltool) -> None:
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "run", *CPU)
    assert code == 0
    for step in range(1, 5):
        assert f"step {step} of 4: loss " in stderr
