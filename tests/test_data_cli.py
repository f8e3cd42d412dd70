"""`imltool data index`, `check`, `convert` and `boxes` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.pictures import make_set, photo, write_rgb
from PIL import Image

from imltool.data.box_formats import read_boxes
from imltool.data.boxes import match_boxes
from imltool.data.folder import read_folder
from imltool.data.manifest import read_manifest
from imltool.pictures.images import read_mask

COMMANDS = ("index", "check", "convert", "boxes")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_set(tmp_path / "data", tampered=3, authentic=2)


@pytest.fixture
def faulty(data: Path) -> Path:
    """A picture without a mask and a mask of another size."""
    write_rgb(data / "tampered/lost.png", photo(99))
    Image.fromarray(np.asarray(Image.open(data / "masks/t1.png")).T).save(data / "masks/t1.png")
    return data


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_layouts_and_missing_arguments_are_a_usage_error(command: str, imltool: Imltool) -> None:
    code, out, _ = imltool("data", command, "--help")
    assert code == 0 and "LAYOUT:DIR" in out
    assert imltool("data", command)[0] == 2


def test_data_help_lists_commands(imltool: Imltool) -> None:
    _, out, _ = imltool("data", "--help")
    assert all(command in out for command in COMMANDS)


def test_index_then_check_the_manifest(data: Path, tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "lists" / "m.jsonl"
    code, stdout, err = imltool("data", "index", f"folder:{data}", "--out", out)
    assert (code, stdout) == (0, "") and "3 tampered, 2 authentic" in err
    assert len(read_manifest(out).records) == 5
    code, stdout, _ = imltool("data", "check", out)
    assert code == 0 and stdout.splitlines() == ["3 tampered (kind: unknown 3), 2 authentic", "nothing found"]


def test_check_reports_faults_in_a_table_and_as_json(faulty: Path, imltool: Imltool) -> None:
    code, out, _ = imltool("data", "check", f"folder:{faulty}")
    assert code == 3
    assert "fault unmatched: tampered/lost.png: has no mask: left out" in out
    assert "fault size: masks/t1.png: is 64x96, its picture is 96x64, turned by 90°" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["fault", "size", "1"] in rows and ["fault", "unmatched", "1"] in rows
    code, out, _ = imltool("data", "check", f"folder:{faulty}", "--json")
    report = json.loads(out)
    assert code == 3 and report["tampered"] == 3 and report["authentic"] == 2
    found = {(one["severity"], one["kind"], one["file"]) for one in report["findings"]}
    assert found == {("fault", "unmatched", "tampered/lost.png"), ("fault", "size", "masks/t1.png")}


def test_notes_alone_do_not_fail_the_check(data: Path, imltool: Imltool) -> None:
    (data / "authentic/again.jpg").write_bytes((data / "authentic/a0.jpg").read_bytes())
    code, out, _ = imltool("data", "check", f"folder:{data}")
    assert code == 0 and "note duplicate: authentic/again.jpg: is the same file as authentic/a0.jpg" in out


def test_long_lists_of_findings_are_shortened(tmp_path: Path, imltool: Imltool) -> None:
    data = make_set(tmp_path / "data", tampered=1, authentic=0)
    for position in range(15):
        write_rgb(data / f"tampered/lost{position}.png", photo(position, 24, 16))
    code, out, _ = imltool("data", "check", f"folder:{data}")
    assert code == 3 and "fault unmatched: and 5 more, all with --json" in out and out.count("has no mask") == 10


def test_index_of_a_faulty_set_lists_the_rest(faulty: Path, imltool: Imltool) -> None:
    code, out, err = imltool("data", "index", f"folder:{faulty}", "--out", faulty / "m.jsonl", "--json")
    assert code == 3 and "tampered/lost.png: has no mask" in err
    assert json.loads(out)["findings"][0]["file"] == "tampered/lost.png"
    assert [record.image for record in read_manifest(faulty / "m.jsonl").records][:3] == [
        f"tampered/t{n}.png" for n in range(3)
    ]


def test_convert_manifest_requires_max_left_out_for_faults(faulty: Path, tmp_path: Path, imltool: Imltool) -> None:
    imltool("data", "index", f"folder:{faulty}", "--out", tmp_path / "m.jsonl")
    command = ("data", "convert", tmp_path / "m.jsonl", "--out", tmp_path / "new", "--json")
    code, out, err = imltool(*command)
    assert code == 1 and "1 of 5 pictures are left out" in err and "--max-left-out 0.20" in err
    assert not (tmp_path / "new").exists()
    code, out, err = imltool(*command, "--max-left-out", 0.2)
    assert code == 3 and json.loads(out)["converted"] == 4 and "4 of 5 pictures" in err
    assert [sample.name for sample in read_folder(tmp_path / "new").samples] == [
        "tampered/t0.png",
        "tampered/t2.png",
        "authentic/a0.jpg",
        "authentic/a1.jpg",
    ]
    assert imltool("data", "check", tmp_path / "new/manifest.jsonl")[0] == 0


def test_convert_refuses_a_folder_with_other_files(data: Path, tmp_path: Path, imltool: Imltool) -> None:
    code, _, err = imltool("data", "convert", f"folder:{data}", "--out", data)
    assert code == 2 and "not empty" in err
    assert imltool("data", "convert", f"folder:{data}", "--out", tmp_path / "a", "--link")[0] == 0
    assert (tmp_path / "a/tampered/t0.png").samefile(data / "tampered/t0.png")


def test_boxes_are_jittered_repeatable_and_matched(data: Path, tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "boxes.json"
    code, _, err = imltool("data", "boxes", f"folder:{data}", "--out", out, "--jitter", -0.05, 0.15, "--seed", 4)
    assert code == 0 and "3 boxes in 3 pictures" in err
    report = match_boxes(data / "tampered", read_boxes(out))
    assert [item.name for item in report.matched] == ["t0.png", "t1.png", "t2.png"]
    for item in report.matched:
        rows, columns = np.nonzero(read_mask(data / "masks" / item.name))
        tight = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        side = np.array([tight[2] - tight[0], tight[3] - tight[1]] * 2)
        outwards = (item.boxes[0] - tight) * (-1, -1, 1, 1) / side
        assert (outwards > -0.051).all() and (outwards < 0.151).all() and not np.allclose(outwards, 0)
    before = out.read_bytes()
    imltool("data", "boxes", f"folder:{data}", "--out", out, "--jitter", -0.05, 0.15, "--seed", 4)
    assert out.read_bytes() == before
    assert imltool("data", "boxes", f"folder:{data}", "--out", out, "--jitter", 0.3, 0.1)[0] == 2


def test_check_selects_a_split(tmp_path: Path, imltool: Imltool) -> None:
    root = tmp_path / "comofod"
    for position, name in enumerate(("001_F.png", "001_F_JC1.jpg", "001_O.png", "001_O_JC1.jpg")):
        write_rgb(root / name, photo(position, 32, 24))
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[4:12, 4:12] = 255
    write_rgb(root / "001_B.png", mask)
    code, out, _ = imltool("data", "check", f"comofod:{root}", "--split", "JC1", "--json")
    assert code == 0 and json.loads(out)["splits"] == {"JC1": 2}
    code, _, err = imltool("data", "check", f"comofod:{root}", "--split", "JC2")
    assert code == 1 and "no picture has the split 'JC2'" in err and "JC1, base" in err


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("nowhere.jsonl", 2, "neither a manifest nor LAYOUT:DIR"),
        ("folder:nowhere", 1, "does not exist"),
        ("{data}", 2, "for instance folder:"),
        ("folders:{data}", 2, "known layouts: casia1, casia2"),
        ("columbia:{data}", 1, "holds nothing of the layout columbia"),
    ],
)
def test_invalid_targets_are_refused(data: Path, target: str, code: int, message: str, imltool: Imltool) -> None:
    found, out, err = imltool("data", "check", target.format(data=data))
    assert (found, out) == (code, "") and message in err
