"""Stored decisions: hash chain, separation from the scan results, conflicts, checks by `verify`."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Imltool

from imltool.data.box_formats import read_boxes
from imltool.data.splits import read_list
from imltool.errors import DataError, UsageError
from imltool.files import sha256_text
from imltool.journal import dump_json
from imltool.review.exports import write_reports, write_tables
from imltool.review.folder import ScanFolder
from imltool.review.journal import DecisionJournal, Stale
from imltool.scan.decisions import Opinion, latest, read_decisions
from imltool.scan.run_record import record_text

EDITED = Opinion(
    status="relevant", conclusion="edited", text="The lamp’s noise differs.\nSee 4:1.", boxes=((10, 20, 90, 80),)
)


@pytest.fixture
def out(scanned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scanned, tmp_path / "out"))


def test_decision_is_stored_with_examiner_time_and_result(out: Path) -> None:
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    (result, *_) = folder.results
    made = journal.decide(result, 0, EDITED)
    (row,) = read_decisions(out)
    assert row == made and row.opinion == EDITED
    assert (row.examiner, row.revision, row.path, row.sha256) == ("A. Meier", 1, "a.png", result.sha256)
    assert (row.score, row.verdict) == (result.score, result.verdict)
    assert row.time.endswith("Z") and row.time[10] == "T"
    journal.decide(result, 1, Opinion(status="to be checked"))
    assert [one.status for one in DecisionJournal(out, "B. Koch").history("a.png")] == ["relevant", "to be checked"]


def test_stale_change_is_refused_and_the_newer_decision_is_kept(out: Path) -> None:
    folder = ScanFolder(out)
    one, other = DecisionJournal(out, "A. Meier"), DecisionJournal(out, "B. Koch")
    one.decide(folder.results[0], 0, EDITED)
    with pytest.raises(Stale):
        other.decide(folder.results[0], 0, Opinion(status="not relevant"))
    other.decide(folder.results[1], 0, Opinion(status="not relevant"))  # another picture can be decided
    assert {path: row.examiner for path, row in latest(read_decisions(out)).items()} == {
        "a.png": "A. Meier",
        "camera.jpg": "B. Koch",
    }


def _decide_often(out: Path, name: str, count: int) -> None:
    journal, results = DecisionJournal(out, name), ScanFolder(out).results[:3]
    for number in range(count):
        result = results[number % 3]
        while True:
            present = journal.latest(result.path)
            try:
                journal.decide(result, present.revision if present else 0, Opinion(text=f"{name} {number}"))
                break
            except Stale:
                journal.refresh()


def test_two_concurrent_processes_lose_no_decision(out: Path, imltool: Imltool) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_decide_often, args=(out, name, 30)) for name in ("A", "B")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {row.text for row in read_decisions(out)} == {f"{name} {number}" for name in "AB" for number in range(30)}
    assert imltool("review", out, "--export")[0] == 0
    assert imltool("verify", out)[0] == 0


def test_partial_last_line_is_dropped_and_the_next_decision_appended(out: Path) -> None:
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    journal.decide(folder.results[0], 0, EDITED)
    path = out / "decisions.jsonl"
    path.write_bytes(path.read_bytes() + b'{"path": "camera.jpg", "sta')  # state after a kill
    assert len(read_decisions(out)) == 1
    again = DecisionJournal(out, "A. Meier")
    again.decide(folder.results[1], 0, Opinion(status="not relevant"))
    assert [row.path for row in read_decisions(out)] == ["a.png", "camera.jpg"]


@pytest.mark.parametrize("left", [None, 0, 40, -1])
def test_decision_is_refused_after_the_journal_was_cut(out: Path, left: int | None) -> None:
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    path = out / "decisions.jsonl"
    journal.decide(folder.results[0], 0, EDITED)
    journal.decide(folder.results[1], 0, EDITED)
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(whole[:left])
    for _ in range(2):
        with pytest.raises(DataError, match="removed or cut"):
            journal.decide(folder.results[2], 0, EDITED)
    assert (path.read_bytes() if path.exists() else None) == (None if left is None else whole[:left])
    path.write_bytes(whole)
    journal.decide(folder.results[2], 0, EDITED)
    assert [row.path for row in DecisionJournal(out, "B. Koch").rows] == ["a.png", "camera.jpg", "sub/c.png"]


def test_verify_reports_a_row_whose_path_is_no_text(out: Path, imltool: Imltool) -> None:
    folder = ScanFolder(out)
    DecisionJournal(out, "A. Meier").decide(folder.results[0], 0, EDITED)
    path = out / "results.jsonl"
    path.write_text(path.read_text().replace('"path": "a.png"', '"path": ["a.png"]', 1))
    code, stdout, stderr = imltool("verify", out)
    assert code == 4 and "results.jsonl row" in stdout and "the scan has no such picture" in stdout, stderr


def test_verify_finds_every_change_of_a_decision(out: Path, imltool: Callable) -> None:  # type: ignore[type-arg]
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    for number in range(3):
        journal.decide(folder.results[number], 0, Opinion(text=f"note {number}"))
    write_tables(folder, journal)
    assert imltool("verify", out)[0] == 0
    path = out / "decisions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for changed in (
        [lines[0].replace("note 0", "note 9"), *lines[1:]],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [*lines[:2], "no JSON\n"],
    ):
        path.write_text("".join(changed))
        code, stdout, _ = imltool("verify", out)
        assert code == 4 and "decisions.jsonl row" in stdout, changed
        with pytest.raises(DataError):
            DecisionJournal(out, "A. Meier")
    path.write_text("".join(lines))
    (out / "decisions.csv").write_text("changed")
    assert imltool("verify", out)[0] == 3
    path.unlink()
    code, stdout, _ = imltool("verify", out)
    assert code == 4 and "decisions.jsonl" in stdout


def test_tables_separate_examiner_from_machine_columns(out: Path, imltool: Callable) -> None:  # type: ignore[type-arg]
    folder, journal = ScanFolder(out), DecisionJournal(out, "=cmd()")
    before = {name: (out / name).read_bytes() for name in ("results.csv", "results.jsonl")}
    journal.decide(folder.results[0], 0, EDITED)
    journal.decide(folder.results[1], 0, Opinion(status="not relevant", conclusion="not edited", text="=1+1"))
    code, _, stderr = imltool("review", out, "--export")
    assert code == 0 and "report.html" in stderr
    first, second = csv.DictReader((out / "decisions.csv").open())
    assert (first["machine_verdict"], first["examiner_conclusion"]) == (folder.results[0].verdict, "edited")
    assert second["examiner_text"] == "'=1+1" and second["examiner"] == "'=cmd()"
    exported = json.loads((out / "decisions.json").read_text())
    assert exported[0]["machine"] == {"score": folder.results[0].score, "verdict": folder.results[0].verdict}
    assert exported[0]["examiner"]["text"] == EDITED.text
    assert {name: (out / name).read_bytes() for name in before} == before
    page = (out / "report.html").read_text()
    assert "The findings support that the picture was edited." in page and "The lamp’s noise differs." in page
    assert imltool("verify", out)[0] == 0


def test_reports_show_selected_and_decided_pictures(
    scanned: Path,
    tiny_weights: Path,
    tmp_path: Path,
    imltool: Callable,  # type: ignore[type-arg]
) -> None:
    out = tmp_path / "out"
    words = ["scan", scanned.parent / "in", "--out", out, "--weights", tiny_weights, "--device", "cpu", "-q"]
    assert imltool(*words, "--top", "1")[0] == 3
    folder = ScanFolder(out)
    shown, decided, other = sorted((row for row in folder.results if row.status == "ok"), key=lambda row: -row.score)
    DecisionJournal(out, "A. Meier").decide(decided, 0, EDITED)
    assert imltool("review", out, "--export")[0] == 0
    page = (out / "report.html").read_text()
    assert "2 of the 3 analysed pictures" in page and "and those with a decision" in page
    assert shown.sha256 in page and decided.sha256 in page and other.sha256 not in page


def test_report_is_not_created_if_the_scan_made_none(out: Path) -> None:
    (out / "report.html").unlink()
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    journal.decide(folder.results[0], 0, EDITED)
    assert list(write_reports(folder, new=False)) == [] and not (out / "report.html").exists()
    assert list(write_reports(folder)) == ["report.html"]


def test_record_of_another_version_is_read_or_a_short_error(out: Path, imltool: Callable) -> None:  # type: ignore[type-arg]
    def without(*names: str, **others: object) -> None:
        record = {key: value for key, value in json.loads((out / "run.json").read_text()).items() if key not in names}
        record |= others
        del record["self_sha256"]
        record["self_sha256"] = sha256_text(dump_json(record))
        (out / "run.json").write_text(record_text(record))

    without("passed_over", "reports_show")
    assert imltool("review", out, "--export")[0] == 0
    without(chain={"rows": "many", "head": ""})
    code, _, stderr = imltool("review", out, "--export")
    assert code == 2 and "run.json has another form of chain.rows" in stderr and len(stderr.splitlines()) <= 2
    without("verdicts")
    code, _, stderr = imltool("review", out, "--export")
    assert code == 2 and "run.json has no verdicts" in stderr and len(stderr.splitlines()) <= 2
    (out / "results.jsonl").write_bytes(b'{"path": 1}\n')
    code, _, stderr = imltool("review", out, "--export")
    assert code == 1 and "path: Input should be a valid string" in stderr and len(stderr.splitlines()) <= 2


def test_boxes_are_readable_by_pseudo_and_train(out: Path, scanned: Path, imltool: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    journal.decide(folder.results[0], 0, EDITED)
    journal.decide(folder.results[1], 0, Opinion(conclusion="not edited"))
    write_tables(folder, journal)
    boxes = {item.name: item.boxes for item in read_boxes(out / "boxes.json").images}
    assert boxes == {"a.png": ((10, 20, 90, 80),), "camera.jpg": ()}
    assert read_list(out / "boxes.authentic.txt") == ["in/camera.jpg"]
    pseudo = tmp_path / "pseudo"
    words = ["pseudo", scanned.parent / "in", "--boxes", out / "boxes.json", "--out", pseudo, "--teacher", "box"]
    code, _, stderr = imltool(*words)
    assert code == 0 and (pseudo / "masks/a.png").is_file(), stderr


def test_restarted_scan_keeps_decisions(
    out: Path,
    scanned: Path,
    tiny_weights: Path,
    imltool: Callable,  # type: ignore[type-arg]
) -> None:
    folder, journal = ScanFolder(out), DecisionJournal(out, "A. Meier")
    journal.decide(folder.results[0], 0, EDITED)
    words = ["scan", scanned.parent / "in", "--out", out, "--weights", tiny_weights, "--device", "cpu", "-q"]
    threshold = folder.run.parameters.threshold
    assert imltool(*words, "--threshold", threshold, "--companions", "ela", "--restart")[0] == 3
    assert read_decisions(out)[0].opinion == EDITED
    assert "The lamp’s noise differs." in (out / "report.html").read_text()


def test_folder_without_a_scan_is_refused(tmp_path: Path, imltool: Callable) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError):
        ScanFolder(tmp_path / "none")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    code, _, stderr = imltool("review", tmp_path / "other", "--no-browser")
    assert code == 2 and "holds no scan" in stderr
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file"]
