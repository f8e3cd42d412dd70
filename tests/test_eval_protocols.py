"""`imltool eval --protocol`: sets are found below one folder, missing sets are reported, roles never hide a leak."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import Imltool
from helpers.layout_trees import make_tree
from helpers.outputs import method_in, results_in, sets_in
from helpers.pictures import make_set

from imltool.cli.app import run
from imltool.config import load_settings
from imltool.data.folder import read_folder
from imltool.errors import DataError
from imltool.evaluation.protocols import SHIPPED, PublishedProtocol, open_protocol
from imltool.evaluation.roles import find_overlap, refuse_hidden_overlap, under_protocol
from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.student.header import CheckpointHeader, TrainingSet
from imltool.student.settings import StudentSettings

CONSTANT = ("--weights", "none", "--baseline", "constant")


def write_protocol(path: Path, *sets: dict[str, Any], **fields: Any) -> Path:
    """Write a custom protocol; the name and folder of a set default to its layout."""
    filled = [{"name": one["layout"], "folders": [one["layout"]], "role": "ood", **one} for one in sets]
    path.write_text(yaml.safe_dump({"says": "ours", "source": "nowhere", "sets": filled, **fields}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, str, str]:
    """`boxpromptiml` with only four of its sets: exit code, results folder, stdout, stderr."""
    root = tmp_path_factory.mktemp("data")
    for layout, folder in (("columbia", "Columbia"), ("coverage", "COVER"), ("dso1", "DSO-1"), ("korus", "korus")):
        make_tree(root / folder, layout)
    (root / "imd2020").write_text("no folder", encoding="utf-8")
    out = root / "out"
    streams = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        code = run(["eval", "--protocol", "boxpromptiml", "--root", str(root), *CONSTANT, "--out", str(out)])
    return code, out, streams[0].getvalue(), streams[1].getvalue()


def test_shipped_protocols_are_the_published_ones() -> None:
    assert set(SHIPPED) == {"boxpromptiml", "mvss", "cat"}
    groups = {
        name: {
            role: {one.name for one in load_settings(PublishedProtocol, path).sets if one.role == role}
            for role in ("ind", "ood")
        }
        for name, path in SHIPPED.items()
    }
    assert groups["boxpromptiml"] == {
        "ind": {"nist16", "casia1", "columbia", "coverage"},
        "ood": {"imd2020", "korus", "inthewild", "dso1", "cocoglide"},
    }
    assert groups["mvss"] == {"ind": {"casia1"}, "ood": {"columbia", "coverage", "nist16", "imd2020"}}
    assert groups["cat"] == {"ind": {"casia1"}, "ood": {"columbia", "coverage", "nist16"}}, "IMD2020 is a training set"


def test_missing_sets_are_reported_and_set_the_exit_code(partial: tuple[int, Path, str, str]) -> None:
    code, out, _, err = partial
    missing = ["nist16", "casia1", "imd2020", "inthewild", "cocoglide"]
    assert code == 3
    assert results_in(out)["protocol"]["missing"] == missing
    assert f"protocol boxpromptiml is incomplete: without {', '.join(missing)}" in err
    for name in missing:
        assert f"warning: {name} (" in err
    for file in ("table.md", "report.html"):
        text = (out / file).read_text(encoding="utf-8")
        assert f"Missing sets: {', '.join(missing)}" in text
    assert "| nist16 | IND | missing | – | 150 | – | – |" in (out / "table.md").read_text(encoding="utf-8")


def test_sets_with_another_number_of_pictures_are_reported(partial: tuple[int, Path, str, str]) -> None:
    _, out, _, err = partial
    block = results_in(out)["protocol"]["sets"]["columbia"]
    assert (block["published"]["tampered"], block["found"], block["differs"]) == (
        50,
        {"tampered": 2, "authentic": 0},
        True,
    )
    difference = "columbia: 2 tampered pictures, the protocol has 50"
    assert f"{difference}; --list columbia=FILE" in err
    assert all(difference in (out / file).read_text(encoding="utf-8") for file in ("table.md", "report.html"))


def test_roles_come_from_the_protocol_and_each_set_counts_once(partial: tuple[int, Path, str, str]) -> None:
    _, out, stdout, _ = partial
    block = method_in(out, "constant")
    sets, mean = block["sets"], block["mean"]
    assert {name: one["role"] for name, one in sets.items()} == {
        "columbia": "ind",
        "coverage": "ind",
        "dso1": "ood",
        "korus": "ood",
    }
    assert all(one["n_authentic"] == 0 for one in sets.values()), "this protocol has only tampered pictures"
    f1 = {name: one["pixel_f1"] for name, one in sets.items()}
    assert mean["ind"]["sets"] == ["columbia", "coverage"]
    assert mean["ind"]["pixel_f1"] == pytest.approx((f1["columbia"] + f1["coverage"]) / 2)
    assert mean["ood"]["pixel_iou"] == pytest.approx((sets["dso1"]["pixel_iou"] + sets["korus"]["pixel_iou"]) / 2)
    assert mean["all"]["pixel_f1"] == pytest.approx(np.mean(list(f1.values())))
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "| IND | constant | 2 of 4 |" in table and "| OOD | constant | 2 of 5 |" in table
    assert "| ALL | constant | 4 of 9 |" in table
    assert [line.split()[1] for line in stdout.splitlines() if line.split()[:1] == ["mean"]] == ["IND", "OOD", "ALL"]


def test_custom_protocol_is_evaluated(tmp_path: Path, imltool: Imltool) -> None:
    root = tmp_path / "data"
    root.mkdir()
    make_tree(root / "comofod", "comofod")
    make_set(root / "Mine", tampered=2, authentic=1)
    file = write_protocol(
        tmp_path / "ours.yaml",
        {"layout": "comofod", "split": "JC1", "tampered": 1, "authentic": 1},
        {"layout": "folder", "name": "mine", "folders": ["mine"], "role": "ind"},
        compat=["mvss"],
        metric="pixel_f1_oracle",
    )
    out, names = tmp_path / "out", tmp_path / "names.txt"
    names.write_text("tampered/t1.png\nauthentic/a0.jpg\n", encoding="utf-8")
    options = ("--list", f"mine={names}", "--compat", "trufor", "--robust", "webp", "--ood")
    code, _, err = imltool("eval", "--protocol", file, "--root", root, *CONSTANT, *options, "--out", out)
    assert code == 0 and "warning" not in err
    results = results_in(out)
    metrics = sets_in(out, "constant")
    assert (results["protocol"]["name"], results["protocol"]["missing"], results["compat"]) == (
        *("ours", []),
        ["mvss", "trufor"],
    )
    assert [(metrics[name]["n_tampered"], metrics[name]["n_authentic"]) for name in ("comofod", "mine")] == [(1, 1)] * 2
    assert metrics["mine"]["compat"].keys() == {"mvss", "trufor"}
    assert set(results["robust"]["methods"]["constant"]) == {"comofod", "mine"}
    text = (out / "table.md").read_text(encoding="utf-8")
    assert "Its tables have F1 oracle" in text and "Missing sets" not in text
    assert (
        results["protocol"]["sha256"] == sha256_file(file) and f"--protocol {file} --root {root}" in results["command"]
    )
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    code, _, err = imltool("eval", "--protocol", file, "--root", root, *CONSTANT, *options, "--out", out)
    assert code == 2 and "protocol was" in err.splitlines()[-1] and err.count("error:") == 1


def test_saved_maps_are_evaluated_with_a_protocol(tmp_path: Path, imltool: Imltool) -> None:
    root = tmp_path / "data"
    make_set(root / "coverage", tampered=2, authentic=1)
    for sample in read_folder(root / "coverage").samples:
        path = tmp_path / "maps" / "coverage" / f"{sample.name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ones((64, 96), np.float32))
    file = write_protocol(tmp_path / "p.yaml", {"layout": "coverage", "role": "ind"})
    code, _, _ = imltool(
        "eval", "--protocol", file, "--root", root, "--maps", tmp_path / "maps", "--out", tmp_path / "o"
    )
    block = method_in(tmp_path / "o", "maps")
    assert code == 0 and block["sets"]["coverage"]["role"] == "ind", (
        "without a checkpoint the role of the protocol is kept"
    )
    assert block["mean"]["ind"]["sets"] == ["coverage"] and block["sets"]["coverage"]["n_authentic"] == 1


def test_manifest_takes_precedence_over_the_folder(tmp_path: Path, imltool: Imltool) -> None:
    root = tmp_path / "data"
    make_set(root / "CASIA v1", tampered=3, authentic=0)
    file = write_protocol(tmp_path / "p.yaml", {"layout": "casia1", "folders": ["casiav1"]})
    assert [len(one.samples) for one in open_protocol(str(file), root).sets] == [3], "the folder layout is recognized"
    assert imltool("data", "index", f"folder:{root / 'CASIA v1'}", "--out", root / "casia-v1.jsonl")[0] == 0
    lines = (root / "casia-v1.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "casia-v1.jsonl").write_text("".join(lines[:2]), encoding="utf-8")
    (one,) = open_protocol(str(file), root).sets
    assert len(one.samples) == 2 and one.root.name == "casia-v1.jsonl"
    make_set(root / "casia_v1", tampered=1, authentic=0)
    (root / "casia-v1.jsonl").unlink()
    with pytest.raises(DataError, match="may both be casia1"):
        open_protocol(str(file), root)


GOOD = {"layout": "coverage"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--protocol", "mvss", "--root", "data", "--data", "x=data/x"], 2, "--data and --protocol are given together"),
        (["--protocol", "mvss"], 2, "--protocol and --root belong together"),
        (["--root", "data"], 2, "--protocol and --root belong together"),
        (["--compat", "trufor", "--compat-size", "64"], 2, "--compat-size is the side for imdlbenco"),
        (["--protocol", "magic", "--root", "data"], 2, "choose from boxpromptiml, cat, mvss"),
        (["--protocol", "none.yaml", "--root", "data"], 2, "none.yaml does not exist"),
        (["--protocol", "mvss", "--root", "nowhere"], 1, "--root nowhere cannot be read"),
        (["--protocol", "mvss", "--root", "data"], 1, "none of the 5 sets of protocol mvss is in data"),
        ([{**GOOD, "layout": "atlantis"}], 2, "sets.0.layout: unknown layout"),
        ([GOOD, GOOD], 2, "2 sets are named coverage"),
        ([GOOD, {**GOOD, "name": "x"}], 2, "2 sets may be in"),
        ([{**GOOD, "rôle": "ood"}], 2, "unknown key sets.0.rôle"),
        ([{**GOOD, "folders": ["a/b"]}], 2, "names right below the root"),
        ([{**GOOD, "role": "test"}], 2, "sets.0.role"),
    ],
)
def test_invalid_protocols_are_a_one_line_error_with_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    imltool: Imltool,
    arguments: list[Any],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    if isinstance(arguments[0], dict):
        arguments = ["--protocol", write_protocol(tmp_path / "own.yaml", *arguments), "--root", "data"]
    found, out, err = imltool("eval", *CONSTANT, *arguments)
    assert (found, out) == (code, "") and message in err and err.count("\n") == 1
    assert not (tmp_path / "imltool-eval").exists()


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer.untrained(StudentSettings(backbone="nano", input_size=64), torch.device("cpu"), 1)


def test_leak_is_refused_and_excluded_from_the_means_if_allowed(
    tmp_path: Path, localizer: Localizer, imltool: Imltool
) -> None:
    root = tmp_path / "data"
    for seed, name in enumerate(("dso1", "korus", "coverage")):
        make_set(root / name, tampered=2, authentic=0, seed=10 * seed)
    file = write_protocol(
        tmp_path / "p.yaml", {"layout": "dso1"}, {"layout": "korus"}, {"layout": "coverage", "role": "ind"}
    )
    seen = sha256_file(root / "dso1/tampered/t0.png")
    localizer.header = CheckpointHeader(
        architecture=StudentSettings(backbone="nano", input_size=64),
        training_sets=(TrainingSet(name="secret", files=(seen,)),),
    )
    localizer.save(tmp_path / "w.safetensors")
    arguments = ("--protocol", file, "--root", root, "--weights", tmp_path / "w.safetensors", "--device", "cpu")
    code, _, err = imltool("eval", *arguments, "--ood", "--out", tmp_path / "out")
    assert code == 1 and "dso1 is not out of distribution: 1 picture of it was trained on (secret)" in err
    assert not (tmp_path / "out").exists()
    code, _, err = imltool("eval", *arguments, "--ood", "--allow-overlap", "--out", tmp_path / "out")
    conflict = "OOD by the protocol, but 1 picture of it was trained on (secret): it is IND and in no mean"
    doubt = "IND by the protocol, but the checkpoint's lists name neither the set nor any of its pictures"
    assert code == 0 and f"warning: dso1: {conflict}" in err and f"warning: coverage: {doubt}" in err
    results = results_in(tmp_path / "out")
    assert {name: one["role"] for name, one in results["sets"].items()} == {
        "dso1": "ind",
        "korus": "ood",
        "coverage": "ind",
    }
    assert {role: mean["sets"] for role, mean in results["mean"].items()} == {
        "ind": ["coverage"],
        "ood": ["korus"],
        "all": ["korus", "coverage"],
    }
    assert results["data"]["dso1"]["conflict"] == conflict and results["data"]["korus"]["conflict"] == ""
    assert "| dso1 | OOD | conflict | 2 |" in (tmp_path / "out/table.md").read_text(encoding="utf-8")
    for name in ("table.md", "report.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8").replace("&#39;", "'")
        assert f"dso1: {conflict}." in text and f"coverage: {doubt}." in text


def test_trained_set_name_is_a_leak_if_the_protocol_says_ood() -> None:
    overlap = find_overlap("DSO-1", {"a": "f" * 64}, [TrainingSet(name="dso1")])
    refuse_hidden_overlap("DSO-1", overlap)
    refuse_hidden_overlap("DSO-1", overlap, "ind")
    with pytest.raises(DataError, match="the checkpoint has seen a set of that name"):
        refuse_hidden_overlap("DSO-1", overlap, "ood")
    adjusted = under_protocol(overlap, "ood", True)
    assert adjusted.role == "ind" and "has seen a set of that name (dso1)" in adjusted.conflict


def test_seen_pictures_of_an_ind_set_are_not_a_leak() -> None:
    overlap = find_overlap("coverage", {"a": "f" * 64}, [TrainingSet(name="mix", files=("f" * 64,))])
    refuse_hidden_overlap("coverage", overlap, "ind")
    assert under_protocol(overlap, "ind", True) == overlap
    assert under_protocol(find_overlap("coverage", {}, []), "ind", False).conflict == ""
