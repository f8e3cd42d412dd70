"""Training options: gradient accumulation, early stopping, trackers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import log_of
from helpers.train_config import write_config
from safetensors.numpy import load_file

from imltool.config import load_settings
from imltool.study.reuse import is_trained
from imltool.training.loop import Training
from imltool.training.settings import TrainSettings

CPU = ("--device", "cpu")


def test_gradient_accumulation_gives_the_loss_of_the_whole_batch(tmp_path: Path, imltool: Imltool) -> None:
    # except for the BatchNorm statistics of each part, a step would be the same up to rounding:
    # the loss of one step from the same weights shows this
    config = write_config(tmp_path, optim={"steps": 1, "batch_size": 4, "clip_norm": 1e9, "warmup": 0}, log_every=1)
    losses = {}
    for accumulate in (1, 2, 4):
        out = tmp_path / str(accumulate)
        code, _, err = imltool(
            "train", "--config", config, "--out", out, "--set", f"optim.accumulate={accumulate}", *CPU
        )
        assert code == 0, err
        (row,) = log_of(out, "train")
        losses[accumulate] = row["loss"]
    assert losses[2] == pytest.approx(losses[1], rel=0.05) and losses[4] == pytest.approx(losses[1], rel=0.05)


def test_accumulated_parts_have_the_pictures_of_the_batch_in_order(tmp_path: Path) -> None:
    config = write_config(tmp_path, optim={"steps": 2, "batch_size": 4})
    pictures = {}
    for accumulate in (1, 2):
        settings = load_settings(TrainSettings, config, [f"optim.accumulate={accumulate}"])
        training = Training(settings, tmp_path / f"run{accumulate}", "cpu")
        batches = list(training._batches())
        assert [len(parts) for parts in batches] == [accumulate] * 2
        pictures[accumulate] = np.concatenate([pixels.numpy() for parts in batches for pixels, _, _ in parts])
    assert np.array_equal(pictures[1], pictures[2])


def test_early_stopping_ends_training_and_persists_on_resume(tmp_path: Path, imltool: Imltool) -> None:
    config = write_config(tmp_path, optim={"steps": 40, "lr": 1e-12, "warmup": 0}, validate_every=2, patience=2)
    run = tmp_path / "run"
    code, _, err = imltool("train", "--config", config, "--out", run, *CPU)
    assert code == 0, err
    steps = [row["step"] for row in log_of(run, "validation")]
    scores = [row["score"] for row in log_of(run, "validation")]
    assert len(scores) - 1 - scores.index(max(scores)) == 2, "two validations without improvement"
    assert steps[-1] < 40 and (run / "best.safetensors").is_file()
    settings = load_settings(TrainSettings, config)
    assert is_trained(run, settings), "a study neither trains it again nor refuses to reuse it"
    assert not is_trained(run, settings.model_copy(update={"patience": 3}))
    before = load_file(run / "last.safetensors")
    assert imltool("train", "--config", config, "--out", run, "--resume", *CPU)[0] == 0
    assert [row["step"] for row in log_of(run, "validation")] == steps
    assert all(np.array_equal(value, before[name]) for name, value in load_file(run / "last.safetensors").items())


def test_tensorboard_values_equal_those_of_the_log(tmp_path: Path, imltool: Imltool) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = write_config(tmp_path, trackers=["tensorboard"], log_every=2)
    run = tmp_path / "run"
    code, _, err = imltool("train", "--config", config, "--out", run, *CPU)
    assert code == 0, err
    found = accumulator.EventAccumulator(str(run / "trackers" / "student"))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    expected = [(row["step"], row["loss"]) for row in log_of(run, "train")]
    assert [step for step, _ in losses] == [step for step, _ in expected] == [2, 4]
    assert [value for _, value in losses] == pytest.approx([value for _, value in expected], rel=1e-5)
    assert "validation/pixel_f1" in found.Tags()["scalars"]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("trackers=[tensorbored]", "unknown tracker 'tensorbored'"),
        ("optim.accumulate=3", "not a multiple of optim.accumulate"),
        ("patience=0", "patience"),
        ("augment.jpeg_quality=[98, 60]", "the smaller number first"),
        ("augment.jpeg_quality=[0, 90]", "a range within 1 to 100"),
        ("data.train.0.photo_list=some.txt", "photo_list does not go with kind masks"),
        ("data.train.0={name: s, kind: synth, photos: [set/authentic], list: some.txt}", "list does not go with kind"),
        ("data.train.0.synth.poisson=0.5", "synth does not go with kind masks"),
    ],
)
def test_invalid_options_are_refused_before_training(
    override: str, reason: str, tmp_path: Path, imltool: Imltool
) -> None:
    config = write_config(tmp_path)
    code, _, err = imltool("train", "--config", config, "--out", tmp_path / "run", "--set", override, *CPU)
    assert code == 2 and reason in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_patience_needs_a_validation_split(tmp_path: Path, imltool: Imltool) -> None:
    config = write_config(tmp_path)
    options = ("--set", "patience=2", "--set", "data.validation=[]")
    code, _, err = imltool("train", "--config", config, "--out", tmp_path / "run", *options, *CPU)
    assert code == 2 and "patience needs a validation split" in err and err.count("\n") == 1
