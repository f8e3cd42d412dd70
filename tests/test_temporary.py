"""Temporary folders of processes that were killed do not stay; those that are in use do."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imltool.files import temporary_folder


@contextmanager
def another() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has such a folder, with a file in it."""
    program = (
        "import sys, tempfile; from imltool.files import temporary_folder\n"
        f"tempfile.tempdir = {tempfile.gettempdir()!r}\n"
        "with temporary_folder('imltool-some-') as folder:\n"
        "    (folder / 'copy').write_bytes(b'x'); print(folder, flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    yield process, Path(process.stdout.readline().strip())
    process.communicate(timeout=300)


def test_what_a_killed_process_left_is_removed_and_what_is_used_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = tmp_path / "elsewhere"
    kept.mkdir()
    (tmp_path / "imltool-some-link").symlink_to(kept)
    (tmp_path / "imltool-other-folder").mkdir()
    with another() as (killed, left), another() as (_, used), temporary_folder("imltool-some-") as ours:
        assert left.is_dir() and used.is_dir() and ours.is_dir()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.is_dir()
        with temporary_folder("imltool-some-") as later:
            assert not left.exists()
            assert (used / "copy").is_file() and ours.is_dir() and later.is_dir()
        assert not later.exists()
    assert not used.exists() and not ours.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "imltool-some-link", "imltool-other-folder"}


def test_an_error_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="no room"), temporary_folder("imltool-some-") as folder:
        (folder / "copy").write_bytes(b"x")
        raise ValueError("no room")
    assert not [*tmp_path.iterdir()]
