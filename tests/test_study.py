"""`imltool study` on made-up sets: rows, resuming after a kill, refusals, paired differences against a slow oracle."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_set
from PIL import Image

from imltool.cli.app import run
from imltool.errors import DataError
from imltool.evaluation.bootstrap import RESAMPLES
from imltool.images import read_mask
from imltool.study.labels import OneEmbedding, label_overrides, label_quality, make_labels
from imltool.study.results import complete_matrix, estimate
from imltool.study.runner import data_digest
from imltool.study.settings import LabelSettings, Row, StudySettings
from imltool.study.studies import STUDIES, available, drop_repetitions
from imltool.teacher.pseudo import read_pseudo
from imltool.teacher.weightless import BoxTeacher
from imltool.training.settings import TrainSettings

ROOT = Path(__file__).parents[1]
CPU = ("--device", "cpu", "-q")
QUICK = ("--tiny", "--steps", "1", *CPU)


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def results_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny ablation that was killed in its first run and then went on: its folder, options and what the kill left."""
    folder = tmp_path_factory.mktemp("study")
    sets = [f"{name}={make_set(folder / name, 3, 2, seed)}" for name, seed in (("one", 0), ("two", 50))]
    out = folder / "out"
    options = ["study", "ablation", "--tiny", "--steps", "3", "--set", "save_every=1", "--out", str(out), *CPU]
    options += ["--set", "optim.batch_size=2"]
    options += [word for one in sets for word in ("--data", one)]
    process = subprocess.Popen(
        [sys.executable, "-m", "imltool", *options], env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=folder
    )
    deadline = time.time() + 200
    while time.time() < deadline and not list(out.glob("full/seed-0/state-*")):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = (out / "full/seed-0/log.jsonl").read_text(encoding="utf-8")
    assert run(options) == 0
    return {"out": out, "options": options, "left": left, "folder": folder}


def test_every_row_is_measured_on_every_set_as_eval_would(ablation: dict[str, Any], tmp_path: Path) -> None:
    out, results = ablation["out"], results_in(ablation["out"])
    assert results["complete"] and results["study"] == "ablation" and results["seeds"] == [0]
    names = ["full", "without-memory", "without-gating", "baseline"]
    assert {name: list(rows) for name, rows in results["sets"].items()} == {"one": names, "two": names}
    assert results["roles"]["ind"]["sets"] == ["one", "two"] and "ood" not in results["roles"]
    table = (out / "table.md").read_text(encoding="utf-8")
    assert sum(table.count(f"| {name} |") for name in names) == 12
    assert Image.open(out / "plot.png").width > 800
    switches = [json.loads((out / name / "seed-0/parameters.json").read_text())["student"] for name in names]
    assert [(one["memory"], one["gating"]) for one in switches] == [
        ("prototypes", True),
        ("none", True),
        ("prototypes", False),
        ("none", False),
    ]
    weights = out / "baseline/seed-0/last.safetensors"
    arguments = ["--data", f"one={ablation['folder'] / 'one'}", "--out", str(tmp_path), "--device", "cpu"]
    assert run(["eval", "--weights", str(weights), *arguments]) == 0
    measured, figures = results_in(tmp_path)["sets"]["one"], results["sets"]["one"]["baseline"]
    for key in ("pixel_f1", "pixel_f1_calibrated", "pixel_auc", "fp_area", "image_auc", "pixel_f1_oracle"):
        assert figures[key]["mean"] == pytest.approx(measured[key], abs=2e-6)
    assert (figures["role"], figures["n_tampered"], figures["n_authentic"]) == ("ind", 3, 2)
    assert figures["pixel_auc"]["interval"] == pytest.approx(measured["pixel_auc_ci"], abs=0.02)


