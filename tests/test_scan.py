"""`imltool scan` on generated pictures: analysed files, outputs, and faulty files that do not affect others."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from helpers.outputs import record_of, rows_by_path
from PIL import Image

from imltool.cli.app import run
from imltool.pictures.images import read_map, read_mask, read_rgb
from imltool.versions import installed_versions


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """A smooth random picture."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)).resize((width, height))


def save(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(seed=seed).save(path)


def scan(weights: Path, *arguments: object) -> int:
    return run(["scan", *map(str, arguments), "--weights", str(weights), "--device", "cpu"])


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    folder = tmp_path / "evidence"
    save(folder, "plain.jpg", "a.jpg", "a.png", "deep/er/b.bmp", "Ünï 照片.jpg", "line\nbreak.png", "=1+1.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(60, 40).save(folder / "portrait.jpg", exif=exif)
    values = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    Image.fromarray(values).save(folder / "deep16.png")
    photo().convert("L").save(folder / "grey.png")
    photo().convert("P").save(folder / "palette.gif")
    photo().convert("RGBA").save(folder / "alpha.png")
    photo().convert("CMYK").save(folder / "cmyk.jpg")
    photo().save(folder / "png inside.jpg", "PNG")
    pillow_heif.from_pillow(photo()).save(folder / "phone.heic")
    photo().save(folder / "web.avif")
    photo().save(folder / "IMG_0001", "JPEG")
    photo().save(folder / "pages.tif", save_all=True, append_images=[photo(seed=1)])
    exif = Image.Exif()
    exif.update({0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0131: "=Photoshop(1)"})
    photo().save(folder / "edited.jpg", exif=exif)
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    (folder / "cut.jpg").write_bytes((folder / "plain.jpg").read_bytes()[:300])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("not a picture")
    (folder / "notes.txt").write_text("not looked at")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "lost.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


FAULTS = {
    "cut.jpg": "damaged picture",
    "empty.png": "the file is empty",
    "text.jpg": "not a picture format",
    "pipe.jpg": "not a regular file",
    "lost.jpg": "broken link",
}


def test_every_kind_of_file_is_analysed_or_reported(
    evidence: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.lstat().st_mtime_ns for path in evidence.rglob("*")}
    out = tmp_path / "out"
    assert scan(tiny_weights, evidence, "--out", out, "--json", "--batch", 4) == 3
    shown = capsys.readouterr()
    assert shown.out == (out / "results.jsonl").read_text(encoding="utf-8"), "stdout is identical to the journal"
    assert "error" not in shown.err
    rows = rows_by_path(out)
    expected = sorted(
        p.relative_to(evidence).parts for p in evidence.rglob("*") if not p.is_dir() and p.suffix != ".txt"
    )
    assert [tuple(name.split("/")) for name in rows] == expected
    assert {name for name, row in rows.items() if row["status"] == "failed"} == set(FAULTS)
    for name, row in rows.items():
        path = evidence / name
        if name in FAULTS:
            assert FAULTS[name] in row["reason"]
            assert str(tmp_path) not in row["reason"]
            assert row["score"] is row["map"] is row["verdict"] is None
            continue
        assert row["reason"] is None
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert row["size_bytes"] == path.stat().st_size
        assert (row["width"], row["height"]) == read_rgb(path).shape[1::-1]
        assert read_map(out / row["map"]).shape == (row["height"], row["width"])
        assert read_mask(out / row["mask"]).shape == (row["height"], row["width"])
        assert Image.open(out / row["overlay"]).size == (row["width"], row["height"])
    assert (rows["portrait.jpg"]["width"], rows["portrait.jpg"]["height"]) == (40, 60)
    assert rows["deep/er/b.bmp"]["map"] == "maps/deep/er/b.bmp.png"
    assert rows["a.jpg"]["map"] != rows["a.png"]["map"]
    assert {path: path.lstat().st_mtime_ns for path in evidence.rglob("*")} == before, "evidence is not modified"

    formats = {name: row["context"] and row["context"]["format"] for name, row in rows.items()}
    assert (formats["phone.heic"], formats["web.avif"], formats["IMG_0001"]) == ("HEIF", "AVIF", "JPEG")
    assert formats["cut.jpg"] == "JPEG" and formats["text.jpg"] is formats["pipe.jpg"] is None
    remarks = {name: {remark["id"]: remark["text"] for remark in row["remarks"]} for name, row in rows.items()}
    assert remarks["edited.jpg"] == {"editor": "saved by an editor (=Photoshop(1))"}
    assert remarks["pages.tif"] == {"frames": "only one of its 2 frames or pages was analysed"}
    assert "name" in remarks["png inside.jpg"] and "name" not in remarks["IMG_0001"]
    assert remarks["pipe.jpg"] == remarks["text.jpg"] == {}
    assert rows["pipe.jpg"]["context"] is None and rows["text.jpg"]["context"]["problems"]

    with (out / "results.csv").open(encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [line["sha256"] for line in table] == [row["sha256"] or "" for row in rows.values()]
    assert "./=1+1.png" in {line["path"] for line in table}, "a spreadsheet must not evaluate a file name"
    assert r"line\nbreak.png" in {line["path"] for line in table}, "no cell has control characters"
    cells = next(line for line in table if line["path"] == "edited.jpg")
    assert cells["software"] == "'=Photoshop(1)", "a spreadsheet must not evaluate metadata"
    assert (cells["camera_model"], cells["jpeg_quality"], cells["credentials_state"]) == (
        "Canon EOS 5D",
        "75",
        "absent",
    )
    assert cells["remarks"] == remarks["edited.jpg"]["editor"] and cells["thumbnail_differs"] == ""
    with (out / "errors.csv").open(encoding="utf-8", newline="") as handle:
        reasons = {line["path"]: line["reason"] for line in csv.DictReader(handle)}
    assert reasons == {name: row["reason"] for name, row in rows.items() if row["status"] == "failed"}
    record = record_of(out)
    assert record["model"]["sha256"] == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    assert record["libraries"] == installed_versions()
    assert record["counts"]["failed"] == len(FAULTS)
    assert record["counts"]["files"] == len(rows)
    assert record["sessions"][0]["finished"] >= record["sessions"][0]["started"]
    assert record["sessions"][0]["command_line"][:2] == ["imltool", "scan"], "also when a program runs the command"


def test_row_values_can_be_recomputed_from_the_map(tiny_weights: Path, tmp_path: Path) -> None:
    save(tmp_path / "in", "a.png", "b.jpg")
    out = tmp_path / "out"
    assert scan(tiny_weights, tmp_path / "in", "--out", out, "--threshold", "0.5") == 0
    for row in rows_by_path(out).values():
        values = read_map(out / row["map"])
        assert row["score"] == pytest.approx(np.sort(values.ravel())[-round(values.size * 0.01) :].mean(), abs=1e-6)
        assert (read_mask(out / row["mask"]) == (values > 0.5)).all()
        assert row["tampered_area"] == pytest.approx((values > 0.5).mean(), abs=1e-6)
        assert row["verdict"] == "inconclusive" and "not calibrated" in row["verdict_reason"]
        assert row["stability"] is None and row["companions"] == {}, "neither was requested"


def test_regions_are_sorted_by_size_without_tiny_ones() -> None:
    from imltool.scan.picture_outputs import find_regions

    values = np.zeros((100, 200), np.float32)
    values[10:20, 30:60] = 0.75
    values[50:90, 100:140] = 1.0
    values[90, 140] = 1.0  # touches diagonally: the same region
    values[0:4, 0:4] = 0.9  # 16 pixels, less than 0.1 % of 20 000
    assert [region.model_dump() for region in find_regions(values, 0.5)] == [
        {"x": 100, "y": 50, "width": 41, "height": 41, "area": 1601, "score": 1.0},
        {"x": 30, "y": 10, "width": 30, "height": 10, "area": 300, "score": 0.75},
    ]
    assert find_regions(values, 1.0) == []


def test_inputs_with_equal_names_get_distinct_paths(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "one/day/a.jpg", "two/day/a.jpg", "sub/a.jpg", "a.dat.jpg")
    (tmp_path / "a.dat.jpg").rename(tmp_path / "a.dat")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert scan(tiny_weights, "one/day", "two/day", "sub/a.jpg", "sub/../sub/a.jpg", "a.dat", "--out", out) == 0
    rows = rows_by_path(out)
    assert list(rows) == ["day/a.jpg", "day-2/a.jpg", "sub/a.jpg", "a.dat"]
    for name, path in zip(rows, ("one/day/a.jpg", "two/day/a.jpg", "sub/a.jpg", "a.dat"), strict=True):
        assert rows[name]["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    labels = {entry["given"]: entry["label"] for entry in record_of(out)["inputs"]}
    assert labels["two/day"] == "day-2"


def test_confusable_names_get_distinct_outputs(tiny_weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    long = "n" * 250 + ".png"
    save(folder, "A.png", "a.png", long, "b.jpg", "b.jpg.png/c.png")
    (folder / "A.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    save(folder, "A.png")
    out = tmp_path / "out"
    assert scan(tiny_weights, folder, "--out", out) == 0
    rows = rows_by_path(out)
    assert set(rows) == {"A.png", "a.png", long, "b.jpg", "b.jpg.png/c.png", "caf\\xe9.png"}
    assert len({row["map"].casefold() for row in rows.values()}) == len(rows)
    assert all((out / row[kind]).is_file() for row in rows.values() for kind in ("map", "mask", "overlay"))


def test_output_folder_inside_the_input_is_not_scanned(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    assert scan(tiny_weights, ".") == 0
    assert scan(tiny_weights, ".") == 0, "the second run finds everything finished"
    assert list(rows_by_path(tmp_path / "imltool-scan")) == ["a.png"]
    assert capsys.readouterr().out == "", "without --json nothing on stdout"


def test_ground_truth_masks_are_not_scanned(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "set"
    save(data, "tampered/a.png", "authentic/b.png", "masks/a.png", "elsewhere/masks/c.png")
    assert scan(tiny_weights, data, "--out", tmp_path / "out") == 0
    assert list(rows_by_path(tmp_path / "out")) == ["authentic/b.png", "elsewhere/masks/c.png", "tampered/a.png"]
    assert "masks: ground truth" in " ".join(capsys.readouterr().err.split())
    assert scan(tiny_weights, data / "masks", "--out", tmp_path / "out2", "-q") == 0
    assert list(rows_by_path(tmp_path / "out2")) == ["a.png"]
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""


def test_exit_codes_and_messages(tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").touch()
    save(tmp_path / "good", "a.png")
    for code, message, arguments in (
        (2, "no such file or folder", [tmp_path / "missing", "--out", tmp_path / "o1"]),
        (1, "no picture found", [tmp_path / "none", "--out", tmp_path / "o2"]),
        (1, "could not be analysed", [tmp_path / "bad", "--out", tmp_path / "o3"]),
        (2, "is not empty and holds no scan", [tmp_path / "good", "--out", tmp_path / "bad"]),
        (2, "is not empty and holds no scan", [tmp_path / "good", "--out", tmp_path / "bad", "--restart"]),
        (2, "is a file", [tmp_path / "good", "--out", tmp_path / "good" / "a.png"]),
    ):
        assert scan(tiny_weights, *arguments) == code
        assert message in " ".join(capsys.readouterr().err.split())
    assert scan(tmp_path / "nowhere.safetensors", tmp_path / "good", "--out", tmp_path / "o4") == 1
    assert not (tmp_path / "o1").exists() and not (tmp_path / "o2").exists()
    assert [path.name for path in (tmp_path / "bad").iterdir()] == ["x.jpg"]
    assert json.loads((tmp_path / "o3" / "results.jsonl").read_text())["reason"] == "the file is empty"
