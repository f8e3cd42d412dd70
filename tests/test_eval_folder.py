"""The output folder of `imltool eval`: resuming, keeping results, no mixing, one writer at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.commands import CONSTANT, Imltool
from helpers.outputs import csv_in, results_in
from helpers.pictures import noise_set

from imltool.cli.app import run
from imltool.files import folder_lock


@pytest.mark.parametrize("kept", [0, 1, 7, 13, 19])
def test_killed_evaluation_resumes_with_the_missing_pictures(tmp_path: Path, kept: int) -> None:
    """Two sets of five pictures, two methods, batches of two: a kill may come after any row."""
    out = tmp_path / "out"
    data = [part for name in "ab" for part in ("--data", f"{name}={noise_set(tmp_path / name)}")]
    arguments = ["eval", *CONSTANT, "--baseline", "ela", *data, "--batch", "2", "--out", str(out)]
    assert run(arguments) == 0
    written = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    journal = out / "per_image.jsonl"
    lines = written[journal.name].splitlines(keepends=True)
    assert len(lines) == 1 + 2 * 2 * 5
    # state after a kill: some rows, half of another row, and no tables
    journal.write_bytes(b"".join(lines[: 1 + kept]) + lines[1 + kept][:40])
    for name in written.keys() - {journal.name, "eval_parameters.json"}:
        (out / name).unlink()
    assert run(arguments) == 0
    again = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert again.keys() == written.keys()
    assert sorted(again[journal.name].splitlines()) == sorted(line.rstrip() for line in lines)
    assert all(again[name] == written[name] for name in written if name != journal.name)


def test_finished_evaluation_is_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = noise_set(tmp_path / "x"), tmp_path / "out"
    arguments = ["eval", *CONSTANT, "--data", f"x={root}", "--out", str(out)]
    assert run([*arguments, "--robust", "screenshot"]) == 0
    journal, robust = out / "per_image.jsonl", results_in(out)["robust"]
    # a changed value that only survives if nothing is measured again
    lines = journal.read_text(encoding="utf-8").splitlines()
    marked = json.loads(lines[1]) | {"score": 0.125}
    journal.write_text("\n".join([lines[0], json.dumps(marked), *lines[2:]]) + "\n", encoding="utf-8")
    assert run(arguments) == 0
    assert "resuming: 5 rows are in" in capsys.readouterr().err
    assert "0.125" in {row["score"] for row in csv_in(out)}
    kept = results_in(out)["robust"]["methods"]["constant"]["x"]["screenshot"][1]
    assert kept == robust["methods"]["constant"]["x"]["screenshot"][1], "metrics of degraded pictures are kept"
    assert run([*arguments, "--restart"]) == 0
    assert "0.125" not in {row["score"] for row in csv_in(out)}
    assert results_in(out)["robust"] is None


@pytest.mark.parametrize("damage", ["versions", "line"])
def test_outdated_or_damaged_rows_are_measured_again(tmp_path: Path, imltool: Imltool, damage: str) -> None:
    out = tmp_path / "out"
    arguments = ("eval", *CONSTANT, "--data", f"x={noise_set(tmp_path / 'x')}", "--out", out)
    assert imltool(*arguments)[0] == 0
    journal = out / "per_image.jsonl"
    whole = journal.read_text(encoding="utf-8").splitlines()
    changed = list(whole)
    if damage == "versions":
        changed[0] = changed[0].replace('"numpy": "', '"numpy": "0.')
    else:
        changed[2] = changed[2].replace('"counts"', '"cuonts"')
    journal.write_text("\n".join(changed) + "\n", encoding="utf-8")
    code, _, error = imltool(*arguments)
    assert code == 0 and "measured again" in error
    assert journal.read_text(encoding="utf-8").splitlines() == whole


def test_results_of_other_parameters_are_kept_unless_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = noise_set(tmp_path / "x"), tmp_path / "out"
    arguments = ["eval", "--weights", "none", "--data", f"x={root}", "--out", str(out)]
    assert run([*arguments, "--baseline", "constant"]) == 0
    before = (out / "results.json").read_bytes()
    assert run([*arguments, "--baseline", "constant"]) == 0
    capsys.readouterr()
    assert run([*arguments, "--baseline", "ela"]) == 2
    assert "--restart" in capsys.readouterr().err
    (out / "my notes.txt").write_text("keep", encoding="utf-8")
    assert (out / "results.json").read_bytes() == before
    assert run([*arguments, "--baseline", "ela", "--restart"]) == 0
    assert [one["label"] for one in results_in(out)["methods"]] == ["ela"]
    assert (out / "my notes.txt").exists()


@pytest.mark.parametrize("option", [[], ["--restart"]])
@pytest.mark.parametrize("name", ["results.json", "notes.txt"])
def test_folder_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, option: list[str]
) -> None:
    root, out = noise_set(tmp_path / "x"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}", encoding="utf-8")
    assert run(["eval", *CONSTANT, "--data", f"x={root}", "--out", str(out), *option]) == 2
    assert "is not empty and holds no evaluation" in " ".join(capsys.readouterr().err.split())
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "{}")]


def test_second_writer_of_the_folder_is_refused(tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "out"
    arguments = ("eval", *CONSTANT, "--data", f"x={noise_set(tmp_path / 'x')}", "--out", out)
    assert imltool(*arguments)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with folder_lock(out):
        code, _, error = imltool(*arguments, "--restart")
    assert code == 2 and "another command is writing" in error
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert imltool(*arguments, "--restart")[0] == 0


def test_damaged_tables_are_rebuilt_from_the_rows(tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "out"
    arguments = ("eval", *CONSTANT, "--data", f"x={noise_set(tmp_path / 'x')}", "--out", out)
    assert imltool(*arguments)[0] == 0
    written = {name: (out / name).read_bytes() for name in ("per_image.csv", "results.json", "table.md", "curves.json")}
    for name in written:
        (out / name).write_text("damaged", encoding="utf-8")
    code, _, error = imltool("compare", out, out, "--out", tmp_path / "difference")
    assert code == 1 and "damaged evaluation" in error
    assert imltool(*arguments)[0] == 0
    assert {name: (out / name).read_bytes() for name in written} == written
