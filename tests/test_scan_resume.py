"""Killed, truncated or refused scans: files on disk stay valid, and the next run resumes the scan."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import resource
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool, scan_words
from helpers.forked import Forked
from helpers.outputs import interrupt, record_of, rows_of, write_record
from PIL import Image

from imltool.cli.app import run
from imltool.files import folder_lock
from imltool.scanner import Scanner

VARYING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC(, continued \d+×)?|imltool scan [^<]*".encode())
"""Times and the command line, which names the output folder."""


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


def scan(tiny_weights: Path, *arguments: object) -> int:
    return run(scan_words(tiny_weights, *arguments))


def contents(out: Path) -> dict[str, bytes]:
    """All files of a scan except `run.json`, which has times; so are times and the command line in the report."""
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "run.json"
    }
    if "report.html" in files:
        files["report.html"] = VARYING.sub(b"", files["report.html"])
    return files


@pytest.fixture(scope="module")
def uninterrupted(tiny_weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert scan(tiny_weights, folder, "--out", out) == 3
    return contents(out)


def test_killed_scan_is_resumed(
    tiny_weights: Path, folder: Path, uninterrupted: dict[str, bytes], tmp_path: Path, forked: Forked
) -> None:
    out = tmp_path / "out"
    journal = out / "results.jsonl"

    def begun() -> bool:
        return journal.exists() and journal.read_bytes().count(b"\n") >= 3

    forked.stop_midway(signal.SIGKILL, begun, out, *scan_words(tiny_weights, folder, "--out", out))
    kept = journal.read_bytes().count(b"\n")
    assert 3 <= kept <= 25
    assert run(["verify", str(out)]) == 3, "an incomplete scan is neither changed nor verified"
    assert scan(tiny_weights, folder, "--out", out) == 3
    assert contents(out) == uninterrupted
    assert run(["verify", str(out), "--inputs"]) == 0
    sessions = record_of(out)["sessions"]
    assert [session["finished"] is None for session in sessions] == [True, False]
    assert sessions[1]["kept"] == kept and sessions[1]["made"] == 25 - kept


def test_scan_killed_at_random_moments_is_resumed(
    tiny_weights: Path, folder: Path, uninterrupted: dict[str, bytes], tmp_path: Path, forked: Forked
) -> None:
    """Eight consecutive kills, each after a random number of written bytes, the last while the report is written."""
    out = tmp_path / "out"
    report = len(uninterrupted["report.html"])
    whole = sum(map(len, uninterrupted.values())) - report
    moments = sorted(random.Random(5).uniform(0, whole) for _ in range(7))
    killed = 0
    for moment in [*moments, whole + report / 2]:
        process = forked.start(*scan_words(tiny_weights, folder, "--out", out))
        process.wait_for(lambda: written(out) >= moment)  # noqa: B023, called before the next moment
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert json.loads((out / "parameters.json").read_text())["command"] == "scan"
    assert killed >= 4, "at least half of the kills hit a running scan"
    assert scan(tiny_weights, folder, "--out", out) == 3
    assert contents(out) == uninterrupted
    assert run(["verify", str(out), "--inputs"]) == 0


def written(out: Path) -> int:
    """Bytes of all files of a scan except its record."""
    count = 0
    for path in out.rglob("*"):
        with contextlib.suppress(OSError):
            count += path.stat().st_size if path.is_file() and path.name != "run.json" else 0
    return count


def test_ctrl_c_gives_exit_code_130_and_the_scan_is_resumed(
    tiny_weights: Path, folder: Path, uninterrupted: dict[str, bytes], tmp_path: Path, forked: Forked
) -> None:
    out, log = tmp_path / "out", tmp_path / "scan.log"
    journal = out / "results.jsonl"
    words = scan_words(tiny_weights, folder, "--out", out, "--log-file", log)
    begun = lambda: journal.exists() and journal.stat().st_size > 0  # noqa: E731
    assert forked.stop_midway(signal.SIGINT, begun, out, *words, stderr=tmp_path / "stderr") == 130
    error = (tmp_path / "stderr").read_text()
    assert "interrupted" in error and "Traceback" not in error
    assert log.read_text().splitlines()[-1].endswith("KeyboardInterrupt: ")
    assert 0 < journal.read_bytes().count(b"\n") <= 25
    assert scan(tiny_weights, folder, "--out", out) == 3
    assert contents(out) == uninterrupted


def test_closed_pipe_stops_the_scan_with_an_error(
    tiny_weights: Path, folder: Path, uninterrupted: dict[str, bytes], tmp_path: Path, forked: Forked
) -> None:
    out, pipe = tmp_path / "out", tmp_path / "pipe"
    os.mkfifo(pipe)
    command = scan_words(tiny_weights, folder, "--out", out, "--json")
    process = forked.start(*command, stdout=pipe, stderr=tmp_path / "stderr")
    with pipe.open("rb", buffering=0) as reader:
        assert reader.read(2) == b'{"'
    assert process.wait() == 1, "exit code 0 would mean that everything was analysed"
    error = (tmp_path / "stderr").read_text().splitlines()
    assert len(error) == 1 and "reader of stdout went away" in error[0]
    assert scan(tiny_weights, folder, "--out", out) == 3
    assert contents(out) == uninterrupted


def test_full_stdout_stops_the_scan_with_an_error(
    tiny_weights: Path, folder: Path, uninterrupted: dict[str, bytes], tmp_path: Path, forked: Forked
) -> None:
    out = tmp_path / "out"
    command = scan_words(tiny_weights, folder, "--out", out, "--json")
    assert forked.start(*command, stdout="/dev/full", stderr=tmp_path / "stderr").wait() == 1
    error = (tmp_path / "stderr").read_text().splitlines()
    assert len(error) == 1 and error[0].startswith("error: stdout cannot be written: No space left on device")
    assert scan(tiny_weights, folder, "--out", out) == 3
    assert contents(out) == uninterrupted


def test_partial_rows_and_files_are_made_again(
    tiny_weights: Path,
    folder: Path,
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert scan(tiny_weights, folder, "--out", out) == 3
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    interrupt(out, 10)
    (out / "results.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:40] + b"\n")
    assert scan(tiny_weights, folder, "--out", out) == 2, "no kill leaves a complete line that is damaged"
    assert "damaged at byte" in (error := " ".join(capsys.readouterr().err.split())) and "--restart" in error
    (out / "results.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:40])
    (out / "maps" / ".12.png.png.0123456789ab.part").write_bytes(b"half")
    (out / "masks" / "12.png.png").unlink()
    capsys.readouterr()
    assert scan(tiny_weights, folder, "--out", out, "--json") == 3
    assert contents(out) == uninterrupted
    assert capsys.readouterr().out.encode() == uninterrupted["results.jsonl"], (
        "rows of the previous run are printed again"
    )


def test_other_parameters_are_refused(
    tiny_weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert scan(tiny_weights, folder / "00.png", "--out", out) == 0
    first = contents(out)
    assert scan(tiny_weights, folder / "00.png", "--out", out, "--threshold", "0.9") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "threshold" in message and "--restart" in message
    assert scan(tiny_weights, folder / "01.png", "--out", out) == 2, "other inputs"
    assert contents(out) == first
    (out / "my notes.txt").write_text("keep")
    assert scan(tiny_weights, folder / "01.png", "--out", out, "--restart") == 0
    assert {"maps/01.png.png", "my notes.txt"} <= set(contents(out))
    assert "maps/00.png.png" not in contents(out)
    assert len((out / "results.jsonl").read_text().splitlines()) == 1


def test_rows_of_an_older_format_are_not_mixed_with_new_ones(
    tiny_weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert scan(tiny_weights, folder / "00.png", "--out", out) == 0
    parameters = json.loads((out / "parameters.json").read_text())
    del parameters["row_format"]  # as in versions without row contexts
    (out / "parameters.json").write_text(json.dumps(parameters))
    assert scan(tiny_weights, folder / "00.png", "--out", out) == 2
    assert "row_format was None" in " ".join(capsys.readouterr().err.split())


def test_new_files_are_added_to_a_finished_scan(tiny_weights: Path, folder: Path, tmp_path: Path) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    (place / "b.png").write_bytes((folder / "00.png").read_bytes())
    assert scan(tiny_weights, place, "--out", out) == 0
    (place / "a.png").write_bytes((folder / "01.png").read_bytes())
    assert scan(tiny_weights, place, "--out", out) == 0
    rows = [json.loads(line)["path"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert rows == ["b.png", "a.png"]


@pytest.mark.parametrize("change", ["changed", "vanished", "became a pipe"])
def test_changed_evidence_is_refused_when_resuming(
    tiny_weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    for name in ("00.png", "01.png", "02.png"):
        (place / name).write_bytes((folder / name).read_bytes())
    assert scan(tiny_weights, place, "--out", out) == 0
    interrupt(out, 2)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (place / "01.png").unlink()
    if change == "changed":
        (place / "01.png").write_bytes((folder / "03.png").read_bytes())
    elif change == "became a pipe":
        os.mkfifo(place / "01.png")
    capsys.readouterr()
    assert scan(tiny_weights, place, "--out", out) == 2
    message = " ".join(capsys.readouterr().err.split())
    word = "vanished" if change == "vanished" else "changed"
    assert f"01.png {word} since this scan began" in message and "--restart" in message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before, "nothing was analysed"
    if change != "became a pipe":
        assert scan(tiny_weights, place, "--out", out, "--restart") == 0
        rows = rows_of(out)
        assert {row["path"]: row["sha256"] for row in rows} == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()
        }


def test_full_disk_keeps_written_results(
    tiny_weights: Path,
    folder: Path,
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file size limit simulates a full disk: the write fails at the same point."""
    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    smallest = min(len(data) for name, data in uninterrupted.items() if name.startswith("maps/"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (smallest - 1, hard))
    try:
        code = scan(tiny_weights, folder, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert code == 1
    assert "cannot write" in error and "Traceback" not in error
    assert not list(out.rglob("*.part"))
    assert scan(tiny_weights, folder, "--out", out) == 3
    assert contents(out) == uninterrupted


@pytest.mark.may_skip  # needs the right to mount
def test_full_disk_at_any_stage_can_be_resumed(
    tiny_weights: Path,
    folder: Path,
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file system that is full and enlarged repeatedly, so that writing pictures, tables and report fails."""
    disk = tmp_path / "disk"
    disk.mkdir()
    sizes = [-(-len(data) // 4096) * 4 for data in uninterrupted.values()]  # in kB, as pages
    report = -(-len(uninterrupted["report.html"]) // 4096) * 4
    steps = [*(int(share * (sum(sizes) - report)) for share in (0.05, 0.4, 0.8)), sum(sizes) - report // 2]
    mount = ["mount", "-t", "tmpfs", "-o", f"size={steps[0]}k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        out, rows = disk / "out", 0
        for step in steps:
            subprocess.run(["mount", "-o", f"remount,size={step}k", disk], check=True)
            capsys.readouterr()
            assert scan(tiny_weights, folder, "--out", out) == 1
            errors = capsys.readouterr().err.splitlines()
            assert [line for line in errors if "no space left to write" in line] == errors[-1:]
            before, rows = rows, (out / "results.jsonl").read_bytes().count(b"\n")
            assert rows >= before and not list(out.rglob("*.part"))
        assert rows == 25, "the last step stopped the report"
        subprocess.run(["mount", "-o", f"remount,size={4 * sum(sizes)}k", disk], check=True)
        assert scan(tiny_weights, folder, "--out", out) == 3
        assert contents(out) == uninterrupted
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_scans_cannot_write_into_one_folder(
    tiny_weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with folder_lock(out):
        for restart in ([], ["--restart"]):
            assert scan(tiny_weights, folder / "00.png", "--out", out, *restart) == 2
            assert "another command is writing" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in out.iterdir()] == [".imltool.lock"]
    assert scan(tiny_weights, folder / "00.png", "--out", out) == 0


@pytest.mark.parametrize("name", ["results.jsonl", "maps/00.png.png", "run.json"])
def test_changed_results_are_not_resumed(
    tiny_weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out, pictures = tmp_path / "out", [folder / "00.png", folder / "01.png"]
    assert scan(tiny_weights, *pictures, "--out", out) == 0
    path = out / name
    if path.suffix == ".png":
        path.write_bytes((out / "maps/01.png.png").read_bytes())
    else:
        path.write_text(path.read_text().replace("00.png", "0O.png", 1))
    before = contents(out)
    assert scan(tiny_weights, *pictures, "--out", out) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"{name} " in error and "changed" in error and "--restart" in error
    assert contents(out) == before
    assert scan(tiny_weights, *pictures, "--out", out, "--restart") == 0


def edit_sessions(out: Path, **values: object) -> None:
    """Change the first session in run.json, as if another version had written it."""
    record = record_of(out)
    record["sessions"][0] |= values
    write_record(out, record)


def test_versions_of_every_session_are_recorded(
    tiny_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    words = scan_words(tiny_weights, folder, "--out", out)[1:]
    results = Scanner(tiny_weights, "cpu", engine="torch").scan(folder, out)
    for _ in range(3):
        next(results)
    results.close()  # type: ignore[attr-defined]
    now = record_of(out)["libraries"]
    assert all(now[name] for name in ("pillow", "opencv", "tifffile", "imagecodecs", "deflate"))
    edit_sessions(out, libraries=now | {"pillow": "1.1.7"})
    code, _, stderr = imltool("scan", *words, "--engine", "torch")
    assert code == 3 and f"made with other versions: pillow 1.1.7 and {now['pillow']}" in " ".join(stderr.split())
    record = record_of(out)
    assert [one["libraries"]["pillow"] for one in record["sessions"]] == ["1.1.7", now["pillow"]]
    assert record["libraries"] == now and record["sessions"][1]["engine"] == record["model"]["engine"]
    assert f"differ: pillow 1.1.7 and {now['pillow']}" in (out / "report.html").read_text(encoding="utf-8")


def test_report_made_again_keeps_the_versions_of_the_rows(
    tiny_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    words = scan_words(tiny_weights, folder / "00.png", "--out", out)[1:]
    assert imltool("scan", *words)[0] == 0
    edit_sessions(out, engine="abacus 1", libraries={"pillow": "1.1.7"}, platform="CP/M")
    code, _, stderr = imltool("scan", *words)
    record = record_of(out)
    assert code == 0 and "other versions" not in stderr
    assert (record["model"]["engine"], record["platform"]) == ("abacus 1", "CP/M")
    assert record["libraries"] == {"pillow": "1.1.7"}
