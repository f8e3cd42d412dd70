"""The rows of every study: their changes, unavailable rows, and errors before the first step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.pictures import make_set

from imltool.config import load_settings
from imltool.study.settings import RowsSettings, StudySettings, Variant
from imltool.study.studies import STUDIES, available, drop_repetitions

ROOT = Path(__file__).parents[1]


def plan(name: str, *overrides: str, config: str = "configs/boxprompt.yaml") -> tuple[StudySettings, dict[str, str]]:
    """A study of a shipped configuration, and the left-out rows with their reasons."""
    fields = {"study": name, "config": (ROOT / config,), "overrides": overrides}
    base = StudySettings.model_validate({**fields, "rows": [Variant(name="x")]}).base
    rows, absent = available(STUDIES[name](base, "mobile-sam"))
    settings, repeated = drop_repetitions(StudySettings.model_validate({**fields, "rows": rows}))
    return settings, {one.name: one.reason for one in (*absent, *repeated)}


def test_every_recipe_row_makes_the_named_change(tmp_path: Path) -> None:
    (tmp_path / "casia1-dev/masks").mkdir(parents=True)
    settings, absent = plan("recipe", f"data.root={tmp_path}", "optim.loss=bce", "optim.ema=0.99")
    trained = {row.name: settings.training(row, 3) for row in settings.rows}
    assert absent.keys() == {"loss-bce", "init-teacher", "with-ema", "traces-none"}
    assert all(reason == "the same as recipe" for reason in absent.values())
    assert trained["recipe"].seed == 3 and trained["recipe"].name == "recipe-recipe"
    kinds = {name: {source.kind for source in one.data.train if source.weight} for name, one in trained.items()}
    assert kinds["recipe"] == {"pseudo", "authentic", "synth"}
    assert kinds["without-real-forgeries"] == {"authentic", "synth"}
    assert kinds["without-synthetic"] == {"pseudo", "authentic"}
    assert kinds["without-authentic"] == {"pseudo", "synth"}
    assert kinds["pixel-masks"] == {"masks", "authentic", "synth"}
    forged = [source.synth.kinds for source in trained["without-authentic"].data.train if source.kind == "synth"]
    assert forged and all("authentic" not in one and one["splice"] > 0 for one in forged)
    assert trained["pixel-masks"].data.train[0].masks == Path("casia1-dev/masks")
    assert (trained["loss-bce+dice"].optim.loss, trained["init-random"].init) == ("bce+dice", "random")
    assert (trained["without-ema"].optim.ema, trained["jpeg-0"].augment.jpeg) == (0.0, 0.0)
    assert trained["traces-copy"].student.traces == ("copy",) and len(trained["traces-all"].student.traces) == 3
    _, absent = plan("recipe", f"data.root={tmp_path / 'nowhere'}")
    assert "no masks/ beside its pictures" in absent["pixel-masks"]


def test_rows_of_other_studies(tmp_path: Path) -> None:
    settings, _ = plan("diversity")
    assert [row.name for row in settings.rows][:2] == ["1-set-without-memory", "1-set-with-memory"]
    pairs = [(row.name, settings.reference(row)) for row in settings.rows]
    assert all(other == name.replace("-with-", "-without-") for name, other in pairs)
    first, last = settings.training(settings.rows[0], 0), settings.training(settings.rows[-1], 0)
    assert {source.name for source in first.data.train if source.weight} == {"casia1"}
    assert {source.name for source in last.data.train if source.weight} > {"casia1"}
    settings, _ = plan("resolution")
    assert [settings.training(row, 0).student.input_size for row in settings.rows] == [224, 448]
    settings, _ = plan("alpha", "student.memory=none")
    assert all(settings.training(row, 0).student.memory == "prototypes" for row in settings.rows)
    assert [row.name for row in plan("memory")[0].rows] == ["prototypes", "spatial", "mean", "ema", "none"]
    journal = tmp_path / "pseudo/pseudo.jsonl"
    journal.parent.mkdir()
    row: dict[str, object] = {
        "image": "a.jpg",
        "status": "ok",
        "teacher": "grabcut",
        "engine": None,
        "width": 8,
        "height": 6,
        "sha256": "",
    }
    row |= {"boxes": [], "mask": "masks/a.png", "mask_sha256": "", "mask_area": 0.5, "seconds": 0.1}
    journal.write_text(json.dumps(row) + "\n")
    settings, absent = plan("pseudo", f"data.root={tmp_path}")
    assert settings.rows[0] == Variant(name="grabcut"), "the configured pseudo-masks represent their teacher"
    assert {row.name for row in settings.rows} >= {"mobile-sam", "box"} and "pixel-masks" in absent
    assert [row.labels.jitter for row in plan("boxes")[0].rows if row.labels] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_manifest_source_uses_its_masks_and_gets_no_pseudo_masks(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", 2, 0)
    assert imltool("data", "index", f"folder:{root}", "--out", tmp_path / "set.jsonl", "-q")[0] == 0
    source = {"name": "set", "kind": "pseudo", "manifest": str(tmp_path / "set.jsonl"), "pseudo": "nowhere"}
    override = f"data.train={json.dumps([source])}"
    settings, absent = plan("recipe", override)
    (masks,) = [row for row in settings.rows if row.name == "pixel-masks"]
    assert settings.training(masks, 0).data.train[0].kind == "masks" and "pixel-masks" not in absent
    code, _, stderr = imltool(
        *("study", "boxes", "--tiny", "--config", ROOT / "configs/boxprompt.yaml", "--set", override),
        *("--set", "data.validation=[]", "--set", "data.calibration=[]"),
        *("--data", f"set={root}", "--teacher", "box", "--out", tmp_path / "out", "--device", "cpu", "-q"),
    )
    assert code == 1 and "source set is a manifest" in stderr and stderr.count("\n") == 1


def test_row_without_training_forgeries_is_left_out(tmp_path: Path) -> None:
    only = '[{"name": "casia1", "kind": "pseudo", "images": "x", "pseudo": "y"}]'
    _, absent = plan("recipe", f"data.train={only}")
    assert absent["without-real-forgeries"] == "no forgery would be left to train on"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("magic", "--tiny"), 2, "unknown study 'magic'"),
        (("ablation", "--tiny", "--only", "fulll"), 2, "its rows are full, without-memory"),
        (("ablation", "--tiny", "--seeds", "0,x"), 2, "--seeds 0,1,2"),
        (("ablation", "--tiny", "--seeds", "1,1"), 2, "seeds must be different"),
        (("ablation", "--tiny", "--checkpoint", "first"), 2, "checkpoint"),
        (("ablation", "--tiny", "--teacher", "me"), 2, "unknown teacher 'me'"),
        (("ablation",), 2, "nothing to train on"),
        (("ablation", "--tiny", "--out", "set"), 2, "is not empty and holds no run"),
        (("rows.yaml", "--tiny"), 2, "two rows have the same name"),
        (("boxes", "--tiny", "--set", "data.train.0.masks=nowhere"), 1, "nowhere"),
    ],
)
def test_invalid_arguments_are_a_one_line_error_before_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    imltool: Imltool,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    make_set(tmp_path / "set", 2, 1)
    (tmp_path / "rows.yaml").write_text("rows: [{name: a}, {name: A}]")
    monkeypatch.chdir(tmp_path)
    found, _, stderr = imltool("study", *arguments, "--data", "set=set", "--device", "cpu", "-q")
    assert found == code and message in stderr and stderr.count("\n") == 1
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_plan_needs_no_data_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imltool: Imltool
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ("--config", ROOT / "configs/boxprompt.yaml")
    code, out, _ = imltool("study", "ablation", *config, "--seeds", "0,1", "--steps", "300", "--plan")
    assert code == 0 and "8 runs of 300 steps" in out and "student.memory=none, student.gating=false" in out
    assert imltool("study", "ablation", *config, "--tiny", "--plan")[0] == 0  # the configuration's own data
    assert not list(tmp_path.iterdir())


def test_trial_on_test_sets_of_another_layout_says_what_is_missing(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", 2, 1)
    for old, new in (("tampered", "Tp"), ("masks", "Gt"), ("authentic", "Au")):
        (root / old).rename(root / new)
    code, _, stderr = imltool("study", "ablation", "--tiny", "--plan", "--data", f"x=folder:{root}")
    assert code == 2 and "--tiny without --config trains on the test sets" in stderr
    assert f"{root} has no folder tampered/ or authentic/" in stderr


def test_shipped_rows_leave_out_the_named_sources() -> None:
    rows = {
        path.stem: load_settings(RowsSettings, path).rows for path in sorted((ROOT / "configs/studies").glob("*.yaml"))
    }
    assert rows.keys() == {"kinds", "traces"}
    config = (ROOT / "configs/boxprompt-traces.yaml",)
    settings = StudySettings(study="kinds", config=config, rows=rows["kinds"])
    trained = {row.name: settings.training(row, 0) for row in settings.rows}
    absent = {
        name: {f"{one.kind} {one.name}" for one in run.data.train if not one.weight} for name, run in trained.items()
    }
    assert absent == {
        "all": set(),
        "without-documents": {"pseudo receipts", "authentic receipts", "synth synth-documents"},
        "without-neural": {"pseudo ai", "synth synth-neural"},
        "without-multisplices": {"pseudo misd", "synth synth-collages"},
        "without-removals": {"pseudo grip", "pseudo ai", "synth synth-removals", "synth synth-neural"},
        "teacher-all": set(),
        "teacher-without-copymoves": {
            *("pseudo casia1", "pseudo casia2", "pseudo cmh", "synth synth-copymoves", "synth synth-stamps"),
        },
    }
    assert trained["teacher-without-copymoves"].init == "teacher"
    splices = [one for one in trained["teacher-without-copymoves"].data.train if one.kind == "pseudo" and one.weight]
    assert "casia1-dev.train-splices.txt" in {str(one.list) for one in splices}, "CASIA splices are kept"
    StudySettings(study="traces", config=config, rows=rows["traces"])
