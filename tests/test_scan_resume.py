"""Scans that were killed, cut or refused: what is on disk stays valid, and the next run goes on with it."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imltool.cli.app import run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights and the smallest input."""
    import torch

    from imltool.student.localizer import Localizer
    from imltool.student.settings import StudentSettings

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    Localizer.untrained(StudentSettings(input_size=64), torch.device("cpu"), seed=3).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four pictures, two of them with metadata, and a damaged one."""
    path = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    for number in range(24):
        picture = Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8))
        if number < 22:
            picture.save(path / f"{number:02}.png")
            continue
        exif = Image.Exif()
        exif.update({0x010F: "Canon", 0x0131: "GIMP 2.10", 0x0132: "2024:05:01 12:00:00"})
        picture.save(path / f"{number:02}.jpg", exif=exif)
    (path / "07 damaged.png").write_bytes((path / "07.png").read_bytes()[:2000])
    return path


def scan(weights: Path, *arguments: object) -> int:
    return run(["scan", *map(str, arguments), "--weights", str(weights), "--device", "cpu", "--batch", "2"])


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a scan but those that tell times."""
    skipped = {"run.json", "report.html"}
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in skipped
    }


@pytest.fixture(scope="module")
def undisturbed(weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert scan(weights, folder, "--out", out) == 3
    return contents(out)


def test_killed_scan_goes_on(weights: Path, folder: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "imltool", "scan", folder, "--out", out, "--weights", weights, "--batch", "2"]
    process = subprocess.Popen([*map(str, command), "--device", "cpu"], stderr=subprocess.DEVNULL)
    journal = out / "results.jsonl"
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes().count(b"\n")
    assert kept >= 3
    assert scan(weights, folder, "--out", out) == 3
    assert contents(out) == undisturbed
    sessions = json.loads((out / "run.json").read_text())["sessions"]
    if kept < 25:  # killed in time
        assert [session["finished"] is None for session in sessions] == [True, False]
        assert sessions[1]["kept"] == kept and sessions[1]["made"] == 25 - kept


def test_torn_rows_and_half_written_files(
    weights: Path, folder: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert scan(weights, folder, "--out", out) == 3
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:40])
    (out / "maps" / ".12.png.png.999.part").write_bytes(b"half")
    (out / "masks" / "12.png.png").unlink()
    capsys.readouterr()
    assert scan(weights, folder, "--out", out, "--json") == 3
    assert contents(out) == undisturbed
    assert capsys.readouterr().out.encode() == undisturbed["results.jsonl"], "rows done before are told again"


def test_other_parameters_are_refused(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert scan(weights, folder / "00.png", "--out", out) == 0
    first = contents(out)
    assert scan(weights, folder / "00.png", "--out", out, "--threshold", "0.9") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "threshold" in message and "--restart" in message
    assert scan(weights, folder / "01.png", "--out", out) == 2, "other inputs"
    assert contents(out) == first
    (out / "my notes.txt").write_text("keep")
    assert scan(weights, folder / "01.png", "--out", out, "--restart") == 0
    assert {"maps/01.png.png", "my notes.txt"} <= set(contents(out))
    assert "maps/00.png.png" not in contents(out)
    assert len((out / "results.jsonl").read_text().splitlines()) == 1


def test_rows_of_an_older_form_are_not_mixed_with_new_ones(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert scan(weights, folder / "00.png", "--out", out) == 0
    parameters = json.loads((out / "parameters.json").read_text())
    del parameters["row_format"]  # as they were before rows had a context
    (out / "parameters.json").write_text(json.dumps(parameters))
    assert scan(weights, folder / "00.png", "--out", out) == 2
    assert "row_format was None" in " ".join(capsys.readouterr().err.split())


def test_new_files_join_a_finished_scan(weights: Path, folder: Path, tmp_path: Path) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    (place / "b.png").write_bytes((folder / "00.png").read_bytes())
    assert scan(weights, place, "--out", out) == 0
    (place / "a.png").write_bytes((folder / "01.png").read_bytes())
    assert scan(weights, place, "--out", out) == 0
    rows = [json.loads(line)["path"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert rows == ["b.png", "a.png"]


@pytest.mark.parametrize("fate", ["changed", "vanished", "became a pipe"])
def test_evidence_that_changed_since_is_refused(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fate: str
) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    for name in ("00.png", "01.png", "02.png"):
        (place / name).write_bytes((folder / name).read_bytes())
    assert scan(weights, place, "--out", out) == 0
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:2]))  # cut before the last
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (place / "01.png").unlink()
    if fate == "changed":
        (place / "01.png").write_bytes((folder / "03.png").read_bytes())
    elif fate == "became a pipe":
        os.mkfifo(place / "01.png")
    capsys.readouterr()
    assert scan(weights, place, "--out", out) == 2
    message = " ".join(capsys.readouterr().err.split())
    word = "vanished" if fate == "vanished" else "changed"
    assert f"01.png {word} since this scan began" in message and "--restart" in message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before, "nothing was analysed"
    if fate != "became a pipe":
        assert scan(weights, place, "--out", out, "--restart") == 0
        rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert {row["path"]: row["sha256"] for row in rows} == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()
        }


def test_a_picture_that_changed_is_not_shown_under_its_map(folder: Path, tmp_path: Path) -> None:
    from imltool.files import sha256_file
    from imltool.images import write_map
    from imltool.scan.previews import make_preview

    picture, values = tmp_path / "a.png", tmp_path / "map.png"
    picture.write_bytes((folder / "00.png").read_bytes())
    write_map(values, np.zeros((90, 120), np.float32))
    digest = sha256_file(picture)
    assert make_preview(picture, digest, values, 0.5) is not None
    picture.write_bytes((folder / "01.png").read_bytes())
    assert make_preview(picture, digest, values, 0.5) is None


def test_full_disk_keeps_what_was_written(
    weights: Path, folder: Path, undisturbed: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on file size stands in for a full disk: the write fails in the same place."""
    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    smallest = min(len(data) for name, data in undisturbed.items() if name.startswith("maps/"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (smallest - 1, hard))
    try:
        code = scan(weights, folder, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert code == 1
    assert "cannot write" in error and "Traceback" not in error
    assert not list(out.rglob("*.part"))
    assert scan(weights, folder, "--out", out) == 3
    assert contents(out) == undisturbed
