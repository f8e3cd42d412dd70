"""Scans of objects in stores: the same results as for files, store errors, and no writes to the store."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Imltool, scan_words
from helpers.outputs import contents, parsed, record_of, rows_of
from helpers.pictures import photo, write_rgb

from imltool import Scanner
from imltool.cli.app import run
from imltool.errors import UsageError
from imltool.inference.localizer import Localizer
from imltool.scan import fetch, stores
from imltool.scan.inputs import plan_inputs
from imltool.scan.runner import scan
from imltool.texts import command_text

memory = pytest.importorskip("fsspec.implementations.memory")

words = partial(scan_words, batch=4)
BUCKET = "memory://case/day"
SECRET = "hunter2"
OUTPUTS = ("map", "mask", "overlay", "preview")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures: in folders, hidden, without a picture extension, one damaged, one larger than the others."""
    path = tmp_path_factory.mktemp("in")
    for number in range(6):
        write_rgb(path / ("b", "a", ".hidden")[number % 3] / f"{number}.png", photo(number))
    write_rgb(path / "a.b" / "large.jpg", photo(7, 400, 300))
    write_rgb(path / "bitmap.bmp", photo(8))
    (path / "bitmap.bmp").rename(path / "named like nothing")
    shutil.copy(path / "b" / "0.png", path / "a" / "wrong name.txt")
    (path / "damaged.png").write_bytes((path / "b" / "0.png").read_bytes()[:900])
    (path / "notes.txt").write_text("no picture")
    (path / "empty").touch()
    return path


