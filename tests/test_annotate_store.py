"""Storage of `imltool annotate`: journals, undo, conflicts, several annotators, files for other commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.pictures import photo, write_rgb

from imltool.annotate.pictures import find_pictures
from imltool.annotate.records import Click, Content, DrawnBox, SessionStart, journal_folder
from imltool.annotate.store import AnnotationStore, Conflict, NothingLeft
from imltool.data.box_formats import read_boxes
from imltool.data.boxes import match_boxes
from imltool.data.rle import encode_mask
from imltool.errors import DataError, ResumeError
from imltool.journal import utc_now

FACTS = ("0" * 64, 96, 64)
ONE = DrawnBox(box=(10, 10, 40, 30))
TWO = DrawnBox(box=(50, 20, 80, 60), clicks=(Click(x=60, y=30, inside=True),))


def drawn(*boxes: DrawnBox) -> Content:
    return Content(verdict="tampered", boxes=boxes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(3):
        write_rgb(tmp_path / "set" / f"{index}.png", photo(index))
    return tmp_path / "set"


def open_store(folder: Path, out: Path, annotator: str = "anna") -> AnnotationStore:
    pictures = find_pictures([folder], out)
    first = SessionStart(
        annotator=annotator,
        time=utc_now(),
        tool_version="0",
        root=str(pictures.root),
        teacher="mobile-sam",
        weights_sha256=None,
        suggestions=None,
    )
    return AnnotationStore(out, pictures, first)


def test_change_is_journaled_at_once_and_written_to_the_file_at_the_end(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as store:
        state = store.save("0.png", 0, drawn(ONE), FACTS)
        (journal,) = journal_folder(out).glob("*.jsonl")
        assert json.loads(journal.read_text().splitlines()[-1]) == state.model_dump(mode="json")
        store.save("1.png", 0, Content(verdict="authentic"), FACTS)
        store.spend("0.png", 4.0)
        store.spend("0.png", 2.5)
    (entry, other), (box,) = (json.loads(out.read_text())[key] for key in ("images", "annotations"))
    assert entry["file_name"] == "0.png" and entry["imltool"]["seconds"] == 6.5
    assert entry["imltool"]["annotator"] == "anna" and entry["imltool"]["sha256"] == FACTS[0]
    assert box["bbox"] == [10, 10, 30, 20] and other["imltool"]["verdict"] == "authentic"
    assert (tmp_path / "boxes.authentic.txt").read_text().splitlines()[1:] == ["set/1.png"]
    assert [item.boxes for item in read_boxes(out).images] == [((10, 10, 40, 30),), ()]


def test_edit_kind_and_comment_are_stored_with_the_box(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as store:
        described = ONE.model_copy(update={"kind": "copied", "comment": "the same cloud twice"})
        store.save("0.png", 0, drawn(described, TWO), FACTS)
        assert store.history("0.png").content.boxes[0] == described
    first, second = (box["imltool"] for box in json.loads(out.read_text())["annotations"])
    assert (first["kind"], first["comment"]) == ("copied", "the same cloud twice")
    assert (second["kind"], second["comment"]) == (None, "")
    with pytest.raises(ValueError):
        DrawnBox(box=(10, 10, 40, 30), kind="stolen")


def test_skipped_picture_does_not_count_as_judged(folder: Path, tmp_path: Path) -> None:
    with open_store(folder, tmp_path / "boxes.json") as store:
        store.save("0.png", 0, Content(verdict="authentic"), FACTS)
        store.save("1.png", 0, Content(verdict="skipped"), FACTS)
        assert store.overview().progress.done == 1


def test_undo_and_redo_survive_a_restart(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as store:
        store.save("0.png", 0, drawn(ONE), FACTS)
        store.save("0.png", 1, drawn(ONE, TWO), FACTS)
        assert store.step("0.png", 2, "undo", FACTS).content == drawn(ONE)
    with open_store(folder, out) as store:
        assert store.step("0.png", 3, "redo", FACTS).content == drawn(ONE, TWO)
        store.step("0.png", 4, "undo", FACTS)
        assert store.step("0.png", 5, "undo", FACTS).content == Content()
        with pytest.raises(NothingLeft):
            store.step("0.png", 6, "undo", FACTS)
        store.save("0.png", 6, drawn(TWO), FACTS)
        with pytest.raises(NothingLeft):  # a new change clears the redo history
            store.step("0.png", 7, "redo", FACTS)
        assert store.history("0.png").revision == 7


def test_change_of_an_outdated_revision_is_a_conflict_across_servers(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as one, open_store(folder, out) as other:
        one.save("0.png", 0, drawn(ONE), FACTS)
        for store in (one, other):
            with pytest.raises(Conflict):
                store.save("0.png", 0, drawn(TWO), FACTS)
        other.save("0.png", 1, drawn(ONE, TWO), FACTS)
        with pytest.raises(Conflict):
            one.step("0.png", 1, "undo", FACTS)
        assert one.history("0.png").content == drawn(ONE, TWO)


def test_simultaneous_saves_of_two_servers_let_only_one_succeed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_clock() -> str:  # called between the check of the newest revision and the journal row
        time.sleep(0.02)
        return utc_now()

    monkeypatch.setattr("imltool.annotate.store.utc_now", slow_clock)
    rounds = 10
    with open_store(folder, tmp_path / "boxes.json") as one, open_store(folder, tmp_path / "boxes.json") as other:
        together = threading.Barrier(2)

        def work(store: AnnotationStore) -> list[bool]:
            taken = []
            for _ in range(rounds):
                base = store.history("0.png").revision
                together.wait()
                try:
                    store.save("0.png", base, drawn(ONE), FACTS)
                    taken.append(True)
                except Conflict:
                    taken.append(False)
                together.wait()
            return taken

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(work, (one, other))
        assert [*map(sum, zip(first, second, strict=True))] == [1] * rounds
        assert one.history("0.png").revision == other.history("0.png").revision == rounds


def test_annotators_keep_separate_states_and_the_file_has_the_latest(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out, "anna") as anna, open_store(folder, out, "berta") as berta:
        anna.save("0.png", 0, drawn(ONE), FACTS)
        time.sleep(0.01)
        berta.save("0.png", 0, drawn(TWO), FACTS)
        anna.save("1.png", 0, drawn(ONE), FACTS)
        assert anna.history("0.png").content == drawn(ONE) and berta.history("0.png").content == drawn(TWO)
    first, second = json.loads(out.read_text())["images"]
    assert first["imltool"]["annotator"] == "berta" and first["imltool"]["others"] == ["anna"]
    assert second["imltool"]["annotator"] == "anna" and second["imltool"]["others"] == []


def test_file_includes_changes_of_another_server(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, tmp_path / "elsewhere.json", "berta") as berta:
        berta.save("2.png", 0, drawn(ONE), FACTS)
    (journal,) = journal_folder(tmp_path / "elsewhere.json").glob("*.jsonl")
    with open_store(folder, out, "anna"):
        shutil.copy(journal, journal_folder(out))  # only anna's server can add this to the file
        deadline = time.monotonic() + 240  # it looks every two seconds
        while not json.loads(out.read_text())["images"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [image["file_name"] for image in json.loads(out.read_text())["images"]] == ["2.png"]


def test_damaged_journal_does_not_lose_entries_of_other_journals(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out, "anna") as anna:
        damaged = journal_folder(out) / "99999999-berta.jsonl"  # read after anna's
        anna.save("0.png", 0, drawn(ONE), FACTS)
        damaged.write_text("no row\n")
        with pytest.raises(DataError, match="damaged"):
            anna.spend("0.png", 3.0)
        damaged.unlink()
        assert anna.history("0.png").seconds == 3.0


def test_truncated_last_row_is_ignored_and_damaged_row_is_an_error(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as store:
        store.save("0.png", 0, drawn(ONE), FACTS)
        store.save("0.png", 1, drawn(ONE, TWO), FACTS)
    (journal,) = journal_folder(out).glob("*.jsonl")
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    with open_store(folder, out) as store:
        assert store.history("0.png").content == drawn(ONE)
    journal.write_bytes(whole.replace(b'"tampered"', b'"tampred"', 1))
    with pytest.raises(DataError, match="damaged"):
        open_store(folder, out)


def test_unsure_and_skipped_pictures_are_not_labels(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as store:
        store.save("0.png", 0, Content(verdict="unsure", boxes=(ONE,)), FACTS)
        store.save("1.png", 0, Content(verdict="skipped", boxes=(ONE,)), FACTS)
        store.save("2.png", 0, Content(boxes=(ONE,)), FACTS, action="import")
    report = match_boxes(folder, read_boxes(out))
    assert [item.name for item in report.matched] == ["2.png"] and not report.faults


def test_foreign_file_and_different_pictures_are_refused(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "mine.json"
    foreign.write_text("{}")
    with pytest.raises(ResumeError, match="not made by imltool annotate"):
        open_store(folder, foreign)
    assert foreign.read_text() == "{}"
    out = tmp_path / "boxes.json"
    with open_store(folder, out) as store:
        store.save("2.png", 0, drawn(ONE), FACTS)
    write_rgb(tmp_path / "elsewhere/0.png", photo(0))
    with pytest.raises(ResumeError, match=r"has no 2\.png"):
        open_store(tmp_path / "elsewhere", out)
    moved = folder.rename(tmp_path / "moved")
    with open_store(moved, out) as store:
        assert store.history("2.png").content == drawn(ONE)


def test_saving_resumes_without_loss_after_a_full_disk(folder: Path, tmp_path: Path) -> None:
    script = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_annotate_store import FACTS, ONE, drawn, open_store
from imltool.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, out = Path(sys.argv[2]), Path(sys.argv[3])
with open_store(folder, out) as store:
    store.save("0.png", 0, drawn(ONE), FACTS)
    journal = next(out.with_name("boxes.journal").iterdir())
    for room in (10, 100):
        limit = journal.stat().st_size + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            store.save("0.png", 1, drawn(ONE, ONE), FACTS)
            sys.exit("saved on a full disk")
        except OutputError as error:
            pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.save("0.png", 1, drawn(ONE, ONE, ONE), FACTS)
"""
    out = tmp_path / "boxes.json"
    arguments = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder), str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(out.read_text())["annotations"]) == 3
    with open_store(folder, out) as store:
        assert store.history("0.png").revision == 2


