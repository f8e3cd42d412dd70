"""File names with a special meaning for file systems, spreadsheets, HTML or terminals, and files passed over."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, rows_by_path
from helpers.pictures import photo, write_rgb

from imltool.scan.inputs import plan_inputs

NAMES = (
    b"=cmd|' C calc'!A0.png", b"+1.png", b"-1.png", b"@SUM(A1).png", b"\t=1.png", b"\r=2.png", b"a\nb.png",
    b"<script>alert(1)<!--.png", b"\"onload='x'&amp;.png", b"<style>.png", b"{{ 7*7 }}.png", b"\x1b[31mred.png",
    b"a:b*c|d.png", b"CON.png", b"NUL", b"end.", b"end ", b" .png", b"~.png", b"a\\b.png", b"bad\xff\xfe.png",
    b"bad\\xff\\xfe.png", "e\u0301.png".encode(), "\u00e9.png".encode(), "\u202egnp.png".encode(), b"x" * 251 + b".png",
    "\u00e9".encode() * 125 + b".png", b"x" * 250 + b"~.png", b"A.PNG", b"a.png", b"a.png.png",
)  # fmt: skip
"""As bytes: on Linux a name may be invalid UTF-8."""


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small picture of each name, and some pictures in folders with hostile names."""
    folder = tmp_path_factory.mktemp("names") / "in"
    write_rgb(folder / "x.png", photo(0, 40, 32))
    data = (folder / "x.png").read_bytes()
    for raw in NAMES:
        (folder / os.fsdecode(raw)).write_bytes(data)
    for name in ("AUX", "=1+1", "dots...", "<b>"):
        write_rgb(folder / name / "con.png", photo(0, 40, 32))
    return folder


def test_hostile_names_are_scanned_and_escaped(
    hostile: Path, tmp_path: Path, tiny_weights: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = imltool("scan", hostile, "--out", out, "--weights", tiny_weights)
    assert code == 0 and not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1a\x1c-\x1f\u202e]|\x1b\[31m", stdout + stderr)
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines]
    count = len(NAMES) + 1 + 4
    assert len(rows) == count == len({row["path"] for row in rows}) and {row["status"] for row in rows} == {"ok"}
    for kind in ("map", "mask", "overlay", "preview"):
        files = {row[kind] for row in rows}
        assert len({unicodedata.normalize("NFC", name).casefold() for name in files}) == count, (
            "names are distinct on any file system"
        )
        for name in files:
            assert (out / name).is_file() and name.startswith(f"{kind}s/"), "outputs are inside the output folder"
            for part in name.split("/"):
                assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', part) and len(part.encode()) < 240
                assert not re.match(r"(con|nul|aux)\s*(\.|$)", part, re.IGNORECASE)
    text = (out / "results.csv").read_text(encoding="utf-8")
    table = [*csv.DictReader(text.splitlines())]
    assert len(table) == count and not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)
    assert not [cell for line in table for cell in line.values() if cell[:1] in tuple("=+-@\t\r")], (
        "no cell is a formula"
    )
    report = (out / "report.html").read_text(encoding="utf-8")
    for name in ("<script>alert", "<style>.png", "<b>/con.png", "\"onload='x'"):
        assert name not in report
    assert html.escape("<script>alert(1)") in report and "{{ 7*7 }}" in report and "\u202e" not in report
    assert imltool("verify", out, "--inputs")[:2] == (0, "")


