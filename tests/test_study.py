"""`imltool study` on generated sets: resuming after a kill, errors, paired differences against a slow oracle."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.forked import Forked
from helpers.outputs import csv_in, log_of, parsed, results_in
from helpers.pictures import make_set
from PIL import Image

from imltool.cli.app import run
from imltool.evaluation.bootstrap import RESAMPLES
from imltool.study.report import study_results
from imltool.study.results import complete_matrix, estimate
from imltool.study.reuse import read_measurements
from imltool.study.settings import JOURNAL, StudySettings

ROOT = Path(__file__).parents[1]
CPU = ("--device", "cpu", "-q")


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> dict[str, Any]:
    """A tiny ablation killed in its first run and then resumed: its folder, options and the log after the kill."""
    folder = tmp_path_factory.mktemp("study")
    sets = [f"{name}={make_set(folder / name, 3, 2, seed)}" for name, seed in (("one", 0), ("two", 50))]
    out = folder / "out"
    options = ["study", "ablation", "--tiny", "--steps", "3", "--set", "save_every=1", "--out", str(out), *CPU]
    options += ["--set", "optim.batch_size=2"]
    options += [word for one in sets for word in ("--data", one)]
    saved = lambda: list(out.glob("full/seed-0/state-*"))  # noqa: E731
    forked.stop_midway(signal.SIGKILL, saved, out, *options, folder=folder)
    left = (out / "full/seed-0/log.jsonl").read_text(encoding="utf-8")
    assert run(options) == 0
    return {"out": out, "options": options, "left": left, "folder": folder}


def test_every_row_is_measured_on_every_set_like_eval(ablation: dict[str, Any], tmp_path: Path) -> None:
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
    measured, metrics = results_in(tmp_path)["sets"]["one"], results["sets"]["one"]["baseline"]
    for key in ("pixel_f1", "pixel_f1_calibrated", "pixel_auc", "fp_area", "image_auc", "pixel_f1_oracle"):
        assert metrics[key]["mean"] == pytest.approx(measured[key], abs=2e-6)
    assert (metrics["role"], metrics["n_tampered"], metrics["n_authentic"]) == ("ind", 3, 2)
    assert metrics["pixel_auc"]["interval"] == pytest.approx(measured["pixel_auc_ci"], abs=0.02)


def test_study_is_not_complete_before_an_added_set_is_measured(ablation: dict[str, Any]) -> None:
    names = ("full", "without-memory", "without-gating", "baseline")
    settings = StudySettings.model_validate({"study": "ablation", "rows": [{"name": name} for name in names]})
    measurements = read_measurements(ablation["out"] / JOURNAL)
    assert study_results(settings, measurements, {}, "", ["one", "two"]).complete
    assert not study_results(settings, measurements, {}, "", ["one", "two", "added"]).complete


def test_killed_study_resumes_from_the_state_of_its_run(ablation: dict[str, Any]) -> None:
    killed = parsed(ablation["left"])
    assert killed.pop(0)["event"] == "sources", "the log starts with the sources"
    assert 0 < len(killed) < 4 and all(row["event"] == "train" for row in killed)
    interrupted = ablation["out"] / "full/seed-0"
    log = log_of(interrupted)
    log = [row for row in log if row["event"] != "sources"]
    assert log[0] == killed[0], "the first step was not repeated: its images per second are the same"
    assert [(row["event"], row["step"]) for row in log] == [*(("train", step) for step in (1, 2, 3)), ("validation", 3)]
    assert not list(ablation["out"].glob("*/seed-0/*state-*")), "a measured run needs no state"


@pytest.mark.slow
def test_runs_of_another_study_are_reused(ablation: dict[str, Any], tmp_path: Path) -> None:
    source, out = ablation["out"], tmp_path / "memory"
    swapped = {"ablation": "memory", str(source): str(out)}
    options = [swapped.get(word, word) for word in ablation["options"]]
    assert run([*options, "--only", "prototypes", "--only", "none", "--reuse", str(source)]) == 0
    for name, known in (("prototypes", "full"), ("none", "without-memory")):
        for file in ("last.safetensors", "log.jsonl", "parameters.json"):
            assert (out / name / "seed-0" / file).read_bytes() == (source / known / "seed-0" / file).read_bytes()
    metrics, before = results_in(out)["sets"]["one"], results_in(source)["sets"]["one"]
    assert metrics["none"]["pixel_f1"]["mean"] == before["without-memory"]["pixel_f1"]["mean"]
    # a different number of steps is a different run, which is trained
    longer = tmp_path / "longer"
    other = [{"3": "2", str(out): str(longer)}.get(word, word) for word in options]
    assert run([*other, "--only", "none", "--reuse", str(source)]) == 0
    assert (longer / "none/seed-0/log.jsonl").read_bytes() != (source / "without-memory/seed-0/log.jsonl").read_bytes()


def test_reusing_a_folder_without_a_study_is_a_one_line_error(
    ablation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [{str(ablation["out"]): str(tmp_path / "out")}.get(word, word) for word in ablation["options"]]
    assert run([*options, "--reuse", str(tmp_path)]) == 1
    assert "holds no study" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_more_seeds_are_added_and_differences_are_paired(ablation: dict[str, Any]) -> None:
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
        for line in csv_in(out):
            if line[key]:
                values[line["set"], line["row"], line["image"]][int(line["seed"])] = float(line[key])
        pictures = [f"tampered/t{index}.png" for index in range(3)]
        ours = [[values["two", "baseline", name][seed] for name in pictures] for seed in (0, 1)]
        theirs = [[values["two", "full", name][seed] for name in pictures] for seed in (0, 1)]
        metric = results["sets"]["two"]["baseline"][key]
        assert metric["mean"] == pytest.approx(np.mean(ours)) and metric["reference"] == "full"
        assert metric["difference"] == pytest.approx(np.mean(ours) - np.mean(theirs))
        assert list(metric["seeds"].values()) == pytest.approx([np.mean(seed) for seed in ours])
        drawn = slow_resamples([ours], 0)
        against = slow_resamples([theirs], 0)
        assert metric["interval"] == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist())
        paired = np.percentile(np.array(drawn) - np.array(against), [2.5, 97.5]).tolist()
        assert metric["difference_interval"] == pytest.approx(paired)
    single = results["sets"]["two"]["without-memory"]
    assert single["seeds"] == [0] and single["pixel_f1"]["reference"] == "full"
    assert list(single["pixel_f1"]["difference_seeds"]) == ["0"]
    assert results["sets"]["two"]["full"]["pixel_f1"]["difference"] is None


def slow_resamples(sets: list[list[list[float]]], seed: int) -> list[float]:
    """Bootstrap means in plain Python: for every resample, seeds are drawn, then pictures of every set."""
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


def test_estimates_agree_with_a_slow_oracle() -> None:
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
    ablation: dict[str, Any], tmp_path: Path, imltool: Imltool, change: tuple[str, str], message: str
) -> None:
    (tmp_path / "list.txt").write_text("tampered/t0.png\n")
    before = {path: path.read_bytes() for path in ablation["out"].glob("*.*")}
    change = tuple(word.format(tmp_path / "list.txt") for word in change)  # type: ignore[assignment]
    code, _, stderr = imltool(*ablation["options"], *change)
    assert code == 2 and message in stderr and stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in ablation["out"].glob("*.*")} == before


def test_picture_without_a_mask_is_left_out(tmp_path: Path, imltool: Imltool) -> None:
    root, out = make_set(tmp_path / "set", 4, 2), tmp_path / "out"
    (root / "masks/t0.png").unlink()
    options = ["study", "ablation", "--tiny", "--only", "baseline", "--steps", "1", "--set", "optim.batch_size=2"]
    options += ["--data", f"one={root}", "--out", str(out), "--device", "cpu"]
    code, _, stderr = imltool(*options)
    assert code == 1 and "1 of 6 pictures are left out: no mask 1 (tampered/t0.png)" in stderr
    assert "allow it with --set data.max_left_out=0.17" in stderr
    # one of the four training forgeries
    code, _, stderr = imltool(*options, "--set", "data.max_left_out=0.17")
    assert code == 1 and "1 of 4 pictures are left out: no mask 1 (t0.png)" in stderr
    assert imltool(*options, "--set", "data.max_left_out=0.25")[0] == 0
    metrics = results_in(out)["sets"]["one"]["baseline"]
    assert (metrics["n_tampered"], metrics["n_authentic"]) == (3, 2)
    (account,) = json.loads((out / "sources.json").read_text(encoding="utf-8"))
    assert account["used"] == 5 and account["left_out"] == {"no mask": ["tampered/t0.png"]}


def test_changed_training_pictures_are_refused_when_resuming(tmp_path: Path, imltool: Imltool) -> None:
    one, two = make_set(tmp_path / "one", 2, 0), make_set(tmp_path / "two", 2, 0, 50)
    (tmp_path / "rows.yaml").write_text("rows: [{name: plain}, {name: wild, overrides: [optim.lr=1.0e+30]}]")
    source = json.dumps(
        [{"name": "one", "kind": "masks", "images": str(one / "tampered"), "masks": str(one / "masks")}]
    )
    # after a step of 1e30 the next loss is not finite
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


def test_folder_name_that_is_not_utf8_is_refused(tmp_path: Path, imltool: Imltool) -> None:
    root, out = make_set(tmp_path / "set", 2, 1), tmp_path / os.fsdecode(b"o\xff")
    code, _, error = imltool("study", "alpha", "--tiny", "--data", f"set={root}", "--out", out, "-q")
    assert code == 1 and "is not plain UTF-8" in error and not out.exists()