def test_pictures_are_restricted_to_the_given_folders(tmp_path: Path) -> None:
    for name in ("set/tampered/a.jpg", "set/masks/a.png", "set/authentic/b.jpg", "other/c.jpg", "secret.jpg"):
        write_rgb(tmp_path / name, photo(1))
    (tmp_path / "set/tampered/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "set/tampered/out").symlink_to(tmp_path / "other")
    (tmp_path / "set/tampered/inner.jpg").symlink_to(tmp_path / "set/authentic/b.jpg")
    found = find_pictures([tmp_path / "set"], tmp_path / "boxes.json")
    assert found.root == tmp_path / "set"
    assert found.names == ("authentic/b.jpg", "tampered/a.jpg", "tampered/inner.jpg")
    assert sum("points out" in line for line in found.left_out) == 2 and any(
        "ground truth" in x for x in found.left_out
    )
    both = find_pictures([tmp_path / "set/tampered", tmp_path / "other"], tmp_path / "boxes.json")
    assert both.root == tmp_path and "other/c.jpg" in both.names and "secret.jpg" not in both.names
    swapped = tmp_path / "set/tampered/a.jpg"
    swapped.unlink()
    swapped.symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(Exception, match="not one of the pictures"):
        found.path("tampered/a.jpg")
    single = find_pictures([tmp_path / "secret.jpg"], tmp_path / "boxes.json")
    assert single.names == ("secret.jpg",)


def test_stats_and_exports(folder: Path, tmp_path: Path, imltool: Imltool) -> None:
    import numpy as np

    out = tmp_path / "boxes.json"
    half = np.zeros((64, 96), dtype=bool)
    half[10:30, 10:25] = True
    accepted = ONE.model_copy(update={"accepted": "mask", "mask": encode_mask(half)})
    with open_store(folder, out, "anna") as anna, open_store(folder, out, "berta") as berta:
        for store, box, seconds in ((anna, ONE, 5.0), (berta, accepted, 9.0)):
            store.save("0.png", 0, drawn(box), FACTS)
            store.spend("0.png", seconds)
        anna.save("1.png", 0, Content(verdict="authentic"), FACTS)
        anna.spend("1.png", 3.0)
        berta.save("1.png", 0, drawn(TWO), FACTS)
        berta.save("2.png", 0, Content(verdict="unsure", boxes=(ONE,)), FACTS, suggested=True)
    code, stdout, stderr = imltool("annotate", "stats", out, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    first, second = found["annotators"]
    assert (first["annotator"], first["judged"], first["seconds_median"]) == ("anna", 2, 4.0)
    assert second["tampered"] == 2 and second["unsure"] == 1 and second["masks_accepted"] == 0.5
    assert second["with_suggestions"] == 1 and first["boxes_mean"] == 1
    (pair,) = found["pairs"]
    assert pair["pictures"] == 2 and pair["same_verdict"] == 0.5 and pair["both_tampered"] == 1
    assert pair["box_iou"] == 1 and pair["label_iou"] == pytest.approx(0.5)
    code, stdout, _ = imltool("annotate", "stats", out)
    assert code == 0 and "anna – berta" in stdout and "0.500" in stdout
    for name in ("voc", "yolo"):
        assert imltool("annotate", "export", out, "--to", name, "--out", tmp_path / name)[0] == 0
        report = match_boxes(folder, read_boxes(tmp_path / name))
        assert not report.faults and {item.name for item in report.matched} == {"0.png", "1.png"}
        assert report.matched[0].boxes[0] == pytest.approx((10, 10, 40, 30), abs=0.01)
        assert "2.png" in report.without_boxes
    assert imltool("annotate", "export", out, "--to", "coco", "--out", tmp_path / "latest.json")[0] == 0
    first = json.loads((tmp_path / "latest.json").read_text())["annotations"][0]
    assert first["bbox"] == [10, 10, 30, 20] and first["area"] == 300
    assert first["segmentation"] == [[10, 10, 10, 30, 25, 30, 25, 10]]
    code, _, _ = imltool("annotate", "export", out, "--to", "coco", "--out", tmp_path / "a.json", "--annotator", "anna")
    assert code == 0 and [len(item.boxes) for item in read_boxes(tmp_path / "a.json").images] == [1, 0]
    for arguments, message in (
        (("--to", "pascal", "--out", tmp_path / "x"), "unknown box format"),
        (("--to", "voc", "--out", tmp_path / "voc"), "exists"),
        (("--to", "coco", "--out", tmp_path / "x", "--annotator", "carla"), "nothing of 'carla'"),
    ):
        code, _, stderr = imltool("annotate", "export", out, *arguments)
        assert code == 2 and message in stderr and stderr.count("\n") == 1
    code, _, stderr = imltool("annotate", "stats", tmp_path / "none.json")
    assert code == 1 and "no journals" in stderr
