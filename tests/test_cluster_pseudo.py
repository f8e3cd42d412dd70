"""Pseudo-masks and `Scanner` over Ray: the same results as on one machine, even if a worker dies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.annotated import make_annotated
from helpers.commands import Imltool
from helpers.outputs import contents, parsed, pseudo_rows, record_of
from helpers.pictures import photo, write_rgb
from helpers.spread import NEEDS_RAY, Spread

from imltool import Scanner
from imltool.cli.app import run
from imltool.cluster.model_files import ModelFiles
from imltool.cluster.pseudo_worker import SentTeacher
from imltool.cluster.ray_session import connected
from imltool.errors import ClusterError, UsageError
from imltool.teacher.registry import load_teacher

pytestmark = NEEDS_RAY
PICTURES = 80


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder for temporary files with a short name: Ray keeps sockets there."""
    path = Path(tempfile.mkdtemp(prefix="iml", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def ray(place: Path) -> Iterator[Any]:
    """Ray with a connection of this process: commands run in it use this cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place))
        with connected(None, 2) as module:
            yield module


def made(out: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Rows without their seconds, and masks."""
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in pseudo_rows(out)]
    return rows, {str(path.relative_to(out)): path.read_bytes() for path in (out / "masks").rglob("*.*")}


class Labelling(Spread):
    """`imltool pseudo` over two Ray workers, in a separate process."""

    journal_name = "pseudo.jsonl"

    def at_work(self) -> set[int]:
        """Workers that run a task: Ray shows it in their process title."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                title = (process / "cmdline").read_bytes()
                if b"ray::_Process.work" in title and str(self.place).encode() in (process / "environ").read_bytes():
                    found.add(int(process.name))
        return found


def test_invalid_cluster_options_are_a_one_line_error_without_output(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path, 1)
    words = ("pseudo", images, "--boxes", boxes, "--teacher", "box", "--out", tmp_path / "out")
    for arguments, message in (
        (["--cluster-workers", "2"], "--engine-cluster"),
        (["--engine-cluster", "spark"], "choose one of ray"),
    ):
        code, _, err = imltool(*words, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    code, _, err = imltool(*words, "--engine-cluster", "ray", "--cluster-address", "127.0.0.1:1")
    assert code == 1 and "no Ray cluster 127.0.0.1:1" in err.splitlines()[-1] and err.count("error:") == 1
    assert not pseudo_rows(tmp_path / "out")
    assert imltool(*words)[0] == 0, "the folder is not locked"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc")
def test_killed_worker_does_not_change_masks_and_a_local_run_resumes(tmp_path: Path, place: Path) -> None:
    images, boxes, _ = make_annotated(tmp_path, PICTURES)
    document = json.loads(boxes.read_text())
    damaged = {"imltool": {"accepted": "mask", "mask": {"size": [96, 128], "counts": "1"}}}
    document["annotations"][7].update(damaged)
    boxes.write_text(json.dumps(document))
    words = ["pseudo", str(images), "--boxes", str(boxes), "--teacher", "grabcut"]
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert run([*words, "--out", str(alone)]) == 3, "one accepted mask is damaged"
    labelling = Labelling(place, out, *words)
    assert labelling.wait_for(labelling.rows), labelling.end()
    busy = labelling.wait_for(labelling.at_work)
    assert busy and 0 < labelling.rows() < PICTURES - 1
    os.kill(min(busy), signal.SIGKILL)
    code, stdout, stderr = labelling.end()
    assert code == 3 and "sub/p7.png: the runs of a mask" in stderr
    assert not stdout, "stdout is for data"
    assert "ray" not in stderr.lower(), "Ray prints nothing"
    assert not list(place.glob("iml*")), "temporary files are left"
    assert len({row["image"] for row in pseudo_rows(out)}) == len(pseudo_rows(out)) == PICTURES - 1
    assert made(out) == made(alone)
    lines = (out / "pseudo.jsonl").read_bytes().splitlines(keepends=True)
    (out / "pseudo.jsonl").write_bytes(b"".join(lines[:20]) + lines[20][:40])
    assert run([*words, "--out", str(out)]) == 3
    assert made(out) == made(alone)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc")
def test_ctrl_c_after_a_kill_ends_the_workers_and_a_local_run_resumes(tmp_path: Path, place: Path) -> None:
    images, boxes, _ = make_annotated(tmp_path, PICTURES)
    words = ["pseudo", str(images), "--boxes", str(boxes), "--teacher", "grabcut"]
    out = tmp_path / "out"
    labelling = Labelling(place, out, *words)
    busy = labelling.wait_for(lambda: labelling.rows() and labelling.at_work())
    assert busy, labelling.end()
    os.kill(min(busy), signal.SIGKILL)
    killed_at = labelling.rows()
    assert labelling.wait_for(lambda: labelling.rows() > killed_at + 4), labelling.end()
    labelling.ctrl_c()
    code, stdout, stderr = labelling.end()
    assert code == 130 and stderr.splitlines()[-1].startswith("error: interrupted") and not stdout
    kept = pseudo_rows(out)
    assert 4 < len(kept) < PICTURES
    assert not list(place.glob("iml*")), "temporary files are left"
    assert run([*words, "--out", str(out)]) == 0
    rows = pseudo_rows(out)
    assert rows[: len(kept)] == kept
    assert len({row["image"] for row in rows}) == len(rows) == PICTURES


@pytest.mark.slow
def test_workers_run_the_bundled_teacher_with_shared_embeddings(tmp_path: Path, imltool: Imltool, ray: Any) -> None:
    images, boxes, _ = make_annotated(tmp_path, 3)
    words = ("pseudo", images, "--boxes", boxes, "--device", "cpu")
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert imltool(*words, "--out", alone, "--embeddings", tmp_path / "kept")[0] == 0
    first, *others = sorted((tmp_path / "kept").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in others:
        path.unlink()
    spread = ("--engine-cluster", "ray", "--cluster-workers", "1", "--embeddings", tmp_path / "kept")
    code, stdout, stderr = imltool(*words, "--out", out, *spread, "--json")
    assert code == 0 and "workers: 1, 1 embeddings from" in stderr
    assert parsed(stdout) == pseudo_rows(out)
    assert made(out) == made(alone)
    assert set((tmp_path / "kept").iterdir()) == {first, *others}


@pytest.mark.slow
def test_scanner_gives_the_same_results_over_ray(tiny_weights: Path, tmp_path: Path, ray: Any) -> None:
    for number in range(3):
        write_rgb(tmp_path / "in" / f"{number}.png", photo(number))
    alone, over = tmp_path / "alone", tmp_path / "over"
    results = [*Scanner(tiny_weights, "cpu").scan(tmp_path / "in", alone)]
    scanner = Scanner(tiny_weights, "cpu", cluster="ray", cluster_workers=1)
    assert [result.model_dump() for result in scanner.scan(tmp_path / "in", over)] == [
        result.model_dump() for result in results
    ]
    assert contents(over) == contents(alone)
    (session,) = record_of(over)["sessions"]
    assert session["cluster"]["workers"] == 1
    assert ray.is_initialized(), "the connection of the program is kept"
    with pytest.raises(ClusterError, match="connected to Ray already"):
        [*Scanner(tiny_weights, "cpu", cluster="ray", cluster_address="a:1").scan(tmp_path / "in")]


def test_invalid_scanner_cluster_options_are_refused(tiny_weights: Path) -> None:
    for choices in ({"cluster": "spark"}, {"cluster_workers": 2}, {"cluster": "ray", "cluster_workers": 0}):
        with pytest.raises(UsageError):
            Scanner(tiny_weights, "cpu", **choices)


@pytest.mark.slow
def test_model_files_are_sent_to_machines_without_them(tmp_path: Path, ray: Any) -> None:
    """Here the original file has changed before a worker looks for it."""
    weights, graph = tmp_path / "a.safetensors", tmp_path / "a.onnx"
    weights.write_bytes(b"weights")
    graph.write_bytes(b"graph")
    sent = ModelFiles.of(ray, [weights, graph])
    with sent.local() as here:
        assert here == [weights, graph]
    graph.write_bytes(b"another")
    with sent.local() as made:
        assert [path.read_bytes() for path in made] == [b"weights", b"graph"] and made[0].parent != tmp_path
    assert not made[0].exists()


@pytest.mark.slow
def test_worker_with_a_different_version_refuses(ray: Any) -> None:
    with pytest.raises(ClusterError, match=r"the command has 0\.0\.0"):
        SentTeacher("box", "cpu", tool_version="0.0.0").load()
    sent = SentTeacher.of(ray, load_teacher("mobile-sam", None, "cpu", "onnx"))
    other = SentTeacher(sent.name, sent.device, sent.files, sent.network, "onnx 0.1")
    with pytest.raises(ClusterError, match=r"the command has onnx 0\.1"):
        other.load()