@pytest.fixture
def store(folder: Path) -> Iterator[Any]:
    """The same files as objects of an in-memory store."""
    filled = memory.MemoryFileSystem()
    filled.store.clear()
    for path in folder.rglob("*"):
        if path.is_file():
            filled.pipe(f"/case/day/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield filled
    filled.store.clear()


@pytest.fixture(autouse=True)
def room(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of the system, which must be empty at the end."""
    path = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    assert not list(path.iterdir()), "copies remain"


@pytest.fixture(scope="module")
def local(tiny_weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of the local files."""
    out = tmp_path_factory.mktemp("local") / "out"
    assert run(words(tiny_weights, folder, "--out", out)) == 3
    return out


def comparable_rows(out: Path, prefix: str) -> list[Any]:
    """Rows of a scan with the content of output files, and names relative to `prefix`."""
    found = []
    for row in rows_of(out):
        assert row["path"].startswith(prefix)
        outputs = [(out / row[name]).read_bytes() if row[name] else None for name in OUTPUTS]
        own = {key: value for key, value in row.items() if key not in (*OUTPUTS, "previous_sha256")}
        own |= {"path": row["path"].removeprefix(prefix), "outputs_sha256": [*row["outputs_sha256"].values()]}
        found.append((own, outputs))
    return found


def test_objects_give_the_same_results_as_files(
    tiny_weights: Path, folder: Path, local: Path, store: Any, tmp_path: Path, imltool: Imltool
) -> None:
    before = {name: entry.getvalue() for name, entry in store.store.items()}
    out = tmp_path / "out"
    code, stdout, err = imltool(*words(tiny_weights, f"{BUCKET}/", "--out", out, "--json"))
    assert code == 3 and "damaged.png" in err
    assert parsed(stdout) == rows_of(out)
    rows = comparable_rows(out, f"{BUCKET}/")
    assert rows == comparable_rows(local, "") and len(rows) == 10
    run_json = record_of(out)
    assert run_json["inputs"] == [{"given": BUCKET, "path": BUCKET, "label": BUCKET}]
    report = (out / "report.html").read_text()
    assert report.count("data:image/jpeg") == (local / "report.html").read_text().count("data:image/jpeg")
    assert f"{BUCKET}/a/1.png" in report.replace("<wbr>", "") and 'href="memory' not in report
    assert imltool("verify", out, "--inputs")[0] == 0
    assert {name: entry.getvalue() for name, entry in store.store.items()} == before


def test_file_urls_objects_and_paths_can_be_combined(
    tiny_weights: Path, folder: Path, local: Path, store: Any, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    one = f"{BUCKET}/a/wrong name.txt"
    assert imltool(*words(tiny_weights, folder.as_uri(), one, one, folder / "b", "--out", out))[0] == 3
    rows = rows_of(out)
    files = [row["path"] for row in rows_of(local)]
    assert [row["path"] for row in rows] == [*(f"{folder.as_uri()}/{name}" for name in files), one], (
        "each file is scanned once"
    )
    hashes = [row["sha256"] for row in rows_of(local)]
    assert [row["sha256"] for row in rows[:-1]] == hashes and rows[-1]["sha256"] in hashes
    assert rows[-1]["map"] == "maps/memory/case/day/a/wrong name.txt.png"
    assert imltool("verify", out, "--inputs")[0] == 0
    store.rm("/case/day/a/wrong name.txt")
    code, printed, _ = imltool("verify", out, "--inputs")
    assert code == 4 and printed == f"missing   {one}: vanished since it was scanned\n"


def test_results_below_a_file_url_are_not_scanned(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", photo(0))
    write_rgb(tmp_path / "out" / "maps" / "a.png.png", photo(1))
    (item,) = plan_inputs([tmp_path.as_uri()], tmp_path / "out").inputs
    assert item.name == f"{tmp_path.as_uri()}/a.png"
    roots = [plan_inputs([given], tmp_path / "out").roots[0].address for given in (tmp_path.as_uri(), tmp_path)]
    assert roots == [tmp_path.as_uri(), str(tmp_path)], "row names differ: one scan cannot resume the other"


def test_ground_truth_in_a_store_is_left_out() -> None:
    filled = memory.MemoryFileSystem()
    for name in ("set/masks/a.png", "set/tampered/a.png", "masks/b.png"):
        filled.pipe(f"/truth/{name}", b"x")
    try:
        plan = plan_inputs(["memory://truth"], Path("out"))
        assert [item.name for item in plan.inputs] == [
            "memory://truth/masks/b.png",
            "memory://truth/set/tampered/a.png",
        ]
        assert [str(one) for one in plan.skipped] == ["memory://truth/set/masks"]
        assert len(plan_inputs(["memory://truth/set/masks"], Path("out")).inputs) == 1
    finally:
        filled.store.clear()


def test_object_names_cannot_escape_the_output_folder() -> None:
    keys = ["../../up.png", "a//b.png", "a/b.png", "a/./b.png", "A/B.png", "x" * 900 + ".png", "nul\0.png", "é.png"]
    keys += ["a.png", "a.png.png/c.png", "line\nfeed.png", "e\u0301.png", "q?versionId=1#2.png"]
    filled = memory.MemoryFileSystem()
    for key in keys:
        filled.store[f"/names/{key}"] = memory.MemoryFile(filled, f"/names/{key}", b"x")
    try:
        inputs = plan_inputs(["memory://names"], Path("out")).inputs
    finally:
        filled.store.clear()
    assert sorted(item.name for item in inputs) == sorted(f"memory://names/{key}" for key in keys)
    outputs = [item.output for item in inputs]
    assert all(output.startswith("memory/names/") and ".." not in output.split("/") for output in outputs)
    assert not any("\0" in output or len(part.encode()) > 250 for output in outputs for part in output.split("/"))
    places = {os.path.normpath(output).casefold() for output in outputs}
    assert len(places) == len(keys) and not any(f"{one}.png/" in other for one in places for other in places)


def test_vanished_object_is_a_failed_row(tiny_weights: Path, store: Any, tmp_path: Path) -> None:
    plan = plan_inputs([BUCKET], tmp_path)
    store.rm("/case/day/a/1.png")
    rows = {row.path: row for row in scan(plan, Localizer.load(tiny_weights, "cpu"), tmp_path / "out", batch=4)}
    gone = rows[f"{BUCKET}/a/1.png"]
    assert (gone.status, gone.reason, gone.sha256) == ("failed", "no such object", None)
    assert sum(row.status == "ok" for row in rows.values()) == 8


class Failing:
    """Make the store fail for the named objects, with a secret in its error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        answer = memory.MemoryFileSystem._open

        def open_sometimes(self_: Any, path: str, *arguments: Any, **options: Any) -> Any:
            if path.endswith(names):
                raise ConnectionResetError(f"reset by https://user:{SECRET}@host/{path}?sig={SECRET}")
            return answer(self_, path, *arguments, **options)

        monkeypatch.setattr(memory.MemoryFileSystem, "_open", open_sometimes)


def test_unfetchable_object_affects_only_its_row(
    tiny_weights: Path, local: Path, store: Any, tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, "/1.png")
    out = tmp_path / "out"
    code, stdout, err = imltool(*words(tiny_weights, BUCKET, "--out", out, "--log-file", tmp_path / "log", "-vv"))
    assert code == 3
    rows = {row["path"]: row for row in rows_of(out)}
    failed = rows.pop(f"{BUCKET}/a/1.png")
    assert failed["reason"] == "cannot be fetched (ConnectionResetError)" and failed["context"] is None
    expected = {f"{BUCKET}/{row['path']}": row["sha256"] for row in rows_of(local) if row["path"] != "a/1.png"}
    assert {path: row["sha256"] for path, row in rows.items()} == expected
    written = b"".join([*contents(out).values(), (out / "run.json").read_bytes(), (tmp_path / "log").read_bytes()])
    assert SECRET not in stdout + err and SECRET.encode() not in written
    code, stdout, _ = imltool("verify", out, "--inputs")
    assert code == 0, "objects that were never read are not compared"


def test_store_failure_ends_the_scan_and_the_same_command_resumes(
    tiny_weights: Path, local: Path, store: Any, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    call = words(tiny_weights, BUCKET, "--out", out)
    with pytest.MonkeyPatch.context() as patch:
        Failing(patch, "/4.png")
        answer = memory.MemoryFileSystem.info

        def info(self: Any, path: str, **options: Any) -> Any:
            if "imltool-fetch" in str([*Path(tempfile.gettempdir()).iterdir()]):
                raise ConnectionResetError(f"reset by https://user:{SECRET}@host?sig={SECRET}")
            return answer(self, path, **options)

        patch.setattr(memory.MemoryFileSystem, "info", info)
        code, _, err = imltool(*call)
    assert code == 1 and "cannot be accessed: ConnectionResetError" in err and SECRET not in err
    assert len(rows_of(out)) < 10
    assert imltool(*call)[0] == 3
    assert comparable_rows(out, f"{BUCKET}/") == comparable_rows(local, "")


@pytest.mark.parametrize("request_", ["info", "find", "cat_file"])
def test_unreachable_store_ends_the_scan(
    request_: str, store: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ConnectionResetError(f"reset by https://user:{SECRET}@host?sig={SECRET}")

    monkeypatch.setattr(memory.MemoryFileSystem, request_, fail)
    assert run(["scan", BUCKET, "--out", str(tmp_path / "out"), "-vv"]) == 1
    printed, err = capfd.readouterr()
    assert f"error: {BUCKET}" in err and "cannot be accessed: ConnectionResetError" in err and not printed
    assert SECRET not in err, "not even in the traceback of -vv"
    assert not (tmp_path / "out").exists()


def test_verify_finds_changed_objects(
    tiny_weights: Path, store: Any, tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert imltool(*words(tiny_weights, BUCKET, "--out", out))[0] == 3
    store.pipe("/case/day/a/1.png", store.cat("/case/day/a/4.png"))
    store.rm("/case/day/b/0.png")
    Failing(monkeypatch, "/3.png")
    code, printed, _ = imltool("verify", out, "--inputs")
    assert code == 4
    found = sorted((line.split()[0], line.split()[1].rstrip(":")) for line in printed.splitlines())
    assert found == [
        ("changed", f"{BUCKET}/a/1.png"),
        ("missing", f"{BUCKET}/b/0.png"),
        ("unchecked", f"{BUCKET}/b/3.png"),
    ]
    code, _, err = imltool(*words(tiny_weights, BUCKET, "--out", out))
    assert code == 2 and "a/1.png changed since this scan began" in err
    assert imltool(*words(tiny_weights, BUCKET, "--out", out, "--restart"))[0] == 3
    assert len(rows_of(out)) == 9


def test_row_does_not_wait_for_other_objects(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an engine that predicts pictures one by one."""
    first, second = f"{BUCKET}/a/1.png", f"{BUCKET}/a/4.png"
    come, answer = threading.Event(), memory.MemoryFileSystem._open

    def open_late(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        assert not path.endswith("/4.png") or come.wait(600)
        return answer(self, path, *arguments, **options)

    monkeypatch.setattr(memory.MemoryFileSystem, "_open", open_late)
    rows = Scanner("boxprompt", "cpu", engine="onnx").scan([first, second], tmp_path / "out")
    try:
        assert next(rows).path == first
        come.set()
        assert next(rows).path == second
    finally:
        come.set()


def test_truncated_scan_of_objects_is_resumed(tiny_weights: Path, store: Any, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    scanner = Scanner(tiny_weights, device="cpu", batch=2)
    assert len(list(scanner.scan(BUCKET, whole))) == 10
    begun = scanner.scan(BUCKET, cut)
    first = [next(begun).path for _ in range(3)]
    begun.close()  # type: ignore[attr-defined]
    assert len(rows_of(cut)) == 3
    rest = [result.path for result in scanner.scan(BUCKET, cut)]
    assert rest[:3] == first and len(rest) == 10
    assert contents(cut) == contents(whole)


@pytest.mark.parametrize(("copies", "share"), [(3, 1000), (1000, 3)])
def test_local_copies_are_bounded(
    tiny_weights: Path,
    store: Any,
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    copies: int,
    share: int,
) -> None:
    """By their number, or by bytes for that number of typical size; a larger object is fetched alone."""
    sizes = {name: entry.size for name, entry in store.store.items()}
    usual = sizes["/case/day/a/1.png"]
    monkeypatch.setattr(fetch, "AHEAD", copies)
    monkeypatch.setattr(fetch, "BYTES_AHEAD", share * usual)
    monkeypatch.setattr("imltool.scan.pipeline.PIXELS_IN_FLIGHT", 1)
    observed: list[tuple[int, int]] = []
    answer = memory.MemoryFileSystem._open

    def open_and_look(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        held = []
        for copy in room.glob("imltool-fetch-*/*"):
            with contextlib.suppress(FileNotFoundError):
                held.append(copy.stat().st_size)
        observed.append((len(held), sum(held)))
        return answer(self, path, *arguments, **options)

    monkeypatch.setattr(memory.MemoryFileSystem, "_open", open_and_look)
    rows = [*scan(plan_inputs([BUCKET], tmp_path), Localizer.load(tiny_weights, "cpu"), tmp_path / "out", batch=4)]
    assert sum(row.status == "ok" for row in rows) == 9
    read = 1  # plus the one being decoded, as two do not fit at once
    assert max(count for count, _ in observed) <= copies + read
    assert max(total for _, total in observed) <= max(share * usual, *sizes.values()) + read * max(sizes.values())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s5://bucket/a", "unknown scheme s5:// → choose one of s3://"),
        ("https://host/a.jpg", "unknown scheme https://"),
        ("memory://", "names no bucket"),
        ("memory://nothing/here", "no such file or folder: memory://nothing/here"),
        ("file:///nothing/here", "no such file or folder: file:///nothing/here"),
        (f"file://user:{SECRET}@host/a", "write file:///path"),
        ("file://", "write file:///path"),
        (f"s3://user:{SECRET}@bucket/a", "must not hold a user"),
        (f"s3://user:a/{SECRET}@bucket/a", "must not hold a user"),
        (f"gs://{SECRET}@bucket/a", "must not hold a user"),
        (f"memory://bucket/a?sig={SECRET}", "must not hold a query"),
    ],
)
def test_invalid_addresses_are_a_one_line_error(address: str, message: str, tmp_path: Path, imltool: Imltool) -> None:
    code, stdout, err = imltool("scan", address, "--out", tmp_path / "out", "--log-file", tmp_path / "log")
    assert code == 2 and not stdout and message in err and err.count("\n") == 1
    assert SECRET not in err + (tmp_path / "log").read_text()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("missing", "scheme", "package"),
    [("fsspec", "gs", "gcsfs"), ("gcsfs", "gs", "gcsfs"), ("s3fs", "s3", "s3fs")],
)
def test_missing_package_is_named(
    missing: str, scheme: str, package: str, tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.open_store.cache_clear()
    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda name: None if name == missing else object())  # type: ignore[attr-defined]
    code, _, err = imltool("scan", f"{scheme}://bucket/a", "--out", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1
    assert f"{scheme}:// needs {missing}" in err and f"pip install 'imltool[storage]' {package}" in err


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_unsupported_uses_of_stores_are_refused(store: Any, tmp_path: Path, imltool: Imltool) -> None:
    code, _, err = imltool("scan", BUCKET, "--out", tmp_path / "out", "--engine-cluster", "ray")
    assert code == 2 and "memory of one process" in err
    code, _, err = imltool("scan", BUCKET, "--out", "s3://bucket/out")
    assert code == 2 and "--out is an address" in err
    assert not (tmp_path / "out").exists()


def test_recorded_command_has_no_secrets() -> None:
    for address in (
        f"s3://user:{SECRET}@b/a.jpg",
        f"s3://u:x/{SECRET}@b/a",
        f"https://b/a?k={SECRET}",
        f"gs://{SECRET}@b/a",
    ):
        text = command_text(["imltool", "scan", f"--notes=see {address}"])
        assert SECRET not in text and "imltool scan" in text
    assert command_text(["s3://b/a@b.jpg", "why?.jpg"]) == "s3://b/a@b.jpg 'why?.jpg'"


def test_local_scan_imports_no_store_and_opens_no_socket(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", photo(0))
    program = (
        "import socket, sys\n"
        "def refuse(*arguments): raise AssertionError('a network was asked')\n"
        "socket.socket.connect = refuse\n"
        "from imltool.cli.app import run\n"
        f"code = run(['scan', {str(tmp_path / 'a.png')!r}, '--out', {str(tmp_path / 'out')!r}, '--engine', 'onnx',"
        " '--weights', 'boxprompt', '--device', 'cpu', '-q'])\n"
        "print(code, *({'fsspec', 's3fs'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["0"], done.stderr


@pytest.fixture(scope="module")
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """An S3 server in this process with the files as `s3://evidence/day`; yields the environment to use it."""
    server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    place = f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    environment = {**keys, "AWS_ENDPOINT_URL": place, "AWS_EC2_METADATA_DISABLED": "true"}
    bucket = s3fs.S3FileSystem(key="key", secret=SECRET, endpoint_url=place)
    bucket.mkdir("evidence")
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.pipe_file(f"evidence/day/{path.relative_to(folder).as_posix()}", path.read_bytes())
    bucket.pipe_file("evidence/day/folder/", b"")
    bucket.pipe_file("evidence/days/other.png", b"another folder's")
    yield environment
    running.stop()


@pytest.fixture
def reached(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    stores.open_store.cache_clear()


@pytest.mark.slow
def test_s3_scan_is_resumed_after_a_kill(
    tiny_weights: Path, local: Path, s3: dict[str, str], reached: None, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "imltool", *words(tiny_weights, "s3://evidence/day", "--out", out)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    journal, limit = out / "results.jsonl", time.monotonic() + 300
    while process.poll() is None and time.monotonic() < limit:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.01)  # the server is a thread of this process
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert journal.read_bytes().count(b"\n") >= 2
    code, _, err = imltool(*words(tiny_weights, "s3://evidence/day", "--out", out))
    assert code == 3 and SECRET not in err
    assert comparable_rows(out, "s3://evidence/day/") == comparable_rows(local, "")
    assert imltool("verify", out, "--inputs")[0] == 0
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_s3_errors_are_one_line(
    reached: None, tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = imltool("scan", "s3://nobucket/day", "--out", tmp_path / "out")
    assert code == 2 and err.startswith("error: no such file or folder: s3://nobucket/day") and err.count("\n") == 1
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    stores.open_store.cache_clear()
    code, _, err = imltool("scan", "s3://evidence/day", "--out", tmp_path / "out")
    assert code == 1 and "NoCredentialsError" in err and "credentials in the environment" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_s3_scan_over_ray_gives_the_same_results(
    tiny_weights: Path, s3: dict[str, str], reached: None, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    place = tempfile.mkdtemp(prefix="iml", dir="/tmp")  # Ray keeps sockets there, whose names must be short
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "imltool"),
                *words(tiny_weights, "s3://evidence/day", "--out", tmp_path / "ray"),
                *("--engine-cluster", "ray", "--cluster-workers", "1"),
            ],
            env={**os.environ, "TMPDIR": place},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3, done.stderr
        assert not os.listdir(place)
    finally:
        shutil.rmtree(place)
    assert run(words(tiny_weights, "s3://evidence/day", "--out", tmp_path / "alone")) == 3
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")


def test_path_object_is_never_an_address(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        plan_inputs([Path("s3://bucket/a")], tmp_path)
