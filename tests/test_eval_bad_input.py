"""Faulty data sets: one-line errors, and measured results are kept."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Imltool
from helpers.outputs import results_in
from helpers.pictures import make_set

from imltool.weights import locate

CONSTANT = ("--weights", "none", "--baseline", "constant")


def manifest(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps({"source": "s"} | record) + "\n" for record in records), encoding="utf-8")
    return path


def test_macos_resource_files_are_not_pictures(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "x", 1, 1)
    (root / "tampered" / "._t0.png").write_bytes(b"\0\5\x16\7")
    for number, target in enumerate((root, f"folder:{root}")):
        out = tmp_path / str(number)
        assert imltool("eval", *CONSTANT, "--data", f"x={target}", "--out", out)[0] == 0
        assert results_in(out)["data"]["x"]["n"] == 2


@pytest.mark.may_skip  # if the file system does not support such names
@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"two\nlines.png"])
def test_file_names_unsuitable_for_csv_are_refused(tmp_path: Path, imltool: Imltool, name: bytes) -> None:
    root = make_set(tmp_path / "x", 1, 1)
    try:
        (root / "authentic" / "a0.jpg").rename(root / "authentic" / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    for command in (
        ("eval", *CONSTANT, "--data", f"x={root}", "--out", tmp_path / "out"),
        ("data", "check", f"folder:{root}"),
        ("data", "index", f"folder:{root}", "--out", tmp_path / "m.jsonl"),
        ("data", "split", root, "--out", tmp_path / "lists"),
    ):
        code, _, error = imltool(*command)
        assert (code, error.strip().count("\n")) == (1, 0), error
        assert "rename the file" in error


@pytest.mark.may_skip  # if the file system does not support such names
def test_folder_names_unsuitable_for_csv_are_refused(tmp_path: Path, imltool: Imltool) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        make_set(root, 1, 1)
    except OSError:
        pytest.skip("this file system has no such names")
    for command in (
        ("eval", *CONSTANT, "--data", f"x={root}", "--out", tmp_path / "out"),
        ("data", "index", f"folder:{root}", "--out", tmp_path / "m.jsonl"),
        ("data", "convert", f"folder:{root}", "--out", tmp_path / "clean"),
    ):
        code, _, error = imltool(*command)
        assert (code, error.strip().count("\n")) == (1, 0), error
        assert "rename the folder" in error


def test_listed_names_too_long_for_a_file_are_missing_files(tmp_path: Path, imltool: Imltool) -> None:
    make_set(tmp_path / "x", 1, 0)
    entries = [["x/tampered/t0.png", "x/masks/t0.png"], ["a" * 300 + ".png", "Negative"]]
    (tmp_path / "list.json").write_text(json.dumps(entries), encoding="utf-8")
    code, out, _ = imltool("data", "check", f"imdlbenco:{tmp_path / 'list.json'}")
    assert code == 3
    assert "does not exist (entry 2): left out" in out
    listed = manifest(tmp_path / "m.jsonl", {"image": "b" * 300 + ".png", "kind": "authentic"})
    code, out, _ = imltool("data", "check", listed)
    assert code == 3
    assert "does not exist" in out


def test_folder_name_may_have_an_equals_sign(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "e=q" / "x", 1, 1)
    assert imltool("eval", *CONSTANT, "--data", root, "--out", tmp_path / "out")[0] == 0
    assert results_in(tmp_path / "out")["data"].keys() == {"x"}


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("casia3:{root}", 2, "unknown layout 'casia3'"),
        ("{root}/nowhere", 1, "does not exist"),
        ("{root}/Tp-and-Gt", 1, "folder:DIR for Tp/ and Gt/"),
    ],
)
def test_invalid_data_targets_are_a_one_line_error(
    tmp_path: Path, imltool: Imltool, target: str, code: int, message: str
) -> None:
    root = make_set(tmp_path / "x", 1, 0)
    (root / "Tp-and-Gt").mkdir()
    found, _, error = imltool("eval", *CONSTANT, "--data", f"x={target.format(root=root)}", "--out", tmp_path / "out")
    assert (found, error.strip().count("\n")) == (code, 0)
    assert message in error


def test_invalid_set_or_checkpoint_is_a_one_line_error(tmp_path: Path, imltool: Imltool) -> None:
    for part in ("tampered", "masks", "authentic"):
        (tmp_path / "empty" / part).mkdir(parents=True)
    doubled, good = make_set(tmp_path / "doubled", 2, 0), make_set(tmp_path / "good", 1, 1)
    (doubled / "tampered" / "t1.png").rename(doubled / "tampered" / "t0.jpg")
    (doubled / "masks" / "t1.png").unlink()
    teacher = str(locate("mobile-sam"))
    for weights, root, message in (
        (CONSTANT, tmp_path / "empty", "holds no picture"),
        (CONSTANT, doubled, "several pictures or masks of one name 2 (tampered/t0.jpg, tampered/t0.png)"),
        (("--weights", teacher), good, teacher),
    ):
        code, _, error = imltool(
            "eval", *weights, "--data", f"x={root}", "--out", tmp_path / "out", "--device", "cpu", "-q"
        )
        assert (code, error.strip().count("\n")) == (1, 0), error
        assert message in error and "internal fault" not in error
        assert not (tmp_path / "out").exists()


def test_manifest_pictures_of_different_folders_get_distinct_names(tmp_path: Path, imltool: Imltool) -> None:
    parts = [make_set(tmp_path / place, 1, 0, seed) for seed, place in enumerate(("in/x", "other/x", "other/y"))]
    records = [{"image": "x/tampered/t0.png", "mask": "x/masks/t0.png"}]
    records += [{"image": f"{part}/tampered/t0.png", "mask": f"{part}/masks/t0.png"} for part in parts[1:]]
    listed = manifest(tmp_path / "in" / "m.jsonl", *records)
    assert imltool("eval", *CONSTANT, "--data", f"x={listed}", "--out", tmp_path / "out")[0] == 0
    with (tmp_path / "out" / "per_image.csv").open(encoding="utf-8", newline="") as handle:
        assert len({row["image"] for row in csv.DictReader(handle)}) == 3


def test_changed_mask_rule_makes_a_different_set(tmp_path: Path, imltool: Imltool) -> None:
    make_set(tmp_path / "x", 2, 0)
    arguments = ("eval", *CONSTANT, "--data", f"x={tmp_path / 'm.jsonl'}", "--out", tmp_path / "out")
    for polarity, code in (("dark", 0), ("bright", 2), ("dark", 0)):
        rule = {"mask_rule": {"polarity": polarity}}
        pictures = [{"image": f"x/tampered/t{i}.png", "mask": f"x/masks/t{i}.png"} for i in range(2)]
        manifest(tmp_path / "m.jsonl", *(one | rule for one in pictures))
        found, _, error = imltool(*arguments)
        assert found == code, error


def test_left_out_pictures_are_in_the_results(tmp_path: Path, imltool: Imltool) -> None:
    root, out = make_set(tmp_path / "x", 3, 0), tmp_path / "out"
    (root / "masks" / "t1.png").unlink()
    command = ("eval", *CONSTANT, "--data", f"x=folder:{root}", "--out", out)
    code, _, error = imltool(*command)
    assert code == 1 and "1 of 3 pictures are left out: unmatched 1 (tampered/t1.png)" in error
    assert "--max-left-out 0.34" in error and not out.exists()
    code, _, error = imltool(*command, "--max-left-out", "0.34")
    assert code == 0 and "x              3     2         1  unmatched 1 (tampered/t1.png)" in error
    (account,) = json.loads((out / "sources.json").read_text(encoding="utf-8"))
    assert account["used"] == 2 and account["left_out"] == {"unmatched": ["tampered/t1.png"]}
    data = results_in(out)["data"]["x"]
    assert data["used"] == 2 and data["left_out"] == account["left_out"]
    for name in ("table.md", "report.html"):
        assert "pictures left out: unmatched 1 (tampered/t1.png)" in (out / name).read_text(encoding="utf-8")


def test_unusable_pictures_are_counted_before_scoring_starts(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "x", 9, 2)
    broken = (root / "authentic/a0.jpg").read_bytes()
    (root / "authentic/a0.jpg").write_bytes(broken[: len(broken) // 2])
    command = ("eval", *CONSTANT, "--data", f"x={root}", "--out", tmp_path / "out")
    code, _, error = imltool(*command)
    assert code == 3 and "unreadable picture 1 (authentic/a0.jpg)" in error, (
        "up to ten percent are reported and the rest is measured"
    )
    (root / "masks/t0.png").write_bytes((root / "masks/t0.png").read_bytes()[:60])
    code, _, error = imltool(*command, "--restart")
    assert code == 1 and "unreadable mask 1 (tampered/t0.png)" in error and "--max-left-out 0.19" in error
    assert results_in(tmp_path / "out")["data"]["x"]["used"] == 10, "previous results are kept"


def test_manifest_of_another_tool_is_ignored_and_a_damaged_one_refused(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "x", 2, 1)
    for content in ('{"file": "tampered/t0.png", "sha256": "00"}\n', "name,label\n", "", "\xff"):
        (root / "manifest.jsonl").write_text(content, encoding="latin-1")
        code, _, error = imltool("eval", *CONSTANT, "--data", f"x={root}", "--out", tmp_path / "out")
        assert code == 0 and "manifest.jsonl is no manifest of imltool: not used" in error
    ours = {"image": "tampered/t0.png", "mask": "masks/t0.png", "source": "x"}
    manifest(root / "manifest.jsonl", ours, {"image": "tampered/t1.png", "label": 1})
    code, _, error = imltool("eval", *CONSTANT, "--data", f"x={root}", "--out", tmp_path / "out")
    assert code == 1 and "line 2" in error, "a damaged manifest of imltool is refused"


def test_jittered_boxes_record_their_jitter(tmp_path: Path, imltool: Imltool) -> None:
    root, out = make_set(tmp_path / "x", 2, 0), tmp_path / "boxes.json"
    options = ("--jitter", "0.1", "0.2", "--seed", "7")
    assert imltool("data", "boxes", f"folder:{root}", *options, "--out", out)[0] == 0
    description = json.loads(out.read_text(encoding="utf-8"))["info"]["description"]
    assert description.endswith("each side moved by 0.1 to 0.2, seed 7")
