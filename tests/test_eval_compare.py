"""`imltool compare`: paired comparison of evaluations on the same pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.outputs import results_in
from helpers.pictures import make_set
from numpy.typing import NDArray
from PIL import Image

from imltool.cli.app import run
from imltool.data.folder import read_folder
from imltool.evaluation.compare import Entrant, compare, read_entrants
from imltool.evaluation.rows import ImageRow
from imltool.pictures.images import read_mask, read_size, write_map

Values = NDArray[np.float32]


def evaluated(root: Path, out: Path, guess: Callable[[int, NDArray[np.bool_]], Values], name: str = "") -> Path:
    """Results of `imltool eval --maps` for maps made by `guess` (index, truth); the method is named like the folder."""
    maps = out.with_name(f"maps-{out.name}")
    for index, sample in enumerate(read_folder(root).samples):
        size = read_size(sample.image)
        mask = read_mask(sample.mask) if sample.mask else np.zeros(size[::-1], np.bool_)
        write_map((maps / sample.name).with_suffix(".png"), guess(index, mask))
    arguments = ["eval", "--maps", str(maps), "--name", name or out.name, "--data", f"x={root}", "--out", str(out)]
    assert run(arguments) == 0
    return out


def noisy(strength: float, seed: int) -> Callable[[int, NDArray[np.bool_]], Values]:
    def guess(index: int, mask: NDArray[np.bool_]) -> Values:
        rng = np.random.default_rng([seed, index])
        return np.clip(0.3 + 0.4 * mask + rng.normal(0, strength, mask.shape), 0, 1).astype(np.float32)

    return guess


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Evaluations of a good and a bad method on eight tampered and four authentic pictures."""
    folder = tmp_path_factory.mktemp("results")
    root = make_set(folder / "x", 8, 4)
    return evaluated(root, folder / "good", noisy(0.1, 1)), evaluated(root, folder / "bad", noisy(0.5, 2))


def f1_in(out: Path) -> dict[str, float]:
    with (out / "per_image.csv").open(encoding="utf-8", newline="") as handle:
        return {row["image"]: float(row["f1"]) for row in csv.DictReader(handle) if row["f1"]}


