"""Options of `imltool scan` besides the analysis: selection, case information, log file, exit codes."""

from __future__ import annotations

import csv
import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, rows_of
from helpers.pictures import photo, write_rgb

from imltool.cli.app import run
from imltool.data.rle import decode_mask
from imltool.pictures.images import read_mask, read_rgb

COUNT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for seed in range(COUNT):
        write_rgb(folder / f"{seed}.png", photo(seed))
    return folder


@pytest.fixture(scope="module")
def calibrated_weights(tiny_weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated checkpoint for which half of the pictures have an indication."""
    import torch

    from imltool.inference.localizer import Localizer, image_score

    localizer = Localizer.load(tiny_weights, torch.device("cpu"))
    scores = [image_score(localizer.maps([read_rgb(path)])[0]) for path in sorted(folder.iterdir())]
    found = {"score_threshold": float(np.median(scores)), "score_fpr": 0.05, "score_authentic": 100}
    localizer.header = localizer.header.model_copy(update=found)
    path = tmp_path_factory.mktemp("calibrated_weights") / "calibrated_weights.safetensors"
    localizer.save(path)
    return path


@pytest.fixture
def scan(calibrated_weights: Path, imltool: Imltool) -> Imltool:
    return lambda *arguments: imltool("scan", *arguments, "--weights", calibrated_weights, "--device", "cpu")


def test_fail_on_detect_gives_exit_code_4_for_indications(folder: Path, tmp_path: Path, scan: Imltool) -> None:
    out = tmp_path / "out"
    assert scan(folder, "--out", out)[0] == 0
    rows = rows_of(out)
    assert sum(row["verdict"] == "indication" for row in rows) == COUNT // 2
    assert scan(folder, "--out", out, "--fail-on-detect")[0] == 4
    (without,) = [row["path"] for row in rows if row["verdict"] != "indication"][:1]
    (found,) = [row["path"] for row in rows if row["verdict"] == "indication"][:1]
    (tmp_path / "bad.png").touch()
    assert scan(folder / without, "--out", tmp_path / "o1", "--fail-on-detect")[0] == 0
    assert scan(folder / without, tmp_path / "bad.png", "--out", tmp_path / "o2", "--fail-on-detect")[0] == 3
    assert scan(folder / found, tmp_path / "bad.png", "--out", tmp_path / "o3", "--fail-on-detect")[0] == 4
    assert scan(tmp_path / "bad.png", "--out", tmp_path / "o4", "--fail-on-detect")[0] == 1


@pytest.mark.parametrize(
    ("options", "choose"),
    [
        (["--only-indicated"], lambda rows: [row for row in rows if row["verdict"] == "indication"]),
        (["--top", "4"], lambda rows: rows[:4]),
        (["--top", "2", "--only-indicated"], lambda rows: rows[:2]),
        (["--top", "99"], lambda rows: rows),
    ],
)
def test_report_and_terminal_show_a_selection_and_results_are_complete(
    folder: Path,
    tmp_path: Path,
    scan: Imltool,
    options: list[str],
    choose: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    out, bad = tmp_path / "out", tmp_path / "bad.png"
    bad.touch()
    code, stdout, stderr = scan(folder, bad, "--out", out, *options, "--json")
    assert code == 3
    rows = rows_of(out)
    assert stdout == (out / "results.jsonl").read_text(), "every row is streamed"
    assert len(rows) == COUNT + 1 and len(list((out / "maps").rglob("*.png"))) == COUNT
    with (out / "results.csv").open(newline="") as handle:
        assert len(list(csv.DictReader(handle))) == COUNT + 1
    ranked = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: -row["score"])
    expected = [row["path"] for row in choose(ranked)]
    assert [line.split()[-1] for line in stderr.splitlines() if re.match(r"0\.\d{4} ", line)] == expected
    report = (out / "report.html").read_text(encoding="utf-8")
    assert {row["path"] for row in ranked if row["path"] in report} == set(expected)
    assert "the file is empty" in report, "a failed file is never left out"
    left = COUNT - len(expected)
    assert (f"… and {left} more in " in stderr) == (left > 0)


def test_case_information_can_change_when_resuming(folder: Path, tmp_path: Path, scan: Imltool) -> None:
    out = tmp_path / "out"

    def case() -> dict[str, str | None]:
        return record_of(out)["case"]  # type: ignore[no-any-return]

    hostile = "<b>2024/17</b>"
    assert scan(folder, "--out", out, "--case-id", hostile, "--examiner", "A. Łovelace")[0] == 0
    assert case() == {"id": hostile, "examiner": "A. Łovelace", "notes": None}
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;2024/17&lt;/b&gt;" in report and "A. Łovelace" in report and hostile not in report
    journal = (out / "results.jsonl").read_bytes()
    assert scan(folder, "--out", out, "--notes", "disk 3\nsecond line", "--examiner", "B")[0] == 0
    assert case() == {"id": hostile, "examiner": "B", "notes": "disk 3\nsecond line"}, "omitted fields are kept"
    assert (out / "results.jsonl").read_bytes() == journal
    assert "second line" in (out / "report.html").read_text(encoding="utf-8")
    assert scan(folder, "--out", out, "--restart")[0] == 0
    assert case() == {"id": None, "examiner": None, "notes": None}


def test_log_file_has_every_row_and_utc_times(folder: Path, tmp_path: Path, scan: Imltool) -> None:
    out, log, bad = tmp_path / "out", tmp_path / "scan.log", tmp_path / "bad.png"
    bad.touch()
    assert scan(folder, bad, "--out", out, "--log-file", log, "-q")[:2] == (3, "")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR) \S", line) for line in lines)
    for row in rows_of(out):
        assert any(row["path"] in line and (row["reason"] or row["verdict"]) in line for line in lines)
    head = record_of(out)["chain"]["head"]
    assert ": imltool" in lines[0] and head in lines[-1]
    code, _, stderr = scan(folder, bad, "--out", out, "--log-file", log)
    assert code == 3 and f"head {head}" in stderr and "DEBUG" not in stderr
    again = log.read_text(encoding="utf-8").splitlines()
    assert again[: len(lines)] == lines and len(again) > len(lines), "a second session is appended"
    assert scan(folder, bad, "--out", out, "--log-file", log, "--threshold", "0.9")[0] == 2
    assert "ended by ResumeError: " in log.read_text().splitlines()[-1]


def test_batch_size_is_validated_and_hardly_changes_scores(folder: Path, tmp_path: Path, scan: Imltool) -> None:
    for wrong in ("0", "1025", "many", "2.5", "auto"):
        code, _, stderr = scan(folder, "--out", tmp_path / "none", "--batch", wrong)
        assert code == 2 and "--batch" in stderr and not (tmp_path / "none").exists()
    for batch in ("2", "8"):
        assert scan(folder, "--out", tmp_path / batch, "--batch", batch)[0] == 0
        assert record_of(tmp_path / batch)["sessions"][0]["batch"] == int(batch)
    scores = [[row["score"] for row in rows_of(tmp_path / name)] for name in ("2", "8")]
    assert np.allclose(scores[0], scores[1], atol=1e-5)


def test_log_file_overwrites_no_other_file(folder: Path, tmp_path: Path, scan: Imltool) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    mine.write_text("keep this")
    for path, message in (
        (mine, "is no log file"),
        (folder / "0.png", "is no log file"),
        (tmp_path, "is no log file"),
        (out / "scan.log", "is in the output folder"),
    ):
        code, _, stderr = scan(folder, "--out", out, "--log-file", path)
        assert code == 2 and message in stderr and not out.exists()
    code, _, stderr = scan(folder, "--out", out, "--log-file", tmp_path / "no" / "where.log")
    assert code == 1 and "cannot write" in stderr
    assert mine.read_text() == "keep this"


def test_full_disk_for_the_log_file_is_a_one_line_error(
    folder: Path, calibrated_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file size limit simulates a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        code = run(["scan", str(folder), "--out", str(tmp_path / "out"), "--log-file", str(tmp_path / "scan.log")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert code == 1 and "cannot write" in error and "scan.log" in error and error.count("\n") == 1


def test_coco_run_lengths_are_written_on_request(folder: Path, tmp_path: Path, scan: Imltool, imltool: Imltool) -> None:
    out = tmp_path / "out"
    assert scan(folder, "--out", out)[0] == 0 and not (out / "masks.coco.json").exists()
    assert scan(folder, "--out", out, "--coco")[0] == 0
    document = json.loads((out / "masks.coco.json").read_text())
    found = {annotation["image_id"]: decode_mask(annotation["segmentation"]) for annotation in document["annotations"]}
    for image, row in zip(document["images"], rows_of(out), strict=True):
        mask = read_mask(out / row["mask"])
        assert image["file_name"] == row["path"]
        assert np.array_equal(found.get(image["id"], np.zeros_like(mask)), mask)
    assert imltool("verify", out)[0] == 0
    (out / "masks.coco.json").write_text("{}")
    code, stdout, stderr = imltool("verify", out)
    assert code == 4 and "masks.coco.json" in stdout + stderr
