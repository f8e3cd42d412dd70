"""Equal files give equal results in every process, and every file in the given folders is accounted for."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.context_files import exif_with_thumbnail, jpeg, picture
from helpers.forked import Forked
from helpers.mutants import mutant, seeds
from helpers.outputs import record_of
from helpers.pictures import photo, write_rgb

from imltool.evidence.context import ENDINGS
from imltool.pictures.header import FORMATS
from imltool.scan.inputs import plan_inputs

LIBRARY_TEXT = re.compile(r"0x[0-9a-f]{6,}|<_io\.|object at|\bat line \d+|errno", re.IGNORECASE)


def corpus(folder: Path) -> None:
    """Write files whose readers fail in many ways, and some intact ones."""
    folder.mkdir()
    files = seeds()
    for number in range(16):
        name, data = mutant(files, number)
        (folder / f"{number:02}-{name}").write_bytes(data)
    (folder / "thumbnail.jpg").write_bytes(jpeg(picture(), exif=exif_with_thumbnail(b"\xff\xd8 no picture at all")))
    (folder / "text.jpg").write_text("hello")
    (folder / "empty.png").touch()


def test_two_processes_write_the_same_bytes(tmp_path: Path, tiny_weights: Path, forked: Forked) -> None:
    folder = tmp_path / "in"
    corpus(folder)
    written = []
    for number in range(2):
        out = tmp_path / f"out{number}"
        command = forked.start(
            "scan", folder, "--out", out, "-q", "--weights", tiny_weights, stderr=tmp_path / f"stderr{number}"
        )
        assert command.wait() == 3
        files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        times = ("run.json", "report.html")
        written.append({name: data for name, data in files.items() if name not in times})
        assert (tmp_path / f"stderr{number}").read_text() == "", "with -q nothing is printed, not even by a library"
    assert written[0] == written[1]
    rows = written[0]["results.jsonl"].decode()
    assert not LIBRARY_TEXT.search(rows), "no message text of a library is in a row"


def test_passed_over_files_are_counted(tmp_path: Path, tiny_weights: Path, imltool: Imltool) -> None:
    folder, out = tmp_path / "in", tmp_path / "in" / "results"
    write_rgb(folder / "a.png", photo(0))
    write_rgb(folder / "set/tampered/b.png", photo(1))
    write_rgb(folder / "set/masks/b.png", photo(2))
    for name in ("notes.txt", "deep/more.TXT", "film.mp4", "README", "deep/document.pdf", "dangling"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no picture") if name != "dangling" else path.symlink_to("nowhere")
    expected = {".txt": 2, ".mp4": 1, ".pdf": 1, "ground-truth mask": 1, "no extension": 1, "not a file": 1}
    log = tmp_path / "log.txt"
    for _ in range(2):  # the results of the first run are not counted as passed over
        code, _, stderr = imltool("scan", folder, "--out", out, "--weights", tiny_weights, "--log-file", log)
        assert code == 0 and "passed over 7 other files: 2 .txt, 1 " in " ".join(stderr.split())
        assert record_of(out)["passed_over"] == expected
        report = (out / "report.html").read_text()
        assert "Passed over" in report and "2 .txt" in report
    messages = [line for line in log.read_text().splitlines() if "passed over (" in line]
    assert len(messages) == 2 * 7 and any(
        f"passed over (.pdf): {folder}/deep/document.pdf" in line for line in messages
    )
    plan = plan_inputs([folder, folder / "deep"], tmp_path / "elsewhere")
    counted = plan.passed_over
    assert {kind: counted[kind] for kind in expected} == expected, "a file below two of the folders is counted once"
    assert counted[".csv"] == 2, "results of another scan are counted as files"
    plan = plan_inputs([folder / "a.png"], tmp_path / "elsewhere")
    assert plan.passed_over == {}


@pytest.mark.parametrize(
    "name",
    [
        "a:b.png",
        "a*b?.png",
        'a"b<c>|.png',
        "CON.png",
        "nul",
        "com1.tar.png",
        "conin$",
        "end.",
        "end ",
        "a\nb.png",
        "\x01.png",
    ],
)
def test_names_invalid_on_windows_get_valid_output_names(tmp_path: Path, name: str, tiny_weights: Path) -> None:
    write_rgb(tmp_path / "in/x.png", photo(0))
    shutil.copy(tmp_path / "in/x.png", tmp_path / "in" / name)
    (one, other) = sorted(
        plan_inputs([tmp_path / "in"], tmp_path / "out").inputs, key=lambda item: item.name == "x.png"
    )
    assert one.name == name and other.output == "x.png", "results use its original name"
    assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', one.output)
    assert not re.match(r"(con|nul|com1|conin\$)\s*(\.|$)", one.output, re.IGNORECASE)
    folder = tmp_path / "in" / f"{name}-folder"
    write_rgb(folder / "y.png", photo(1))
    outputs = {item.output for item in plan_inputs([tmp_path / "in"], tmp_path / "out").inputs}
    assert len(outputs) == 3 and not any(re.search(r'[<>:"|?*\\\x00-\x1f]', output) for output in outputs)


def test_csv_cells_have_no_control_characters(tmp_path: Path, tiny_weights: Path, imltool: Imltool) -> None:
    write_rgb(tmp_path / "in/a\n=1\x1b[31m.png", photo(0))
    out = tmp_path / "out"
    assert imltool("scan", tmp_path / "in", "--out", out, "--weights", tiny_weights)[0] == 0
    text = (out / "results.csv").read_text()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text) and text.count("\n") == 2
    (row,) = csv.DictReader(text.splitlines())
    assert row["path"] == r"a\n=1\x1b[31m.png"
    assert imltool("verify", out, "--inputs")[:2] == (0, "")


def test_truncated_picture_is_analysed_and_remarked(tmp_path: Path, tiny_weights: Path, imltool: Imltool) -> None:
    whole = jpeg(picture(320, 240))
    start = whole.index(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(whole[: start + (len(whole) - start) // 2])
    out = tmp_path / "out"
    assert imltool("scan", tmp_path / "a.jpg", "--out", out, "--weights", tiny_weights)[0] == 0
    row = json.loads((out / "results.jsonl").read_text())
    rows = row["context"]["rows_decoded"]
    assert row["status"] == "ok" and (row["width"], row["height"]) == (320, rows) and 80 < rows < 160
    (remark,) = [each for each in row["remarks"] if each["id"] == "cut-off"]
    assert remark["text"] == f"damaged: only its first {rows} rows could be decoded and were analysed"
    assert np.isfinite(row["score"])


def test_damaged_files_of_every_format_are_reported(tmp_path: Path) -> None:
    """Every extension that stands for a format that is read."""
    endings = [ending for ending, form in ENDINGS.items() if form in FORMATS]
    left_out = {".dng", ".nef", ".cr2", ".arw", ".pef", ".srw", ".pfm"}  # raw files, and numbers that may be no picture
    for ending in endings:
        (tmp_path / f"a{ending}").write_bytes(b"damaged")
    names = {item.name for item in plan_inputs([tmp_path], tmp_path / "out").inputs}
    assert names == {f"a{ending}" for ending in endings if ending not in left_out}
