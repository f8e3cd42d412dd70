"""Temporary folders of killed processes are removed; those in use are kept."""

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
def folder_of_another_process() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a temporary folder that holds a file."""
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


def test_folders_of_killed_processes_are_removed_and_used_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = tmp_path / "elsewhere"
    kept.mkdir()
    (tmp_path / "imltool-some-link").symlink_to(kept)
    (tmp_path / "imltool-other-folder").mkdir()
    with (
        folder_of_another_process() as (killed, left),
        folder_of_another_process() as (_, used),
        temporary_folder("imltool-some-") as ours,
    ):
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


def test_temporary_folder_is_removed_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="no room"), temporary_folder("imltool-some-") as folder:
        (folder / "copy").write_bytes(b"x")
        raise ValueError("no room")
    assert not [*tmp_path.iterdir()]
