"""Known weights: locations, downloads, and verification of their content."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imltool import weights
from imltool.cli.app import run
from imltool.errors import OutputError, UsageError, WeightsError
from imltool.weights import WEIGHTS, WeightsInfo, fetch, import_file, locate, place, verify

CONTENT = bytes(range(256)) * 16384  # 4 MiB


@dataclass
class Server:
    """A file server on the loopback interface.

    Attributes:
        content: the served bytes.
        cut: number of bytes after which the connection is dropped.
        tell_length: whether it sends Content-Length.
        asked: requests so far.
    """

    content: bytes = CONTENT
    cut: int | None = None
    tell_length: bool = True
    asked: int = 0
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            if self.path != "/test.bin":
                self.send_error(404)
                return
            self.send_response(200)
            if state.tell_length:
                self.send_header("Content-Length", str(len(state.content)))
            self.end_headers()
            with suppress(ConnectionError):  # the client may have closed the connection
                self.wfile.write(state.content[: state.cut])

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/test.bin"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(folder))
    return folder


def entry(url: str | None, content: bytes = CONTENT) -> WeightsInfo:
    digest = hashlib.sha256(content).hexdigest()
    return WeightsInfo("test", "teacher", "test.bin", len(content), digest, url, "CC0-1.0", "made up")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_file_is_fetched_once_and_then_found(server: Server, cache: Path) -> None:
    info = entry(server.url)
    amounts: list[int] = []
    assert fetch(info, amounts.append) == cache / "test.bin"
    assert amounts == sorted(amounts) and amounts[0] < amounts[-1] == len(CONTENT)
    assert listing(cache) == ["test.bin"] and (cache / "test.bin").read_bytes() == CONTENT
    assert locate("test", registry={"test": info}) == cache / "test.bin"
    fetch(info)
    assert server.asked == 1, "a valid file is not fetched again"


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"!", CONTENT[:-5], CONTENT + b"more", CONTENT * 3])
@pytest.mark.parametrize("tell_length", [True, False])
def test_wrong_content_is_never_stored(server: Server, cache: Path, content: bytes, tell_length: bool) -> None:
    server.content, server.tell_length = content, tell_length
    with pytest.raises(WeightsError, match=r"is not test with SHA-256 [0-9a-f]{64}"):
        fetch(entry(server.url))
    assert listing(cache) == []


def test_damaged_file_is_fetched_again(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "test.bin").write_bytes(b"damaged")
    fetch(entry(server.url))
    assert (cache / "test.bin").read_bytes() == CONTENT


def test_broken_connection_is_an_error_and_leaves_no_file(server: Server, cache: Path) -> None:
    server.cut = 1_500_000
    with pytest.raises(WeightsError, match=r"cannot download .*test\.bin"):
        fetch(entry(server.url))
    assert listing(cache) == []


def test_offline_error_names_the_url_and_the_import_command(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/test.bin"
        with pytest.raises(WeightsError) as caught:
            fetch(entry(url))
    line = str(caught.value)
    assert url in line and "imltool weights import test.bin" in line and str(cache) in line and "\n" not in line


def test_missing_file_on_the_server_is_reported(server: Server, cache: Path) -> None:
    with pytest.raises(WeightsError, match="404"):
        fetch(entry(server.url.replace("test.bin", "gone.bin")))


def test_unwritable_cache_is_reported_with_a_remedy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="IMLTOOL_WEIGHTS"):
        fetch(entry(server.url))


def test_import_recognises_a_file_by_its_content(tmp_path: Path, cache: Path) -> None:
    registry = {"other": replace(entry("http://x", b"other"), name="other"), "test": entry("http://x")}
    brought = tmp_path / "download (1).bin"
    brought.write_bytes(CONTENT)
    info, path = import_file(brought, registry)
    assert (info.name, path) == ("test", cache / "test.bin")
    assert listing(cache) == ["test.bin"] and path.read_bytes() == CONTENT and brought.exists()
    assert import_file(path, registry) == (info, path), "importing a file that is in place changes nothing"


@pytest.mark.parametrize(("content", "why"), [(CONTENT[:-1] + b"!", "SHA-256"), (b"short", "no known weights have 5")])
def test_import_refuses_unknown_files(tmp_path: Path, cache: Path, content: bytes, why: str) -> None:
    (tmp_path / "test.bin").write_bytes(content)
    with pytest.raises(WeightsError, match=why):
        import_file(tmp_path / "test.bin", {"test": entry("http://x")})
    assert listing(cache) == []


def test_verify_reports_ok_wrong_and_absent(cache: Path) -> None:
    registry = {
        name: replace(entry("http://x"), name=name, file_name=f"{name}.bin") for name in ("right", "wrong", "absent")
    }
    cache.mkdir()
    for name, content in (("right", CONTENT), ("wrong", CONTENT[:-1] + b"!")):
        (cache / f"{name}.bin").write_bytes(content)
    assert {row.info.name: row.status for row in verify(registry=registry)} == {"right": "ok", "wrong": "wrong"}
    assert [row.status for row in verify(["absent"], registry)] == ["absent"]
    with pytest.raises(UsageError, match="did you mean right"):
        list(verify(["rigth"], registry))


def test_locate_finds_weights_or_explains_how_to_get_them(tmp_path: Path, cache: Path) -> None:
    assert locate("mobile-sam").name == "mobile_sam_fp16.safetensors"
    own = tmp_path / "own.pth"
    own.write_bytes(b"mine")
    assert locate("vit-b", own) == own
    with pytest.raises(WeightsError, match=r"does not exist"):
        locate("vit-b", tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="is a folder"):
        locate("vit-b", tmp_path)
    with pytest.raises(UsageError, match="did you mean vit-h"):
        locate("vith")
    with pytest.raises(WeightsError) as caught:
        locate("vit-h")
    for part in ("sam_vit_h_4b8939.pth", str(cache), "imltool weights fetch vit-h", "imltool weights import"):
        assert part in str(caught.value)
    cache.mkdir()
    (cache / "sam_vit_h_4b8939.pth").write_bytes(b"cut short")
    with pytest.raises(WeightsError, match="is damaged: 9 bytes"):
        locate("vit-h")


def test_known_files_have_size_and_hash_and_bundled_files_match() -> None:
    for name, info in WEIGHTS.items():
        assert info.name == name and info.size_bytes > 0 and len(info.sha256) == 64 and int(info.sha256, 16)
        assert info.bundled or (info.url is not None and info.url.startswith("https://"))
    bundled = [name for name, info in WEIGHTS.items() if info.bundled and place(info).is_file()]
    assert "mobile-sam" in bundled
    assert {row.info.name: row.status for row in verify(bundled)} == dict.fromkeys(bundled, "ok"), (
        "record size and SHA-256 of a newly bundled file in WEIGHTS"
    )
    assert all(place(WEIGHTS[name]).stat().st_size == WEIGHTS[name].size_bytes for name in bundled)


def test_weights_list_command(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["mobile-sam"]["where"] == "bundled" and rows["vit-b"]["where"] == "absent"
    assert rows["vit-b"]["path"] == str(cache / "sam_vit_b_01ec64.pth")
    assert rows["vit-b"]["size_bytes"] == 375042383 and rows["vit-b"]["licence"] == "Apache-2.0"
    assert run(["weights", "list"]) == 0
    captured = capsys.readouterr()
    assert "a2b565fb4635" in captured.out and "vit-h" in captured.out and "imltool weights fetch" in captured.err


def test_fetch_verify_and_import_commands(
    server: Server, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WEIGHTS, "test", entry(server.url))
    assert run(["weights", "fetch", "test"]) == 0
    assert capsys.readouterr().out == f"{cache / 'test.bin'}\n"
    assert run(["weights", "verify", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    (cache / "test.bin").write_bytes(b"overwritten")
    assert run(["weights", "verify"]) == 3
    assert run(["weights", "verify", "vit-l"]) == 3
    (tmp_path / "brought.bin").write_bytes(CONTENT)
    assert run(["weights", "import", str(tmp_path / "brought.bin")]) == 0
    assert run(["weights", "verify", "test"]) == 0
    capsys.readouterr()
    server.content = b"?"
    (cache / "test.bin").unlink()
    assert run(["weights", "fetch", "test"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert run(["weights", "fetch", "vit-x"]) == 2 and run(["weights", "fetch", "mobile-sam"]) == 2
    assert run(["weights", "import", str(tmp_path / "none")]) == 1


def test_import_of_a_bundled_file_keeps_the_bundled_one(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundled = locate("mobile-sam")
    copy = cache / "copy.safetensors"
    copy.parent.mkdir()
    copy.write_bytes(bundled.read_bytes())
    before = bundled.stat().st_mtime_ns
    assert run(["weights", "import", str(copy)]) == 0
    assert capsys.readouterr().out == f"{bundled}\n" and bundled.stat().st_mtime_ns == before
