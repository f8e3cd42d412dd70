"""Evidence is only read: on a read-only medium, with circular links or links into the results."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.outputs import rows_of
from helpers.pictures import photo, write_rgb

NAMES = ("a.jpg", "b.png", "deep/c.tif", "deep/er/d.gif")


def paths_of(out: Path) -> list[str]:
    return [json.loads(line)["path"] for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder of evidence without write access: mounted read-only if possible, otherwise by its permissions."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True).returncode
    )
    for seed, name in enumerate(NAMES):
        write_rgb(folder / name, photo(seed))
    (folder / "text.png").write_text("no picture")
    (folder / "loop").symlink_to(folder)
    folders = [folder, folder / "deep", folder / "deep/er"]
    for path in folder.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    for path in [path for path in folder.rglob("*") if path.is_file()] + folders[::-1]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if mounted:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    yield folder
    if mounted:
        subprocess.run(["umount", folder], check=True)
    else:
        for path in folders:
            path.chmod(0o755)


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything in a folder that a scan could alter, except access times."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, data)
    return found


def test_scan_resume_verify_and_restart_do_not_change_evidence(
    read_only: Path, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    before = state(read_only)
    out, arguments = tmp_path / "out", ("--weights", tiny_weights, "--device", "cpu")
    assert imltool("scan", read_only, "--out", out, *arguments, "--log-file", tmp_path / "log")[0] == 3
    assert paths_of(out) == [*NAMES, "text.png"]
    assert imltool("scan", read_only, "--out", out, *arguments)[0] == 3, "resuming reads the files again"
    assert imltool("verify", out, "--inputs")[0] == 0
    assert imltool("scan", read_only, "--out", out, *arguments, "--restart")[0] == 3
    code, _, stderr = imltool("scan", read_only, "--out", read_only, *arguments, "--restart")
    assert code == 2 and "is not empty and holds no scan" in stderr
    code, _, stderr = imltool("scan", read_only, "--out", out, *arguments, "--log-file", read_only / "b.png")
    assert code == 2 and "is no log file" in stderr
    code, _, stderr = imltool("scan", read_only, "--out", read_only / "out", *arguments)
    assert code == 1 and stderr.startswith("error: ") and stderr.count("\n") == 1
    assert state(read_only) == before


def test_circular_links_are_followed_once(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    folder = tmp_path / "in"
    write_rgb(folder / "one/a.png", photo(0))
    write_rgb(folder / "two/b.png", photo(1))
    (folder / "one/to two").symlink_to(folder / "two")
    (folder / "two/to one").symlink_to(folder / "one")
    (folder / "two/up").symlink_to("..")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "first.png").symlink_to(folder / "second.png")
    (folder / "second.png").symlink_to(folder / "first.png")
    out = tmp_path / "out"
    assert imltool("scan", folder, "--out", out, "--weights", tiny_weights, "--device", "cpu")[0] == 3
    rows = rows_of(out)
    assert {row["path"] for row in rows if row["status"] == "failed"} == {"self.png", "first.png", "second.png"}
    assert all("link" in row["reason"] for row in rows if row["status"] == "failed")
    pictures = [row["path"] for row in rows if row["status"] == "ok"]
    assert len(pictures) == 2 and {Path(path).name for path in pictures} == {"a.png", "b.png"}, (
        "each picture is analysed once"
    )


@pytest.mark.parametrize("link", [False, True])
def test_results_inside_the_evidence_are_not_scanned(
    tiny_weights: Path, tmp_path: Path, imltool: Imltool, link: bool
) -> None:
    folder = tmp_path / "in"
    write_rgb(folder / "z.png", photo(0))
    out = folder / "deep" / "results"
    if link:
        out = tmp_path / "out"
        (folder / "a link").symlink_to(out)
    for _ in range(2):
        assert imltool("scan", folder, "--out", out, "--weights", tiny_weights, "--device", "cpu")[0] == 0
        assert paths_of(out) == ["z.png"]
    code, stdout, _ = imltool("verify", out, "--inputs")
    assert (code, stdout) == (0, "")