def rows_in(out: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    return {row["metric"]: row for row in found["rows"]}


def test_difference_is_the_mean_over_paired_pictures(
    tmp_path: Path, results: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = results
    out = tmp_path / "out"
    assert run(["compare", str(bad), str(good), "--out", str(out)]) == 0
    row = rows_in(out)["f1"]
    first, second = f1_in(bad), f1_in(good)
    change = [second[name] - first[name] for name in first]
    assert (row["first"], row["second"], row["n"]) == ("bad", "good", 8)
    assert row["difference"] == pytest.approx(np.mean(change))
    assert row["first_mean"] == pytest.approx(np.mean(list(first.values())))
    assert (row["wins"], row["losses"], row["ties"], row["significant"]) == (8, 0, 0, "better")
    rng = np.random.default_rng(0)
    draws = [rng.choice(change, 8).mean() for _ in range(4000)]
    assert row["difference_ci"] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.02)
    table = capsys.readouterr().out
    assert "better" in table
    assert f"{row['difference']:+.3f}" in table
    assert (out / "compare.md").read_text(encoding="utf-8").count("8/0/0") == 1
    with (out / "compare.csv").open(encoding="utf-8", newline="") as handle:
        lines = {line["metric"]: line for line in csv.DictReader(handle)}
    assert float(lines["f1"]["low"]) == row["difference_ci"][0]
    assert lines["image_auc"]["wins"] == ""


def test_smaller_false_positive_area_is_a_win(tmp_path: Path, results: tuple[Path, Path]) -> None:
    good, bad = results
    out = tmp_path / "out"
    assert run(["compare", str(good), str(bad), "--metric", "fp_area", "--out", str(out)]) == 0
    row = rows_in(out)["fp_area"]
    assert row["difference"] > 0
    assert (row["wins"], row["losses"], row["significant"], row["n"]) == (0, 4, "worse", 4)


def test_identical_methods_tie(tmp_path: Path, results: tuple[Path, Path]) -> None:
    root = results[0].parent / "x"
    twin = evaluated(root, tmp_path / "twin", noisy(0.1, 1))
    out = tmp_path / "out"
    assert run(["compare", str(results[0]), str(twin), "--out", str(out)]) == 0
    for row in rows_in(out).values():
        assert row["difference"] == 0.0
        assert row["significant"] == ""
    assert rows_in(out)["f1"]["ties"] == 8
    assert not (out / "differences.png").exists(), "no picture differs between the methods"


def test_sheet_shows_the_largest_differences(tmp_path: Path, results: tuple[Path, Path]) -> None:
    good, bad = results
    out = tmp_path / "out"
    assert run(["compare", str(good), str(bad), "--pictures", "3", "--out", str(out)]) == 0
    with Image.open(out / "differences.png") as sheet:
        assert sheet.width == 4 * 248 + 8, "picture, truth and two maps in a row"
        three = sheet.height
        tile = np.asarray(sheet.convert("RGB"))[60:220, 2 * 248 + 60 : 2 * 248 + 180]
    assert tile.std() > 5, "the tile shows the map"
    assert run(["compare", str(good), str(bad), "--pictures", "1", "--out", str(out)]) == 0
    with Image.open(out / "differences.png") as sheet:
        assert sheet.height < three
    with (out / "pairs.csv").open(encoding="utf-8", newline="") as handle:
        pairs = list(csv.DictReader(handle))
    assert {row["image"]: float(row["good"]) for row in pairs} == f1_in(good)


def test_methods_of_one_folder_can_be_selected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(tmp_path / "x")
    arguments = ["eval", "--weights", "none", "--baseline", "constant", "--baseline", "ela", "--data", f"x={root}"]
    assert run([*arguments, "--out", str(tmp_path / "both")]) == 0
    capsys.readouterr()
    assert run(["compare", str(tmp_path / "both"), "--json", "--out", str(tmp_path / "a")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in found["methods"]] == ["constant", "ela"]
    assert found == json.loads((tmp_path / "a" / "compare.json").read_text(encoding="utf-8"))
    chosen = [f"{tmp_path / 'both'}:ela", f"{tmp_path / 'both'}:constant"]
    assert run(["compare", *chosen, "--metric", "iou", "--out", str(tmp_path / "b")]) == 0
    assert rows_in(tmp_path / "b")["iou"]["first"] == "ela"
    assert run(["compare", f"{tmp_path / 'both'}:magic", *chosen, "--out", str(tmp_path / "c")]) == 2
    assert "it holds constant, ela" in capsys.readouterr().err


def test_sheet_shows_pictures_of_any_layout_and_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_set(tmp_path / "made", 2, 0)
    for part, name in (("tampered", "Tp"), ("masks", "Gt")):
        (tmp_path / "native").mkdir(exist_ok=True)
        (root / part).rename(tmp_path / "native" / name)
    monkeypatch.chdir(tmp_path)
    methods = ["--weights", "none", "--baseline", "ela", "--baseline", "constant"]
    assert run(["eval", *methods, "--data", "x=folder:native", "--out", "results"]) == 0
    monkeypatch.chdir(root)
    assert run(["compare", str(tmp_path / "results"), "--out", str(tmp_path / "out")]) == 0
    sheet = np.asarray(Image.open(tmp_path / "out" / "differences.png").convert("RGB"))
    assert sheet[60:200, 30:200].std() > 10, "the first tile is a picture, not an empty one"


def test_names_may_contain_colons(tmp_path: Path, results: tuple[Path, Path]) -> None:
    root = make_set(tmp_path / "x", 8, 4)
    mine = evaluated(root, tmp_path / "a:b", noisy(0.2, 3), "Net:B5")
    assert run(["compare", str(results[0]), f"{mine}:Net:B5", "--out", str(tmp_path / "out")]) == 0
    assert rows_in(tmp_path / "out")["f1"]["second"] == "Net:B5"


def test_scores_close_to_zero_keep_their_order(tmp_path: Path) -> None:
    root = make_set(tmp_path / "x", 3, 3)
    for name, scale in (("tiny", 1e-7), ("plain", 0.1)):
        for sample in read_folder(root).samples:
            path = (tmp_path / f"maps-{name}" / sample.name).with_suffix(".npz")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, map=np.zeros((64, 96), np.float32), score=scale * (4 if sample.tampered else 1))
        arguments = ["--maps", str(tmp_path / f"maps-{name}"), "--name", name, "--out", str(tmp_path / name)]
        assert run(["eval", "--data", f"x={root}", *arguments]) == 0
    assert run(["compare", str(tmp_path / "tiny"), str(tmp_path / "plain"), "--out", str(tmp_path / "out")]) == 0
    row = rows_in(tmp_path / "out")["image_auc"]
    assert (row["first_mean"], row["second_mean"]) == (1.0, 1.0)


def test_unpaired_pictures_and_different_options_are_reported(
    tmp_path: Path, results: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    head = results_in(results[1])
    head["options"]["min_max"] = True
    (fewer / "results.json").write_text(json.dumps(head), encoding="utf-8")
    lines = (results[1] / "per_image.jsonl").read_text(encoding="utf-8").splitlines()
    for index in (-1, -2):
        row = json.loads(lines[index])
        lines[index] = json.dumps(
            {key: row[key] for key in ("set", "method", "image", "tampered")} | {"reason": "gone"}
        )
    (fewer / "per_image.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert run(["compare", str(results[0]), str(fewer), "--out", str(tmp_path / "out")]) == 0
    notes = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))["notes"]
    assert notes[0] == "x: 2 pictures were not scored in all evaluations and cannot be paired with all"
    assert "--min-max" in notes[1]
    assert all(note in capsys.readouterr().err.replace("\n", " ") for note in notes[:1])


def test_several_sets_have_a_row_each_and_a_common_row(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 50)):
        make_set(tmp_path / name, seed=seed)
    arguments = ["eval", "--weights", "none", "--baseline", "constant", "--baseline", "ela"]
    data = [part for name in ("one", "two") for part in ("--data", f"{name}={tmp_path / name}")]
    assert run([*arguments, *data, "--out", str(tmp_path / "r")]) == 0
    assert run(["compare", str(tmp_path / "r"), "--metric", "f1", "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["set"], row["n"]) for row in rows] == [("one", 3), ("two", 3), ("all sets", 6)]
    assert rows[2]["difference"] == pytest.approx((rows[0]["difference"] + rows[1]["difference"]) / 2)


def test_paired_auc_interval_agrees_with_a_bootstrap_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tampered, authentic = rng.random(30) ** 0.5, rng.random(20)
    other = np.clip(tampered + rng.normal(0, 0.1, 30), 0, 1), np.clip(authentic + rng.normal(0, 0.1, 20), 0, 1)
    draws = []
    for _ in range(1500):
        i, j = rng.integers(0, 30, 30), rng.integers(0, 20, 20)
        first, second = (float((t[i][:, None] > a[j]).mean()) for t, a in ((tampered, authentic), other))
        draws.append(second - first)

    def entrant(label: str, scores: tuple[Values, Values]) -> Entrant:
        rows = [
            ImageRow(f"{side}{i}", bool(side), score=float(one))
            for side in (1, 0)
            for i, one in enumerate(scores[1 - side])
        ]
        return Entrant(label, tmp_path, label, {("x", row.name): row for row in rows}, {}, False)

    entrants = [entrant("first", (tampered, authentic)), entrant("second", other)]  # type: ignore[arg-type]
    (row,) = compare(entrants, ["image_auc"], 0)
    assert row.difference_ci == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=0.015)
    (row,) = compare([entrant("first", (tampered[:1], authentic)), entrants[1]], ["image_auc"], 0)  # type: ignore[arg-type]
    assert row.difference_ci is None


def test_changed_pictures_are_reported(
    tmp_path: Path, results: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = evaluated(make_set(tmp_path / "x", 8, 4, seed=90), tmp_path / "changed", noisy(0.1, 1))
    assert run(["compare", str(results[0]), str(changed), "--out", str(tmp_path / "out")]) == 0
    assert "x was not the same" in capsys.readouterr().err
    assert "x was not the same" in (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")


def test_pictures_of_another_truth_are_not_paired(tmp_path: Path, results: tuple[Path, Path]) -> None:
    fewer = make_set(tmp_path / "x", 6, 4)
    for index in (6, 7):  # tampered in the results of the fixture, here authentic ones of the same name
        Image.open(results[0].parent / "x" / "tampered" / f"t{index}.png").save(fewer / "tampered" / f"t{index}.png")
    lines = [{"image": f"tampered/t{index}.png", "mask": f"masks/t{index}.png"} for index in range(6)]
    lines += [{"image": f"tampered/t{index}.png", "kind": "authentic"} for index in (6, 7)]
    lines += [{"image": f"authentic/a{index}.jpg", "kind": "authentic"} for index in range(4)]
    manifest = fewer / "x.jsonl"
    manifest.write_text("\n".join(json.dumps(line | {"source": "x"}) for line in lines), encoding="utf-8")
    maps = tmp_path / "maps"
    for line in lines:
        write_map((maps / line["image"]).with_suffix(".png"), np.full((64, 96), 0.25, np.float32))
    flat = ["eval", "--maps", str(maps), "--data", f"x={manifest}", "--out", str(tmp_path / "flat")]
    assert run(flat) == 0
    for first, second in ((results[0], tmp_path / "flat"), (tmp_path / "flat", results[0])):
        out = tmp_path / f"out-{first.name}"
        assert run(["compare", str(first), str(second), "--out", str(out)]) == 0
        row = rows_in(out)["image_auc"]
        assert row["n"] == 10  # 6 tampered and 4 authentic in both
        assert row["first_mean" if first.name == "flat" else "second_mean"] == 0.5
        notes = json.loads((out / "compare.json").read_text(encoding="utf-8"))["notes"]
        assert any("2 pictures are tampered in one evaluation and authentic in another" in note for note in notes)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{good}"], 2, "only one method"),
        (["{good}", "{good}"], 2, "given twice"),
        (["{good}", "{tmp}/nowhere"], 1, "holds no evaluation"),
        (["{good}", "{tmp}/stopped"], 1, "not complete"),
        (["{good}", "{bad}", "--metric", "beauty"], 2, "unknown metric"),
        (["{good}", "{bad}", "--out", "{tmp}/notes"], 2, "holds no comparison"),
        (["{good}", "{tmp}/elsewhere"], 1, "no picture in common"),
        (["{good}", "{bad}", "--metric", "f1_calibrated"], 2, "another --metric"),
        (["{good}", "{tmp}/cut"], 1, "damaged evaluation"),
        (["{good}", "{tmp}/other"], 1, "damaged evaluation"),
    ],
)
def test_invalid_comparisons_are_a_one_line_error(
    tmp_path: Path,
    results: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    for name, change in (("stopped", {"complete": False}), ("cut", {}), ("other", {"data": 7})):
        folder = tmp_path / name
        folder.mkdir()
        found = results_in(results[1]) | change
        (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
        text = (results[1] / "per_image.jsonl").read_text(encoding="utf-8")
        (folder / "per_image.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "cut" / "per_image.jsonl").write_text(text[:-40], encoding="utf-8")
    evaluated(make_set(tmp_path / "y", 1, 1), tmp_path / "elsewhere", noisy(0.1, 1), "elsewhere")
    for part in ("results.json", "per_image.jsonl"):
        renamed = (tmp_path / "elsewhere" / part).read_text(encoding="utf-8").replace('"x"', '"y"')
        (tmp_path / "elsewhere" / part).write_text(renamed, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep", encoding="utf-8")
    capsys.readouterr()
    names = {"good": results[0], "bad": results[1], "tmp": tmp_path}
    command = ["compare", *(argument.format(**names) for argument in arguments)]
    assert run(command if "--out" in command else [*command, "--out", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_rows_to_compare_hold_no_curve(results: tuple[Path, Path]) -> None:
    for entrant in read_entrants([str(one) for one in results]):
        assert entrant.rows and all(row.curve is None for row in entrant.rows.values()), "they fill the memory"