def test_a_killed_study_goes_on_from_the_state_of_its_run(ablation: dict[str, Any]) -> None:
    killed = [json.loads(line) for line in ablation["left"].splitlines()]
    assert 0 < len(killed) < 4 and all(row["event"] == "train" for row in killed)
    interrupted = ablation["out"] / "full/seed-0"
    log = [json.loads(line) for line in (interrupted / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert log[0] == killed[0], "the first step, with its images a second, was not taken again"
    assert [(row["event"], row["step"]) for row in log] == [*(("train", step) for step in (1, 2, 3)), ("validation", 3)]
    assert not list(ablation["out"].glob("*/seed-0/*state-*")), "a measured run needs no state"


def test_runs_of_another_study_are_taken_over(ablation: dict[str, Any], tmp_path: Path) -> None:
    source, out = ablation["out"], tmp_path / "memory"
    swapped = {"ablation": "memory", str(source): str(out)}
    options = [swapped.get(word, word) for word in ablation["options"]]
    assert run([*options, "--only", "prototypes", "--only", "none", "--reuse", str(source)]) == 0
    for name, known in (("prototypes", "full"), ("none", "without-memory")):
        for file in ("last.safetensors", "log.jsonl", "parameters.json"):
            assert (out / name / "seed-0" / file).read_bytes() == (source / known / "seed-0" / file).read_bytes()
    figures, before = results_in(out)["sets"]["one"], results_in(source)["sets"]["one"]
    assert figures["none"]["pixel_f1"]["mean"] == before["without-memory"]["pixel_f1"]["mean"]
    # one step more is another run: it is trained
    longer = tmp_path / "longer"
    other = [{"3": "2", str(out): str(longer)}.get(word, word) for word in options]
    assert run([*other, "--only", "none", "--reuse", str(source)]) == 0
    assert (longer / "none/seed-0/log.jsonl").read_bytes() != (source / "without-memory/seed-0/log.jsonl").read_bytes()


def test_reusing_what_is_no_study_is_one_line(
    ablation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [{str(ablation["out"]): str(tmp_path / "out")}.get(word, word) for word in ablation["options"]]
    assert run([*options, "--reuse", str(tmp_path)]) == 1
    assert "holds no study" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_more_seeds_join_what_is_finished_and_differences_are_paired(ablation: dict[str, Any]) -> None:
    out, only = ablation["out"], ("--only", "full", "--only", "baseline")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-0/*.safetensors")}
    assert len(before) == 8
    assert run([*ablation["options"], "--seeds", "0,1", *only]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.parent.name for path in out.glob("*/seed-1")} == {"full", "baseline"}
    results = results_in(out)
    assert not results["complete"] and "Not complete" in (out / "table.md").read_text(encoding="utf-8")
    for key in ("pixel_f1", "pixel_auc"):
        values: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
        for line in rows_in(out / "per_image.csv"):
            if line[key]:
                values[line["set"], line["row"], line["image"]][int(line["seed"])] = float(line[key])
        pictures = [f"tampered/t{index}.png" for index in range(3)]
        ours = [[values["two", "baseline", name][seed] for name in pictures] for seed in (0, 1)]
        theirs = [[values["two", "full", name][seed] for name in pictures] for seed in (0, 1)]
        figure = results["sets"]["two"]["baseline"][key]
        assert figure["mean"] == pytest.approx(np.mean(ours)) and figure["against"] == "full"
        assert figure["difference"] == pytest.approx(np.mean(ours) - np.mean(theirs))
        assert list(figure["seeds"].values()) == pytest.approx([np.mean(seed) for seed in ours])
        drawn = slow_resamples([ours], 0)
        against = slow_resamples([theirs], 0)
        assert figure["interval"] == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist())
        paired = np.percentile(np.array(drawn) - np.array(against), [2.5, 97.5]).tolist()
        assert figure["difference_interval"] == pytest.approx(paired)
    single = results["sets"]["two"]["without-memory"]
    assert single["seeds"] == [0] and single["pixel_f1"]["against"] == "full"
    assert list(single["pixel_f1"]["difference_seeds"]) == ["0"]
    assert results["sets"]["two"]["full"]["pixel_f1"]["difference"] is None


def slow_resamples(sets: list[list[list[float]]], seed: int) -> list[float]:
    """Bootstrap means, drawn one number at a time: for every resample seeds, then pictures of every set."""
    rng = np.random.default_rng(seed)
    count = len(sets[0])
    seeds = rng.integers(count, size=(RESAMPLES, count)).tolist()
    drawn = [rng.integers(len(values[0]), size=(RESAMPLES, len(values[0]))).tolist() for values in sets]
    means = []
    for index in range(RESAMPLES):
        total = 0.0
        for values, pictures in zip(sets, drawn, strict=True):
            chosen = [values[s][p] for s in seeds[index] for p in pictures[index]]
            total += sum(chosen) / len(chosen)
        means.append(total / len(sets))
    return means


def test_estimates_against_a_slow_oracle() -> None:
    rng = np.random.default_rng(4)
    sets = [rng.random((3, 7)), rng.random((3, 4)) + 1]
    found = estimate(sets, seed=9)
    assert found is not None and found[1] is not None
    assert found[0] == pytest.approx((sets[0].mean() + sets[1].mean()) / 2)
    slow = slow_resamples([one.tolist() for one in sets], 9)
    assert found[1] == pytest.approx(np.percentile(slow, [2.5, 97.5]).tolist())
    assert estimate([np.zeros((2, 0))]) is None and estimate([]) is None
    assert estimate([np.array([[0.25], [0.75]])]) == (0.5, None)
    gaps = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert complete_matrix(gaps).tolist() == [[1.0, 5.0], [3.0, 5.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--steps", "5"), "optim.steps was 3, now 5"),
        (("--set", "augment.flip=0"), "augment.flip was 0.5, now 0"),
        (("--list", "one={}"), "other pictures or masks under the name one"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    ablation: dict[str, Any], tmp_path: Path, imltool, change: tuple[str, str], message: str
) -> None:
    (tmp_path / "list.txt").write_text("tampered/t0.png\n")
    before = {path: path.read_bytes() for path in ablation["out"].glob("*.*")}
    change = tuple(word.format(tmp_path / "list.txt") for word in change)  # type: ignore[assignment]
    code, _, stderr = imltool(*ablation["options"], *change)
    assert code == 2 and message in stderr and stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in ablation["out"].glob("*.*")} == before


def test_training_pictures_must_stay_what_they_were(tmp_path: Path, imltool) -> None:
    one, two = make_set(tmp_path / "one", 2, 0), make_set(tmp_path / "two", 2, 0, 50)
    (tmp_path / "rows.yaml").write_text("rows: [{name: plain}, {name: wild, overrides: [optim.lr=1.0e+30]}]")
    source = json.dumps(
        [{"name": "one", "kind": "masks", "images": str(one / "tampered"), "masks": str(one / "masks")}]
    )
    # a step of 1e30 leaves weights whose next loss is not finite
    wild = (
        "--steps",
        "2",
        "--set",
        f"data.train={source}",
        "--set",
        "optim.clip_norm=1.0e+30",
        "--set",
        "optim.warmup=0",
    )
    options = (
        "study",
        tmp_path / "rows.yaml",
        "--tiny",
        *wild,
        "--data",
        f"two={two}",
        "--out",
        tmp_path / "out",
        *CPU,
    )
    code, _, stderr = imltool(*options)
    assert code == 3 and "wild, seed 0: the loss is not finite" in stderr
    results = results_in(tmp_path / "out")
    assert list(results["sets"]["two"]) == ["plain"] and results["sets"]["two"]["plain"]["role"] == "ood"
    (one / "tampered/t1.png").unlink()
    (one / "masks/t1.png").unlink()
    code, _, stderr = imltool(*options)
    assert code == 2 and "pictures and labels of this row was" in stderr and stderr.count("\n") == 1


def test_sloppy_boxes_become_pseudo_masks_that_are_trained_on(tmp_path: Path, imltool) -> None:
    root, out = make_set(tmp_path / "set", 3, 1), tmp_path / "out"
    arguments = ("--teacher", "box", "--data", f"set={root}", "--out", out, "--only", "sloppy-20")
    assert imltool("study", "boxes", *QUICK, *arguments)[0] == 0
    quality = results_in(out)["rows"]["sloppy-20"]["label_quality"]
    ious = []
    for path in (root / "masks").iterdir():
        truth = read_mask(path)
        height, width = truth.shape
        rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        tall, wide = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        box = np.zeros_like(truth)
        y1, y2 = max(0, rows[0] - 0.2 * tall), min(height, rows[-1] + 1 + 0.2 * tall)
        x1, x2 = max(0, columns[0] - 0.2 * wide), min(width, columns[-1] + 1 + 0.2 * wide)
        centres_y, centres_x = np.arange(height) + 0.5, np.arange(width) + 0.5
        box[np.ix_((centres_y >= y1) & (centres_y < y2), (centres_x >= x1) & (centres_x < x2))] = True
        ious.append((box & truth).sum() / (box | truth).sum())
    assert quality["images"] == 3 and quality["iou_mean"] == pytest.approx(np.mean(ious), abs=0.02)
    assert quality["iou_mean"] < 0.6, "the disc fills 79 % of its exact box and 40 % of one that is 1.4 times as wide"
    used = json.loads((out / "sloppy-20/seed-0/parameters.json").read_text())["data"]["train"][0]
    assert used["kind"] == "pseudo" and Path(used["pseudo"]).is_relative_to(out)


def test_boxes_that_were_drawn_are_given_to_the_other_teachers(tmp_path: Path, imltool) -> None:
    images = make_set(tmp_path / "set", 3, 0) / "tampered"
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2\n" + "".join(f"t{i}.png,{10 + i},8,60,50\n" for i in range(3))
    )
    pseudo = (
        "pseudo",
        images,
        "--boxes",
        tmp_path / "boxes.csv",
        "--teacher",
        "box",
        "--out",
        tmp_path / "drawn",
        "-q",
    )
    assert imltool(*pseudo)[0] == 0
    (tmp_path / "train.txt").write_text("tampered/t0.png\ntampered/t2.png\n")
    source = {"name": "set", "kind": "pseudo", "images": str(images), "pseudo": str(tmp_path / "drawn")}
    data = {"train": [{**source, "list": str(tmp_path / "train.txt")}]}
    settings = TrainSettings.model_validate({"data": data})
    labels = LabelSettings(teacher="grabcut")
    made = list(make_labels(settings, [labels], tmp_path / "out", "cpu"))
    assert [event["image"] for event in made] == ["t0.png", "t2.png"]
    assert not list(make_labels(settings, [labels], tmp_path / "out", "cpu")), "made once"
    kind, folder = label_overrides(settings, labels, tmp_path / "out")
    assert kind == "data.train.0.kind=pseudo"
    rows = read_pseudo(Path(json.loads(folder.partition("=")[2])))
    assert [[box["box"] for box in row["boxes"]] for row in rows] == [[[10, 8, 60, 50]], [[12, 8, 60, 50]]]
    assert {row["teacher"] for row in rows} == {"grabcut"}
    found = label_quality(settings)
    assert found is not None and found["images"] == 2 and 0.1 < found["iou_mean"] < 0.6
    before = data_digest(settings)
    (tmp_path / "drawn/masks/t2.png").unlink()
    with pytest.raises(DataError, match=r"t2\.png cannot be read"):
        data_digest(settings)
    (tmp_path / "drawn/masks/t2.png").write_bytes((tmp_path / "drawn/masks/t1.png").read_bytes())
    (images / "t0.png").write_bytes((images / "t0.png").read_bytes() + b"\0")
    assert data_digest(settings) != before


def test_a_picture_is_embedded_once_for_all_its_boxes() -> None:
    class Counting(BoxTeacher):
        embedded = 0

        def embed(self, rgb):
            self.embedded += 1
            return super().embed(rgb)

    inner = Counting()
    teacher, first, second = OneEmbedding(inner), np.zeros((8, 8, 3), np.uint8), np.ones((8, 8, 3), np.uint8)
    for rgb in (first, first.copy(), second, second, first):
        assert teacher.embed(rgb) is not None
    assert inner.embedded == 3 and teacher.name == "box"
    (mask,) = teacher.decode(teacher.embed(first), np.array([[1, 1, 4, 4]], np.float32))
    assert mask.mask.sum() == 9


def plan(name: str, *overrides: str, config: str = "configs/boxprompt.yaml") -> tuple[StudySettings, dict[str, str]]:
    """The study of a shipped configuration, and the rows left out with their reasons."""
    fields = {"study": name, "config": ROOT / config, "overrides": overrides}
    base = StudySettings.model_validate({**fields, "rows": [Row(name="x")]}).base
    rows, absent = available(STUDIES[name](base, "mobile-sam"))
    settings, repeated = drop_repetitions(StudySettings.model_validate({**fields, "rows": rows}))
    return settings, {one.name: one.reason for one in (*absent, *repeated)}


def test_every_row_of_the_recipe_changes_what_its_name_says(tmp_path: Path) -> None:
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


def test_rows_of_the_other_studies(tmp_path: Path) -> None:
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
    journal.write_text('{"image": "a.jpg", "teacher": "grabcut"}\n')
    settings, absent = plan("pseudo", f"data.root={tmp_path}")
    assert settings.rows[0] == Row(name="grabcut"), "the configured pseudo-masks stand for their teacher"
    assert {row.name for row in settings.rows} >= {"mobile-sam", "box"} and "pixel-masks" in absent
    assert [row.labels.sloppiness for row in plan("boxes")[0].rows if row.labels] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_nothing_to_learn_from_is_no_row(tmp_path: Path) -> None:
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
def test_mistakes_are_one_line_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imltool, arguments: tuple[str, ...], code: int, message: str
) -> None:
    make_set(tmp_path / "set", 2, 1)
    (tmp_path / "rows.yaml").write_text("rows: [{name: a}, {name: A}]")
    monkeypatch.chdir(tmp_path)
    found, _, stderr = imltool("study", *arguments, "--data", "set=set", "--device", "cpu", "-q")
    assert found == code and message in stderr and stderr.count("\n") == 1
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_the_plan_needs_no_data_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imltool) -> None:
    monkeypatch.chdir(tmp_path)
    config = ("--config", ROOT / "configs/boxprompt.yaml")
    code, out, _ = imltool("study", "ablation", *config, "--seeds", "0,1", "--steps", "300", "--plan")
    assert code == 0 and "8 runs of 300 steps" in out and "student.memory=none, student.gating=false" in out
    assert not list(tmp_path.iterdir())
