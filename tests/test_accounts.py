"""The table of used and left-out pictures printed at the start of every run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import results_in, sets_in
from helpers.pictures import make_set, photo, write_rgb
from PIL import Image

from imltool.data.accounts import Account, account_lines, require_used
from imltool.data.folder import Sample
from imltool.data.survey import survey
from imltool.errors import DataError

CPU = ("--device", "cpu")
SMALL = (
    *("init=random", "workers=0", "student.input_size=64", "student.backbone=nano"),
    *("optim.batch_size=2", "optim.precision=fp32"),
)


def train(imltool: Imltool, out: Path, *sources: str, **more: str) -> tuple[int, str, str]:
    options = [*SMALL, "optim.steps=1", f"data.train=[{', '.join(sources)}]", *(f"{k}={v}" for k, v in more.items())]
    return imltool("train", "--out", out, *(word for one in options for word in ("--set", one)), *CPU)


def test_survey_gives_the_reason_for_each_left_out_picture(tmp_path: Path) -> None:
    root = make_set(tmp_path, tampered=6, authentic=1)
    write_rgb(root / "masks/t0.png", np.zeros((9, 9), np.uint8))
    write_rgb(root / "masks/t1.png", np.zeros((64, 96), np.uint8))
    (root / "masks/t2.png").write_bytes(b"none")
    (root / "tampered/t3.png").write_bytes(b"none")
    (root / "tampered/t4.png").unlink()
    samples = [Sample(f"t{n}", root / f"tampered/t{n}.png", root / f"masks/t{n}.png") for n in range(6)]
    account = Account("x")
    assert [sample.name for sample in survey([*samples, Sample("a", root / "authentic/a0.jpg", None)], account)] == [
        "t5",
        "a",
    ]
    assert account.left_out == {
        "mask of another size": ["t0"],
        "mask marks nothing": ["t1"],
        "unreadable mask": ["t2"],
        "unreadable picture": ["t3"],
        "file missing": ["t4"],
    }
    assert (account.pictures, account.used, account.lost, account.share) == (7, 2, 5, 5 / 7)


def test_account_table_lists_reasons_and_limit_is_inclusive() -> None:
    account = Account("set (masks)", used=9, left_out={"mask of another size": ["a.png"]}, aside={"other": ["b"] * 5})
    assert account_lines([account]) == [
        "source       pictures  used  left out  why",
        "set (masks)        15     9         1  mask of another size 1 (a.png)",
        "                                       other 5 (b, b, b, …)",
    ]
    require_used([account], 0.1, "--max-left-out SHARE")
    account.leave_out("mask marks nothing", "c.png")
    with pytest.raises(DataError, match="2 of 11 pictures are left out") as refused:
        require_used([account], 0.1, "--max-left-out SHARE")
    assert refused.value.remedy == "repair them, or allow it with --max-left-out 0.19"
    # the share in the remedy suffices
    require_used([account], 0.19, "")
    with pytest.raises(DataError, match="none is left"):
        require_used([Account("x", left_out={"unreadable picture": ["a"]})], 0.5, "")


def test_training_counts_unusable_pictures_and_stops_above_ten_percent(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", tampered=8, authentic=2)
    for number in range(3):
        write_rgb(root / f"masks/t{number}.png", np.zeros((9, 9), np.uint8))
    masks = f"{{name: x, kind: masks, images: {root / 'tampered'}, masks: {root / 'masks'}}}"
    authentic = f"{{name: x, kind: authentic, images: {root / 'authentic'}}}"
    code, _, stderr = train(imltool, tmp_path / "run", masks, authentic)
    assert code == 1 and "3 of 8 pictures are left out: mask of another size 3 (t0.png, t1.png, t2.png)" in stderr
    assert "--set data.max_left_out=0.38" in stderr and not (tmp_path / "run").exists()
    code, _, stderr = train(imltool, tmp_path / "run", masks, authentic, **{"data.max_left_out": "0.38"})
    assert code == 0 and "x (masks)             8     5         3  mask of another size 3" in stderr
    assert "x (authentic)         2     2         0  –" in stderr
    rows = json.loads((tmp_path / "run/sources.json").read_text())
    assert [(row["source"], row["used"]) for row in rows] == [("x (masks)", 5), ("x (authentic)", 2)]
    first = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[0])
    assert first == {"event": "sources", "step": 0, "sources": rows}


def test_pictures_without_a_pseudo_mask_are_counted(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", tampered=4, authentic=0)
    (tmp_path / "b.csv").write_text("image,x1,y1,x2,y2\nt0.png,10,10,40,40\nt1.png,5,5,50,50\n")
    pseudo = tmp_path / "pseudo"
    command = ("pseudo", root / "tampered", "--boxes", tmp_path / "b.csv", "--out", pseudo, "--teacher", "box")
    assert imltool(*command)[0] == 0
    source = f"{{name: x, kind: pseudo, images: {root / 'tampered'}, pseudo: {pseudo}}}"
    code, _, stderr = train(imltool, tmp_path / "run", source)
    assert code == 1 and "2 of 4 pictures are left out: no pseudo-mask 2 (t2.png, t3.png)" in stderr
    for name in ("t0.png", "t1.png", "t2.png", "t3.png"):
        (root / "tampered" / name).rename(root / "tampered" / f"new-{name}")
    code, _, stderr = train(imltool, tmp_path / "run", source)
    assert code == 1 and "called like new-t0.png, the pseudo-masks are of t0.png" in stderr


ODD = {
    "no mask": ["t0.png"],
    "several pictures or masks of one name": ["t1.jpg", "t1.png"],
    "unreadable mask": ["t2.png", "t3.png"],
    "mask of another size": ["t4.png"],
    "unreadable picture": ["t5.png"],
}


def odd_set(root: Path) -> Path:
    """70 forgeries: one has no mask, two share a mask, two have truncated or empty mask files, one has a mask
    of another size, and one is an empty file; and a mask without a picture.
    """
    make_set(root, tampered=69, authentic=2)
    (root / "masks/t0.png").unlink()
    Image.open(root / "tampered/t1.png").save(root / "tampered/t1.jpg")
    (root / "masks/t2.png").write_bytes((root / "masks/t2.png").read_bytes()[:60])
    (root / "masks/t3.png").write_bytes(b"")
    write_rgb(root / "masks/t4.png", np.zeros((9, 9), np.uint8))
    (root / "tampered/t5.png").write_bytes(b"")
    write_rgb(root / "masks/stray.png", np.zeros((9, 9), np.uint8))
    return root


def left_out_in(out: Path) -> dict[str, list[str]]:
    account = json.loads((out / "sources.json").read_text(encoding="utf-8"))[0]
    return {reason: sorted(Path(name).name for name in names) for reason, names in account["left_out"].items()}


def test_faulty_entries_of_a_pair_folder_are_left_out_individually(tmp_path: Path, imltool: Imltool) -> None:
    root = odd_set(tmp_path / "set")
    data = ("--weights", "none", "--baseline", "constant", "--data", f"x={root}")
    code, _, stderr = imltool("eval", *data, "--out", tmp_path / "eval")
    assert code == 3 and "1 mask without a picture" in stderr
    assert left_out_in(tmp_path / "eval") == ODD
    counts = results_in(tmp_path / "eval")["data"]["x"]
    assert counts["used"] == 65 and sets_in(tmp_path / "eval", "constant")["x"]["n_tampered"] == 63
    masks = f"{{name: x, kind: masks, images: {root / 'tampered'}, masks: {root / 'masks'}}}"
    code, _, stderr = train(imltool, tmp_path / "train", masks)
    assert code == 0 and "1 mask without a picture" in stderr
    assert left_out_in(tmp_path / "train") == ODD and "x (masks)        70    63         7  " in stderr
    code, stdout, _ = imltool("data", "check", f"folder:{root}", "--json")
    faults = [one for one in json.loads(stdout)["findings"] if one["severity"] == "fault"]
    named = {name for names in ODD.values() for name in names} | {"stray.png"}
    assert code == 3 and {Path(one["file"]).name for one in faults} == named


def test_too_many_faulty_entries_require_max_left_out(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", tampered=4, authentic=1)
    (root / "masks/t0.png").unlink()
    command = ("eval", "--weights", "none", "--baseline", "constant", "--data", f"x={root}", "--out", tmp_path / "out")
    code, _, stderr = imltool(*command)
    assert code == 1 and "1 of 5 pictures are left out: no mask 1 (tampered/t0.png)" in stderr
    assert "--max-left-out 0.20" in stderr and not (tmp_path / "out").exists()
    assert imltool(*command, "--max-left-out", "0.2")[0] == 0
    (tmp_path / "list.txt").write_text("tampered/t1.png\ntampered/t0.png\n")
    chosen = ("--list", f"x={tmp_path / 'list.txt'}", "--restart")
    code, _, stderr = imltool(*command, *chosen)
    assert code == 1 and "1 of 2 pictures are left out: no mask 1 (tampered/t0.png)" in stderr
    masks = f"{{name: x, kind: masks, images: {root / 'tampered'}, masks: {root / 'masks'}}}"
    code, _, stderr = train(imltool, tmp_path / "train", masks)
    assert code == 1 and "1 of 4 pictures are left out: no mask 1 (t0.png)" in stderr
    assert "--set data.max_left_out=0.25" in stderr
    pairs = f"{root / 'tampered'}:{root / 'masks'}"
    code, _, stderr = imltool("synth", "--objects", pairs, "--count", 1, "--out", tmp_path / "synth")
    assert code == 1 and "1 of 4 pictures are left out: no mask 1 (t0.png)" in stderr


def test_synth_and_convert_report_left_out_pictures(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", tampered=3, authentic=3)
    (root / "authentic/a0.jpg").write_bytes(b"none")
    write_rgb(root / "masks/t0.png", np.zeros((64, 96), np.uint8))
    pairs = f"{root / 'tampered'}:{root / 'masks'}"
    command = ("synth", "--photos", root / "authentic", "--objects", pairs, "--count", 1, "--out", tmp_path / "synth")
    code, _, stderr = imltool(*command)
    assert code == 1 and "unreadable picture 1 (a0.jpg)" in stderr and "mask marks nothing 1 (t0.png)" in stderr
    small = ("--set", "long_side=[96,128]")
    code, _, stderr = imltool(*command, *small, "--max-left-out", "0.34")
    assert code in (0, 3) and len(json.loads((tmp_path / "synth/sources.json").read_text())) == 2
    code, _, stderr = imltool("data", "convert", f"folder:{root}", "--out", tmp_path / "new")
    assert code == 1 and "2 of 6 pictures are left out" in stderr
    code, _, stderr = imltool("data", "convert", f"folder:{root}", "--out", tmp_path / "new", "--max-left-out", "0.34")
    assert code == 3 and json.loads((tmp_path / "new/sources.json").read_text())[0]["used"] == 4


def test_picture_damaged_during_training_is_resampled_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from imltool.student.settings import StudentSettings
    from imltool.training.data import TrainingData
    from imltool.training.settings import AugmentSettings, DataSettings

    for name in ("a", "b"):
        write_rgb(tmp_path / f"photos/{name}.png", photo(ord(name)))
    sources = [{"name": "x", "kind": "authentic", "images": "photos"}]
    data = DataSettings.model_validate({"root": tmp_path, "train": sources})
    training = TrainingData(data, AugmentSettings(), StudentSettings(input_size=64), seed=0, length=8)
    (tmp_path / "photos/a.png").write_bytes(b"none")
    with caplog.at_level("WARNING", "imltool"):
        assert len([training[index] for index in range(8)]) == 8
    assert "is drawn again" in caplog.text and "a.png" in caplog.text
    assert Image.open(tmp_path / "photos/b.png").size == (96, 64)


def test_pictures_judged_without_boxes_are_not_faults(tmp_path: Path, imltool: Imltool) -> None:
    root = make_set(tmp_path / "set", tampered=5, authentic=0)
    verdicts = [None, "authentic", "skipped", ""]  # t0 has a box; t3 is listed without a verdict; t4 is not listed
    images: list[dict[str, Any]] = [
        {"id": n, "file_name": f"t{n}.png", "width": 96, "height": 64}
        | ({"imltool": {"verdict": word}} if word else {})
        for n, word in enumerate(verdicts)
    ]
    boxed: dict[str, Any] = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 10, 40, 30]}
    document: dict[str, Any] = {"images": images, "annotations": [boxed], "categories": [{"id": 1, "name": "tampered"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    pseudo = tmp_path / "pseudo"
    command = ("pseudo", root / "tampered", "--boxes", tmp_path / "boxes.json", "--out", pseudo, "--teacher", "box")
    code, _, stderr = imltool(*command)
    assert code == 0
    (account,) = json.loads((pseudo / "sources.json").read_text())
    judged = {
        "judged authentic, no box": ["t1.png"],
        "skipped, not judged": ["t2.png"],
        "nothing boxed": ["t3.png"],
    }
    assert account["aside"] == judged | {"not annotated": ["t4.png"]} and account["left_out"] == {}
    source = f"{{name: x, kind: pseudo, images: {root / 'tampered'}, pseudo: {pseudo}}}"
    code, _, stderr = train(imltool, tmp_path / "run", source)
    assert code == 1 and "1 of 2 pictures are left out: no pseudo-mask 1 (t4.png)" in stderr
    (root / "tampered/t4.png").unlink()
    code, _, stderr = train(imltool, tmp_path / "run", source)
    assert code == 0, stderr
    (account,) = json.loads((tmp_path / "run/sources.json").read_text())
    assert account["used"] == 1 and account["aside"] == judged and account["left_out"] == {}
    # a picture that gets a box later is used
    document["annotations"].append(boxed | {"id": 2, "image_id": 1})
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    assert imltool(*command)[0] == 0
    code, _, stderr = train(imltool, tmp_path / "again", source)
    assert code == 0 and json.loads((tmp_path / "again/sources.json").read_text())[0]["used"] == 2