def test_passed_over_files_are_counted_everywhere(tmp_path: Path, tiny_weights: Path, imltool: Imltool) -> None:
    """Hidden files and folders, links, pipes, empty files; every file with a picture extension is a row."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", ".hidden/b.png", ".c.png", "Photos.photoslibrary/d.png", "folder.jpg/e.png"):
        write_rgb(folder / name, photo(0, 40, 32))
    write_rgb(tmp_path / "beside/f.png", photo(0, 40, 32))
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "film.MP4",
        "film.mov",
        "a.pdf",
        "a.zip",
        "b.tar.gz",
        ".hidden/.x",
        "a.\x1b[1m",
    ):
        (folder / name).write_bytes(b"no picture")
    (folder / "nothing").touch()
    (folder / "nothing.jpg").touch()
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.png")
    for name, target in (
        ("beside", tmp_path / "beside"),
        ("loop", folder),
        ("gone", "nowhere"),
        ("gone.png", "nowhere"),
    ):
        (folder / name).symlink_to(target)
    plan = plan_inputs([folder], out)
    kinds = plan.passed_over
    assert kinds == {
        "no extension": 3, "not a file": 2, ".db": 1, ".mp4": 1, ".mov": 1, ".pdf": 1, ".zip": 1, ".gz": 1,
        r".\x1b[1m": 1,
    }  # fmt: skip
    everything = sum(1 for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    assert len(plan.inputs) + sum(kinds.values()) == everything - 2 + 1, (
        "the two links to folders, and the file behind one of them"
    )
    code, _, stderr = imltool("scan", folder, "--out", out, "--weights", tiny_weights)
    assert code == 3 and "passed over 12 other files: 3 no extension" in " ".join(stderr.split()), stderr
    assert record_of(out)["passed_over"] == kinds
    report = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert all(f"{count} {kind}" in report for kind, count in kinds.items())
    failed = {row["path"]: row["reason"] for row in csv.DictReader((out / "errors.csv").open(encoding="utf-8"))}
    assert failed == {
        "gone.png": "broken link",
        "nothing.jpg": "the file is empty",
        "pipe.png": "not a regular file",
    }


def shown_places(out: Path) -> dict[str, str]:
    """The place of each picture in the report, by its name."""
    report = (out / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r'<h2 tabindex="-1">(.*?)</h2>.*?<dt>Path</dt><dd><code>(.*?)</code>', report, re.DOTALL)
    return {re.sub("<[^>]*>", "", title).strip(): place for title, place in shown}


def test_report_names_the_place_of_each_file_of_the_same_name(
    tmp_path: Path, tiny_weights: Path, imltool: Imltool
) -> None:
    places = [tmp_path / name for name in ("x/a.png", "y/a.png", "z/a-2.png")]
    for place in places:
        write_rgb(place, photo(0, 40, 32))
    out = tmp_path / "out"
    assert imltool("scan", *places, "--out", out, "--weights", tiny_weights)[0] == 0
    assert list(rows_by_path(out)) == ["a.png", "a-2.png", "a-2-2.png"]
    assert shown_places(out) == {"a.png": str(places[0]), "a-2.png": str(places[1]), "a-2-2.png": str(places[2])}
    assert imltool("verify", out, "--inputs")[:2] == (0, "")


@pytest.mark.parametrize("folder_first", [True, False])
def test_report_names_the_place_of_files_below_folders_of_the_same_name(
    tmp_path: Path, tiny_weights: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch, folder_first: bool
) -> None:
    for number, name in enumerate(("usb/photos/a.png", "usb/photos/c.png", "here/photos/a.png", "here/photos/b.png")):
        write_rgb(tmp_path / name, photo(number, 40, 32))
    monkeypatch.chdir(tmp_path / "here")
    paths = [tmp_path / "usb/photos", "photos/a.png", "photos/b.png"]
    out = tmp_path / "out"
    words = ["scan", *(paths if folder_first else paths[::-1]), "--out", out, "--weights", tiny_weights]
    assert imltool(*words)[0] == 0
    usb, here = ("a", "a-2") if folder_first else ("a-2", "a")
    assert shown_places(out) == {
        f"photos/{usb}.png": str(tmp_path / "usb/photos/a.png"),
        f"photos/{here}.png": str(tmp_path / "here/photos/a.png"),
        "photos/b.png": str(tmp_path / "here/photos/b.png"),
        "photos/c.png": str(tmp_path / "usb/photos/c.png"),
    }


def test_scan_is_not_resumed_under_other_names(
    tmp_path: Path, tiny_weights: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file given by name is named by its path, which depends on the folder in which the command runs."""
    write_rgb(tmp_path / "in/a.png", photo(0, 40, 32))
    words = ["--out", tmp_path / "out", "--weights", tiny_weights]
    monkeypatch.chdir(tmp_path)
    assert imltool("scan", "in/a.png", *words)[0] == 0
    monkeypatch.chdir(tmp_path / "in")
    code, _, stderr = imltool("scan", "a.png", *words)
    assert code == 2 and "named its files 'in/a.png', and this command 'a.png'" in stderr


def test_output_is_utf8_in_files_and_pipes(tmp_path: Path, tiny_weights: Path) -> None:
    """As on Windows, where a file or a pipe has the system's code page."""
    name = "日本 ü \U0001f600.png"
    write_rgb(tmp_path / "in" / name, photo(0, 40, 32))
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}

    def run(*words: object) -> tuple[int, bytes]:
        command = [sys.executable, "-m", "imltool", *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
        return done.returncode, done.stdout

    out = tmp_path / "out"
    code, stdout = run("scan", tmp_path / "in", "--out", out, "--weights", tiny_weights, "--json")
    assert code == 0 and stdout == (out / "results.jsonl").read_bytes()
    assert json.loads(stdout)["path"] == name
    (out / "maps" / f"{name}.png").unlink()
    code, stdout = run("verify", out)
    assert code == 4 and f"missing   maps/{name}.png" in stdout.decode()
