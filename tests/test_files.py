"""Atomic writes, journals that survive a kill, and directory walks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.pictures import photo
from PIL import Image

from imltool.data.folder import read_folder
from imltool.data.splits import scene_groups, scenes_of, split_by_scene
from imltool.errors import DataError, ImageError, OutputError, ResumeError, UsageError
from imltool.files import LOCK, atomic, folder_lock, remove_partial_files, walk_images, write_text
from imltool.journal import Journal, output_folder, read_rows
from imltool.pictures.images import read_map, read_mask, read_rgb, read_size, write_map, write_mask


def test_failed_atomic_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old\n")
    assert target.read_bytes() == b"old\n", "on any system"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_full_disk_is_a_one_line_error_and_keeps_written_rows(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from typing import Any
from imltool.errors import OutputError
from imltool.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
journal = Journal(Path(sys.argv[1]))
try:
    for number in range(1000):
        journal.append({"number": number})
except OutputError as error:
    print(len(journal.rows), error.message)
"""
    path = tmp_path / "rows.jsonl"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    count = int(done.stdout.split()[0])
    with Journal(path) as journal:
        assert [row["number"] for row in journal.rows] == list(range(count)) and count > 50
        journal.append({"number": count})
    assert path.read_bytes().endswith(b"\n")


def test_truncated_last_line_is_dropped_and_inner_damage_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2}\n{"a":')
    with Journal(path) as journal:
        assert [row["a"] for row in journal.rows] == [1, 2]
        journal.append({"a": 3})
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n{"a": 3}\n'
    for data in (b'{"a":1}\nrubbish\n{"a":2}\n', b'{"a":1}\n{"a":\n', b'{"a":1}\n{"a":2}\r{"a":3}\n'):
        path.write_bytes(data)
        with pytest.raises(DataError, match="damaged at byte 8"):
            Journal(path)
        assert path.read_bytes() == data


def claim_folder(out: Path, parameters: dict[str, object], **more: Any) -> bool:
    """Whether the folder holds an earlier part of the run."""
    with output_folder(out, parameters, **more) as resumed:
        return resumed


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    assert claim_folder(tmp_path, {"seed": 1, "path": "a"}) is False
    assert claim_folder(tmp_path, {"seed": 1, "path": "a"}) is True
    with pytest.raises(ResumeError, match="seed was 1, now 2"):
        claim_folder(tmp_path, {"seed": 2, "path": "a"})


@pytest.mark.may_skip  # one of the two is skipped, depending on the user
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_missing_permission_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        write_text(tmp_path / "a", "x")


def test_walks_are_sorted_and_survive_link_loops(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a/1.PNG", "a/notes.txt", ".hidden/3.jpg", "z.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in walk_images(tmp_path)] == ["a/1.PNG", "b/2.jpg", "z.tiff"]


def test_folders_deeper_than_the_recursion_limit_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    depth = sys.getrecursionlimit() + 100
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    Path("a.png").touch()
    try:
        (found,) = walk_images(tmp_path)
        assert len(found.relative_to(tmp_path).parts) == depth + 1 and found.name == "a.png"
    finally:  # pytest's own removal would be too deep as well
        os.unlink("a.png")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")


@pytest.mark.may_skip  # one of the two is skipped, depending on the user
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a user without read permission")
def test_unreadable_folder_is_an_error_unless_a_callback_is_given(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from typing import Any
from imltool.errors import DataError
from imltool.files import walk_images
root = Path(sys.argv[1])
os.chdir(root)  # while it can be reached
os.setuid(65534)
errors = []
print([path.as_posix() for path in walk_images(Path("."), errors.append)], [error.filename for error in errors])
print(walk_images(Path("nowhere")))
try:
    walk_images(Path("."))
except DataError as error:
    print(error.message)
"""
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)
    (tmp_path / "a").chmod(0o700)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "['b/2.png'] ['./a']",
        "[]",
        "folder ./a cannot be read: no permission to read it",
    ]


def test_orientation_is_applied_once(tmp_path: Path) -> None:
    picture = Image.fromarray(photo(1, 40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "p.png", exif=exif)
    rgb = read_rgb(tmp_path / "p.png")
    assert rgb.shape == (40, 20, 3) and read_size(tmp_path / "p.png") == (20, 40)
    assert np.array_equal(rgb, np.rot90(photo(1, 40, 20), -1))


def test_deep_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.array_equal(read_rgb(tmp_path / "deep.png")[..., 0].ravel(), np.arange(256))


def test_maps_and_masks_round_trip(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    write_map(tmp_path / "m.png", values)
    assert np.abs(read_map(tmp_path / "m.png") - values).max() <= 0.5 / 65535 + 1e-7
    write_mask(tmp_path / "k.png", values > 0.5)
    assert np.array_equal(read_mask(tmp_path / "k.png", (30, 20)), values > 0.5)
    with pytest.raises(DataError, match="30x20"):
        read_mask(tmp_path / "k.png", (20, 30))


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 5), (700, 7001)])
def test_maps_and_masks_are_readable_by_other_libraries(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The largest shape is written in several strips, with rows stored as differences to the row above."""
    values = np.random.default_rng(0).random(shape, np.float32)
    values.flat[0], values.flat[-1] = 0.0, 1.0
    write_map(tmp_path / "m.png", values)
    levels = np.rint(values.astype(np.float64) * 65535)
    for read in (cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED), Image.open(tmp_path / "m.png")):
        assert np.abs(np.asarray(read, dtype=np.float64) - levels).max() <= 1
    write_mask(tmp_path / "k.png", values > 0.5)
    for read in (cv2.imread(str(tmp_path / "k.png"), cv2.IMREAD_UNCHANGED), Image.open(tmp_path / "k.png")):
        assert np.array_equal(np.asarray(read), np.where(values > 0.5, 255, 0))


def test_unreadable_pictures_raise_with_a_reason(tmp_path: Path) -> None:
    Image.fromarray(photo(1)).save(tmp_path / "ok.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "ok.jpg").read_bytes()[:700])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    reasons = {"cut": "damaged", "empty": "empty", "text": "not a picture", "none": "no such file"}
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            read_rgb(tmp_path / f"{name}.jpg")


def test_pairs_are_matched_by_name_and_faults_reported(tmp_path: Path) -> None:
    for name in ("tampered/b.jpg", "tampered/a.png", "masks/a.png", "masks/b.tif", "authentic/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    samples = read_folder(tmp_path).samples
    assert [(s.name, s.mask and s.mask.name) for s in samples] == [
        ("tampered/a.png", "a.png"),
        ("tampered/b.jpg", "b.tif"),
        ("authentic/c.jpg", None),
    ]
    (tmp_path / "masks/stray.png").touch()
    assert read_folder(tmp_path).notes == [f"1 mask without a picture, the first: {tmp_path / 'masks/stray.png'}"]
    (tmp_path / "masks/stray.png").rename(tmp_path / "masks/b.png")
    assert read_folder(tmp_path).left_out == {"several pictures or masks of one name": ["tampered/b.jpg"]}
    (tmp_path / "masks/b.png").unlink()
    (tmp_path / "masks/b.tif").unlink()
    reading = read_folder(tmp_path)
    assert reading.left_out == {"no mask": ["tampered/b.jpg"]} and reading.notes == []
    assert [sample.name for sample in reading.samples] == ["tampered/a.png", "authentic/c.jpg"]


def test_split_keeps_scenes_disjoint() -> None:
    names = [
        f"tampered/Sp_D_CNN_A_ani{a:04d}_pla{b:04d}_{a:04d}.jpg" for a, b in [(1, 2), (3, 2), (4, 5), (6, 7), (8, 9)]
    ]
    names += [f"authentic/Au_pla_{number:04d}.jpg" for number in (2, 5, 11, 12, 13)]
    groups = scene_groups(names)
    assert sorted(map(len, groups)) == [1, 1, 1, 1, 1, 2, 3]
    train, held = split_by_scene(names, 0.3)
    assert sorted(train + held) == sorted(names) and held and train
    for group in groups:
        assert set(group) <= set(train) or set(group) <= set(held)
    assert split_by_scene(list(reversed(names)), 0.3)[1] == held


def test_scene_patterns_may_have_alternatives_and_match_nothing() -> None:
    assert scenes_of("a1_b2.jpg", r"a(\d)|b(\d)") == ["1", "2"]
    assert scenes_of("c.jpg", r"\d*") == ["c.jpg"], "an empty match would put all pictures into one scene"


def test_masks_of_zero_and_one_are_not_read_as_empty(tmp_path: Path) -> None:
    truth = np.zeros((8, 10), bool)
    truth[2:5, 3:7] = True
    Image.fromarray(truth.astype(np.uint8)).save(tmp_path / "ones.png")
    Image.fromarray(truth.astype(np.uint16) * 255).save(tmp_path / "deep.png")
    Image.fromarray(truth.astype(np.uint16) * 65535).save(tmp_path / "full.png")
    Image.fromarray(truth).save(tmp_path / "bits.png")
    for path in tmp_path.iterdir():
        assert np.array_equal(read_mask(path, (10, 8)), truth), path.name


def test_reading_a_journal_does_not_change_it(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a":1}\n{"a"')
    assert read_rows(path) == [{"a": 1}] and path.read_bytes() == b'{"a":1}\n{"a"'
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def test_nested_parameter_difference_is_named(tmp_path: Path) -> None:
    claim_folder(tmp_path, {"optim": {"lr": 1, "list": [1, 2]}})
    with pytest.raises(ResumeError, match=r"optim\.list\.1 was 2, now 3"):
        claim_folder(tmp_path, {"optim": {"lr": 1, "list": [1, 3]}})


def test_concurrent_atomic_writers_do_not_interfere(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic(target) as first, atomic(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first" and list(tmp_path.iterdir()) == [target], (
        "the writer that ends last replaces the file"
    )


def test_only_partial_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from typing import Any
from imltool.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os._exit(9)
"""
    for folder in (tmp_path, tmp_path / "sub"):
        subprocess.run([sys.executable, "-c", script, str(folder / "a.png")], check=False)
        (folder / ".mine.part").touch()
        assert len(list(folder.glob(".a.png.*.part"))) == 1
    remove_partial_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [".mine.part"]
    assert [path.name for path in (tmp_path / "sub").iterdir()] == [".mine.part"]


def test_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(UsageError, match="another command"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".imltool.lock"]


def test_restart_removes_only_files_of_the_run(tmp_path: Path) -> None:
    written = ("rows.jsonl", "maps")
    (tmp_path / ".DS_Store").touch()
    assert claim_folder(tmp_path, {"command": "a", "seed": 1}, written=written) is False
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "maps/deep").mkdir(parents=True)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ResumeError, match=r"seed was 1, now 2.*--restart discards"):
        claim_folder(tmp_path, {"command": "a", "seed": 2}, written=written)
    for restart in (False, True):
        with pytest.raises(UsageError, match="is not empty and holds no run of this command"):
            claim_folder(tmp_path, {"command": "b"}, written=written, restart=restart)
    assert claim_folder(tmp_path, {"command": "a", "seed": 2}, written=written, restart=True) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == [".DS_Store", LOCK, "mine.txt", "parameters.json"]
