"""Scans over Ray: the same bytes as on one machine even if a worker dies, and no leftover files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.commands import Imltool, scan_words
from helpers.outputs import contents, record_of
from helpers.pictures import photo, write_rgb
from helpers.spread import NEEDS_RAY, Spread

from imltool.cli.app import run
from imltool.cluster import clusters
from imltool.cluster.check_order import Made, ordered
from imltool.errors import ClusterError

FILES = 25
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same mapped to IPv6, and ::1, as written in `/proc/net/tcp`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four pictures in two folders and a damaged one."""
    path = tmp_path_factory.mktemp("in")
    for number in range(FILES - 1):
        write_rgb(path / ("even", "odd")[number % 2] / f"{number:02}.png", photo(number, 320, 240))
    whole = (path / "even" / "06.png").read_bytes()
    (path / "even" / "07 damaged.png").write_bytes(whole[: len(whole) // 2])
    return path


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for temporary files with a short name: Ray keeps sockets there."""
    path = Path(tempfile.mkdtemp(prefix="iml", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def alone(tiny_weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Output files of a scan in one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    assert run(scan_words(tiny_weights, folder, "--out", out)) == 3
    return contents(out)


@pytest.mark.slow
@NEEDS_RAY
def test_killed_worker_does_not_change_the_output(
    tiny_weights: Path, folder: Path, alone: dict[str, bytes], tmp_path: Path, place: Path
) -> None:
    out = tmp_path / "out"
    scan = Spread(place, out, *scan_words(tiny_weights, folder))
    assert scan.wait_for(scan.rows), scan.end()
    if sys.platform == "linux":
        assert scan.listens_on() and scan.listens_on() <= LOOPBACK, (
            "a local cluster listens on the loopback interface only"
        )
    killed = 0
    while not killed and (busy := scan.wait_for(scan.at_work)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(min(busy), signal.SIGKILL)
            killed = min(busy) in scan.at_work()  # its folder still exists: it died during a task
    assert killed and 0 < scan.rows() < FILES
    code, stdout, stderr = scan.end()
    assert code == 3, "one picture is damaged"
    assert not stdout, "stdout is for data"
    assert all(line.strip() and "ray" not in line.lower() for line in stderr.splitlines()), "Ray prints nothing"
    rows = [json.loads(line) for line in scan.journal.read_text().splitlines()]
    assert len({row["path"] for row in rows}) == len(rows) == FILES
    assert contents(out) == alone
    assert run(["verify", str(out), "--inputs"]) == 0
    (session,) = record_of(out)["sessions"]
    assert session["cluster"]["engine"] == "ray" and session["cluster"]["workers"] == 2
    assert not [*place.glob("*iml*")], "temporary files are left"


@pytest.mark.slow
@NEEDS_RAY
def test_ctrl_c_ends_the_workers_and_a_local_scan_resumes(
    tiny_weights: Path, folder: Path, alone: dict[str, bytes], tmp_path: Path, place: Path
) -> None:
    out = tmp_path / "out"
    scan = Spread(place, out, *scan_words(tiny_weights, folder))
    workers = scan.wait_for(lambda: scan.rows() and scan.at_work())
    assert workers, scan.end()
    os.kill(min(workers), signal.SIGKILL)
    scan.ctrl_c()
    code, _, stderr = scan.end()
    assert code == 130 and stderr.startswith("error: interrupted") and stderr.count("\n") == 1
    kept = scan.rows()
    assert 0 < kept < FILES
    assert not [*place.glob("*iml*")]
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    assert run(scan_words(tiny_weights, folder, "--out", out)) == 3
    assert contents(out) == alone
    first, second = record_of(out)["sessions"]
    assert first["cluster"]["engine"] == "ray" and second["cluster"] is None
    assert second["kept"] == kept


@pytest.mark.slow
@NEEDS_RAY
def test_program_with_an_unfinished_scan_exits_with_its_own_code(
    tiny_weights: Path, folder: Path, tmp_path: Path, place: Path
) -> None:
    """Ray does not change the exit code while a generator is suspended, as after a Ctrl-C between two rows."""
    program = (
        "import sys; from imltool import Scanner\n"
        f"scan = Scanner({str(tiny_weights)!r}, 'cpu', batch=2, cluster='ray', cluster_workers=2)\n"
        f"rows = scan.scan({str(folder)!r}, {str(tmp_path / 'out')!r})\n"
        "for _ in range(6): next(rows)\n"
        "sys.exit(5)\n"
    )
    env = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=600)
    # Ray's native code may log a task that a busy machine ended late: its lines begin with a time
    ours = [line for line in done.stderr.splitlines() if not re.match(r"\[\d{4}-\d\d-\d\d .* [EW] \d+ \d+\] ", line)]
    assert (done.returncode, ours) == (5, [])
    assert not [*place.glob("*iml*")]


def made(name: str) -> Made[str]:
    return Made(name, {"path": name}, {f"maps/{name}": b"map"}, unseen=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["a", "ab b", "ba", "abcd"], ids=["lost", "twice", "order", "more"])
def test_lost_duplicate_or_reordered_rows_stop_the_scan(tmp_path: Path, given: str) -> None:
    asked = [(name, tmp_path / name) for name in "abc"]
    with pytest.raises(ClusterError, match="other rows"):
        list(ordered((made(name) for name in given.replace(" ", "")), asked, tmp_path))
    assert (tmp_path / "maps" / "a").exists() is given.startswith("a")


def test_file_missing_on_the_workers_stops_the_scan(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"here")
    unseen = Made("a", {"path": "a"}, {}, unseen=True)
    with pytest.raises(ClusterError, match="cannot find"):
        list(ordered([unseen], [("a", tmp_path / "a")], tmp_path))
    vanished = Made("b", {"path": "b"}, {}, unseen=True)
    assert len(list(ordered([vanished], [("b", tmp_path / "b")], tmp_path))) == 1, (
        "a file missing everywhere is an ordinary failure"
    )


def test_invalid_cluster_options_are_refused(imltool: Imltool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        (["--cluster-workers", "2"], "--engine-cluster"),
        (["--cluster-address", "a:1"], "--engine-cluster"),
        (["--engine-cluster", "spark"], "choose one of ray"),
    ):
        code, _, err = imltool("scan", folder, *arguments, "--out", folder.parent / "refused")
        assert code == 2 and message in err
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    code, _, err = imltool("scan", folder, "--engine-cluster", "ray", "--out", folder.parent / "refused")
    assert code == 2 and "imltool[ray]" in err
    assert not (folder.parent / "refused").exists()


@NEEDS_RAY
@pytest.mark.slow
def test_unreachable_cluster_is_a_one_line_error(imltool: Imltool, folder: Path, tmp_path: Path) -> None:
    asked = ["--engine-cluster", "ray", "--cluster-address", "127.0.0.1:1"]
    code, _, err = imltool("scan", folder, *asked, "--out", tmp_path / "out")
    assert code == 1 and "no Ray cluster 127.0.0.1:1" in err and len(err.splitlines()) == 1
