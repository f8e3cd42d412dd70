"""Configuration: YAML files, --set, and errors that suggest the nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imltool.config import load_settings, save_settings
from imltool.errors import ConfigError
from imltool.synth.settings import SynthSettings
from imltool.teacher.pseudo import PseudoSettings
from imltool.training.settings import TrainSettings

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_command_line_overrides_file_and_file_overrides_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: from-file\noptim: {steps: 7, lr: 0.01}\n")
    settings = load_settings(TrainSettings, path, ["optim.steps=9", "student.memory=none"])
    assert (settings.name, settings.optim.steps, settings.optim.lr) == ("from-file", 9, 0.01)
    assert settings.student.memory == "none" and settings.optim.batch_size == 16


def test_list_entry_is_set_by_its_index(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {train: [{name: a, kind: authentic, images: x}]}\n")
    assert load_settings(TrainSettings, path, ["data.train.0.weight=3"]).data.train[0].weight == 3
    with pytest.raises(ConfigError, match="not a position in a list of 1"):
        load_settings(TrainSettings, path, ["data.train.1.weight=3"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.stpes=3", "did you mean steps"),
        ("studnet.alpha=1", "did you mean student"),
        ("optim.steps=many", "optim.steps"),
        ("student.alpha=1.5", "student.alpha"),
        ("student.input_size=100", "multiple of 32"),
        ("seed", "not of the form"),
        ("seed.x=1", "valid integer"),
        ("data.train=[{name: a, kind: pseudo, images: x}]", "needs pseudo"),
    ],
)
def test_invalid_setting_is_a_one_line_error(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(TrainSettings, None, [override])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_invalid_and_missing_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1,\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    for name, message in {
        "bad.yaml": "not valid YAML",
        "list.yaml": "keys and values",
        "no.yaml": "does not exist",
    }.items():
        with pytest.raises(ConfigError, match=message):
            load_settings(TrainSettings, tmp_path / name)


def test_saved_settings_read_back_equal(tmp_path: Path) -> None:
    settings = load_settings(TrainSettings, None, ["optim.lr=3.0e-4", "student.memory=ema", "name=ä"])
    save_settings(settings, tmp_path / "saved.yaml")
    assert load_settings(TrainSettings, tmp_path / "saved.yaml") == settings


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem.startswith(("boxprompt", "own"))], ids=lambda p: p.name
)
def test_shipped_training_configurations_are_valid(path: Path) -> None:
    settings = load_settings(TrainSettings, path)
    for source in (*settings.data.train, *settings.data.validation):
        for name in (*source.lists, source.photo_list):
            assert name is None or (path.parents[1] / settings.data.lists / name).is_file()


@pytest.mark.parametrize(("name", "model"), [("pseudo", PseudoSettings), ("synth", SynthSettings)])
def test_shipped_configurations_name_every_setting(
    name: str, model: type[PseudoSettings] | type[SynthSettings]
) -> None:
    path = Path(__file__).parents[1] / f"configs/{name}.yaml"
    settings = load_settings(model, path)
    written = yaml.safe_load(path.read_text())
    assert set(written) == set(model.model_fields)
    if name == "pseudo":
        assert settings == model()


def test_duplicate_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("optim: {lr: 1}\nname: x\noptim:\n  steps: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="optim is in line 1 and again in line 3"):
        load_settings(TrainSettings, path)
    path.write_text("base: &b {lr: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key base"):
        load_settings(TrainSettings, path)


def test_several_files_are_merged_and_the_last_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("seed: 3\noptim: {lr: 0.5, steps: 7}\n", encoding="utf-8")
    second.write_text("optim: {lr: 0.25}\n", encoding="utf-8")
    merged = load_settings(TrainSettings, [first, second], ["optim.warmup=2"])
    assert (merged.seed, merged.optim.lr, merged.optim.steps, merged.optim.warmup) == (3, 0.25, 7, 2)
