"""The server of `imltool annotate`: access control, refused requests, and masks equal to those of `pseudo`."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import http.client
import io
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.page_server import Annotating
from helpers.pictures import forged, photo, write_rgb
from PIL import Image

from imltool.data.box_formats import read_boxes
from imltool.data.rle import decode_mask
from imltool.pictures.images import read_mask

BOX = [20.0, 12.0, 76.0, 54.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("annotate") / "pictures"
    write_rgb(root / "a.png", forged(1)[0])
    write_rgb(root / "b.jpg", photo(2))
    tag = Image.Exif()
    tag[274] = 6  # to be turned by 90°: 60x120 on screen
    Image.fromarray(photo(3, 120, 60)).save(root / "portrait.jpg", exif=tag)
    write_rgb(root / "torn.png", photo(4))
    (root / "torn.png").write_bytes((root / "torn.png").read_bytes()[:600])
    Image.fromarray(photo(5, 600, 300)).resize((4200, 2100)).save(root / "wide.jpg")
    write_rgb(root.parent / "secret.png", photo(6))
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Annotating]:
    running = Annotating(folder, "--out", folder.parent / "boxes.json", "--annotator", "anna")
    yield running
    code, stderr = running.end()
    assert code == 0 and "judged →" in stderr and "Traceback" not in stderr


def raw(server: Annotating, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Send a request with the path exactly as given; urllib would normalize it."""
    parts = urlsplit(server.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
    connection.request(method, path, body or None, {key.replace("_", "-"): value for key, value in headers.items()})
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_requests_need_the_token_of_this_run(server: Annotating) -> None:
    parts = urlsplit(server.address)
    assert parts.hostname == "127.0.0.1" and len(parts.path) > 30
    for path in ("/", "/api/folder", "/wrong/api/folder", f"{parts.path[:-2]}/api/folder", "/static/main.js"):
        status, body = raw(server, "GET", path)
        assert status == 403 and b"pictures" not in body
    assert raw(server, "GET", parts.path + "api/folder")[0] == 200


def test_requests_of_other_sites_and_host_names_are_refused(server: Annotating) -> None:
    path = urlsplit(server.address).path + "api/folder"
    host = urlsplit(server.address).netloc
    assert raw(server, "GET", path, Host="evil.example")[0] == 421
    assert raw(server, "GET", path, Host=f"evil.example:{host.partition(':')[2]}")[0] == 421
    assert raw(server, "GET", path, Origin="http://evil.example")[0] == 403
    assert raw(server, "GET", path, Origin="null")[0] == 403
    assert raw(server, "GET", path, Sec_Fetch_Site="cross-site")[0] == 403
    assert raw(server, "GET", path, Sec_Fetch_Site="same-site")[0] == 403
    assert raw(server, "GET", path, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")[0] == 200
    change = path.replace("folder", "pictures/0/change")
    form = b'{"base":0,"content":{"verdict":"unsure"}}'
    # a form of another page could send this without a CORS preflight
    assert raw(server, "POST", change, form, Content_Type="text/plain")[0] == 415


def test_paths_outside_the_page_or_the_folder_are_refused(server: Annotating, folder: Path) -> None:
    base = urlsplit(server.address).path
    secret = (folder.parent / "secret.png").read_bytes()
    for path in (
        "../secret.png",
        "..%2f..%2fsecret.png",
        "%2e%2e/%2e%2e/server.py",
        "..%5cserver.py",
        "../server.py",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "api/pictures/..%2f..%2fsecret.png/view.jpg",
        "api/pictures/-1/view.jpg",
        "api/pictures/99/view.jpg",
        "api/pictures/0x0/view.jpg",
        "a.png",
    ):
        status, body = raw(server, "GET", base + path)
        assert status in (403, 404, 405, 422), path
        assert secret not in body and b"root:" not in body and b"def " not in body


def test_large_and_malformed_bodies_are_refused_and_change_nothing(server: Annotating) -> None:
    path = urlsplit(server.address).path + "api/pictures/1/change"
    kind = {"Content_Type": "application/json"}
    large = json.dumps({"base": 0, "content": {"verdict": "unsure"}}).encode() + b" " * 1_100_000
    assert raw(server, "POST", path, large, **kind)[0] == 413
    parts = urlsplit(server.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
    chunks = (b" " * 100_000 for _ in range(12))
    connection.request("POST", path, chunks, {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    for body in (
        b"",
        b"[1",
        b"{}",
        b'{"base":0,"content":{"verdict":"forged"}}',
        b'{"base":0,"content":{"verdict":"tampered"}}',
        b'{"base":0,"content":{"boxes":[{"box":[1,1,1,9]}]}}',
        b'{"base":0,"content":{"boxes":[{"box":[1,1,1e999,9]}]}}',
        b'{"base":0,"content":{"boxes":[{"box":[500,500,600,600]}]}}',
        b'{"base":0,"content":{"verdict":"authentic","boxes":[{"box":[1,1,9,9]}]}}',
        b'{"base":0,"content":{"boxes":[{"box":[1,1,9,9],"note":"x"}]}}',
    ):
        assert raw(server, "POST", path, body, **kind)[0] == 422, body
    assert server.ask("api/pictures/1")[1]["revision"] == 0


def test_response_headers_forbid_foreign_content_and_framing(server: Annotating) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=60)
    connection.request("GET", urlsplit(server.address).path)
    headers = connection.getresponse().headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"


def test_pictures_are_upright_and_bounded_and_damage_is_reported(server: Annotating) -> None:
    names = [entry["name"] for entry in server.ask("api/folder")[1]["pictures"]]
    assert names == ["a.png", "b.jpg", "portrait.jpg", "torn.png", "wide.jpg"]
    _, portrait = server.ask("api/pictures/2")
    assert (portrait["width"], portrait["height"]) == (60, 120)
    assert Image.open(io.BytesIO(server.ask("api/pictures/2/view.jpg")[1])).size == (60, 120)
    for path in ("", "/view.jpg", "/embedded"):
        status, answer = server.ask(f"api/pictures/3{path}")
        assert status == 422 and "damaged" in answer["error"]
    _, wide = server.ask("api/pictures/4")
    assert (wide["width"], wide["height"]) == (4200, 2100)
    assert Image.open(io.BytesIO(server.ask("api/pictures/4/view.jpg")[1])).size == (4096, 2048)


@pytest.mark.slow
def test_accepted_mask_equals_pseudo_mask_and_clicks_change_it(
    server: Annotating, folder: Path, imltool: Imltool
) -> None:
    status, first = server.ask("api/pictures/0/mask", {"box": BOX})
    assert status == 200 and first["size"] == [64, 96] and sum(first["runs"]) == 64 * 96
    click = {"x": 25.0, "y": 14.0, "inside": True}
    assert server.ask("api/pictures/0/mask", {"box": BOX, "clicks": [click]})[1]["runs"] != first["runs"]
    forgery = {"size": [64, 96], "counts": "0"}  # masks sent by clients are ignored
    status, state = server.change(0, 0, "tampered", {"box": BOX, "accepted": "mask", "mask": forgery})
    assert status == 200 and state["boxes"][0]["shown"]["runs"] == first["runs"]
    status, state = server.change(0, 0, "unsure")
    assert status == 409 and state["revision"] == 1 and state["verdict"] == "tampered"
    status, state = server.change(4, 0, "tampered", {"box": [700, 350, 6300, 1750], "accepted": "mask"})
    assert status == 200 and state["boxes"][0]["box"] == [700, 350, 4200, 1750]
    assert max(state["boxes"][0]["shown"]["size"]) == 1024
    out = folder.parent / "boxes.json"
    deadline = time.monotonic() + 240
    while len(read_boxes(out).images) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    found = {item.name: item for item in read_boxes(out).images}
    label = found["a.png"].accepted[0]
    assert label is not None and label.mask is not None
    assert found["wide.jpg"].accepted[0].mask["size"] == [2100, 4200]
    (folder.parent / "plain.csv").write_text("image,x1,y1,x2,y2\na.png," + ",".join(map(str, BOX)) + "\n")
    target = folder.parent / "pseudo"
    command = ("pseudo", folder, "--boxes", folder.parent / "plain.csv", "--out", target, "--device", "cpu")
    assert imltool(*command, "--set", "min_coverage=0")[0] == 0
    theirs = read_mask(target / "masks/a.png")
    assert (theirs ^ decode_mask(label.mask)).mean() < 0.002  # the number of threads may change rounding


def test_undo_redo_and_time_requests(server: Annotating) -> None:
    _, state = server.change(1, 0, "tampered", {"box": BOX, "accepted": "box"})
    _, state = server.ask("api/pictures/1/step", {"base": state["revision"], "direction": "undo"})
    assert state["boxes"] == [] and state["verdict"] is None and state["can_redo"] and not state["can_undo"]
    _, state = server.ask("api/pictures/1/step", {"base": state["revision"], "direction": "redo"})
    assert state["boxes"][0]["accepted"] == "box"
    assert server.ask("api/pictures/1/step", {"base": 1, "direction": "undo"})[0] == 409
    assert server.ask("api/pictures/1/time", {"seconds": 7})[0] == 200
    assert server.ask("api/pictures/1/time", {"seconds": -7})[0] == 422
    assert server.ask("api/pictures/1")[1]["seconds"] == 7


def test_sigterm_ends_the_server_with_everything_written(tmp_path: Path) -> None:
    write_rgb(tmp_path / "set/a.png", photo(1))
    running = Annotating(tmp_path / "set", "--out", tmp_path / "boxes.json")
    assert running.change(0, 0, "tampered", {"box": BOX})[0] == 200
    assert running.end(signal.SIGTERM)[0] == 0
    assert read_boxes(tmp_path / "boxes.json").images[0].boxes == (tuple(BOX),)


def test_imported_boxes_await_a_verdict_and_are_imported_once(tmp_path: Path) -> None:
    write_rgb(tmp_path / "set/a.png", photo(1))
    (tmp_path / "old.csv").write_text("image,x1,y1,x2,y2\na.png,10,10,40,40\n")
    command = (tmp_path / "set", "--out", tmp_path / "boxes.json", "--boxes", tmp_path / "old.csv")
    first = Annotating(*command)
    _, state = first.ask("api/pictures/0")
    assert state["verdict"] is None and state["boxes"][0]["origin"] == "imported"
    assert first.change(0, state["revision"], "tampered", {"box": BOX, "origin": "imported"})[0] == 200
    first.kill()
    again = Annotating(*command)
    assert again.ask("api/pictures/0")[1]["boxes"][0]["box"] == BOX
    code, stderr = again.end()
    assert code == 0 and "0 pictures with boxes to correct" in stderr and "1 of 1 pictures judged" in stderr
    assert np.allclose(read_boxes(tmp_path / "boxes.json").images[0].boxes[0], BOX)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 2, "no such file or folder"),
        ((".", "--out", "."), 2, "is a folder"),
        ((".", "--out", "boxes.txt"), 2, "does not end in .json"),
        (("set", "--teacher", "grabcut"), 2, "cannot make live masks"),
        (("set", "--teacher", "sam"), 2, "unknown teacher"),
        (("set", "--annotator", " "), 2, "annotator's name"),
        (("set", "--out", "foreign.json"), 2, "was not made by imltool annotate"),
        (("empty",), 1, "no picture found"),
    ],
)
def test_startup_fault_is_a_one_line_error(
    tmp_path: Path,
    imltool: Imltool,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rgb(tmp_path / "set/a.png", photo(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign.json").write_text("{}")
    found, _, stderr = imltool("annotate", *arguments, "--no-browser", "--device", "cpu")
    assert found == code and message in stderr and stderr.strip().count("\n") == 0


def test_boxes_to_correct_are_chosen_and_matched_with_the_pictures_to_annotate(
    tmp_path: Path, imltool: Imltool
) -> None:
    for folder in ("set/tampered", "set/masks", "set/authentic", "other"):
        write_rgb(tmp_path / folder / "a.png", photo(1))
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x1,y1,x2,y2,label\nx/tampered/a.png,1,1,20,20,edit\nother/a.png,1,1,20,20,face\n")
    # a teacher that cannot be used ends the command after the boxes were read
    given = ("annotate", tmp_path / "set", "--out", tmp_path / "b.json", "--boxes", boxes, "--teacher", "grabcut")
    code, _, stderr = imltool(*given, "--no-browser")
    assert code == 2 and "boxes of all 2 categories are used" in stderr and "other/a.png: " in stderr
    code, _, stderr = imltool(*given, "--no-browser", "--category", "edit", "--boxes-of", "stored")
    assert code == 2 and "1 boxes of other categories than edit are not used" in stderr
    code, _, stderr = imltool(*given, "--no-browser", "--category", "tree")
    assert code == 2 and "no box has the category 'tree'" in stderr


def test_port_in_use_is_a_one_line_error(server: Annotating, tmp_path: Path, imltool: Imltool) -> None:
    write_rgb(tmp_path / "set/a.png", photo(1))
    port = urlsplit(server.address).port
    out = tmp_path / "boxes.json"
    code, _, stderr = imltool("annotate", tmp_path / "set", "--out", out, "--port", port, "--no-browser")
    assert code == 2 and f"port {port} cannot be used" in stderr
