"""The output folder of `imltool eval`: gone on with, kept, never mixed, written by one command at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_eval_cli import CONSTANT, csv_in, make_set, results_in

from imltool.cli.app import run
from imltool.files import folder_lock

Imltool = Callable[..., tuple[int, str, str]]


def test_a_stopped_evaluation_goes_on_with_the_missing_sets(tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = [part for name in "ab" for part in ("--data", f"{name}={make_set(tmp_path / name)}")]
    arguments = ["eval", *CONSTANT, *data]
    assert run([*arguments, "--out", str(out)]) == 0
    whole = results_in(out)
    rows = csv_in(out)
    # what a kill during the second set leaves, with a mark that only survives when the first is not measured again
    stopped = json.loads(json.dumps(whole)) | {"complete": False}
    del stopped["baselines"]["constant"]["sets"]["b"]
    stopped["baselines"]["constant"]["sets"]["a"]["n_seen"] = 7
    (out / "results.json").write_text(json.dumps(stopped), encoding="utf-8")
    assert run([*arguments, "--out", str(out)]) == 0
    again = results_in(out)
    assert again["baselines"]["constant"]["sets"]["a"].pop("n_seen") == 7
    assert again["complete"] is True
    del whole["baselines"]["constant"]["sets"]["a"]["n_seen"]
    assert again == whole
    assert csv_in(out) == rows


def test_results_of_other_parameters_are_kept_unless_restarted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_set(tmp_path / "x"), tmp_path / "out"
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
    assert results_in(out)["baselines"].keys() == {"ela"}
    assert (out / "my notes.txt").exists()


@pytest.mark.parametrize("option", [[], ["--restart"]])
@pytest.mark.parametrize("name", ["results.json", "notes.txt"])
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, option: list[str]
) -> None:
    root, out = make_set(tmp_path / "x"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}", encoding="utf-8")
    assert run(["eval", *CONSTANT, "--data", f"x={root}", "--out", str(out), *option]) == 2
    assert "is not empty and holds no evaluation" in " ".join(capsys.readouterr().err.split())
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "{}")]


def test_a_second_evaluation_waits_for_the_first_to_end(tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "out"
    arguments = ("eval", *CONSTANT, "--data", f"x={make_set(tmp_path / 'x')}", "--out", out)
    assert imltool(*arguments)[0] == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with folder_lock(out):
        code, _, error = imltool(*arguments, "--restart")
    assert code == 2 and "another command is writing" in error
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert imltool(*arguments, "--restart")[0] == 0


def test_a_damaged_table_is_made_again(tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "out"
    arguments = ("eval", *CONSTANT, "--data", f"x={make_set(tmp_path / 'x')}", "--out", out)
    assert imltool(*arguments)[0] == 0
    table = out / "per_image.csv"
    whole = table.read_text(encoding="utf-8")
    table.write_text(whole + '"' + "a" * 140_000, encoding="utf-8")  # a cell longer than csv takes
    code, _, error = imltool("compare", out, out, "--out", tmp_path / "difference")
    assert code == 1 and "damaged evaluation" in error
    code, _, error = imltool(*arguments)
    assert code == 0 and "measured again" in error
    assert table.read_text(encoding="utf-8") == whole
