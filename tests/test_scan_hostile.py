"""Hostile evidence: decompression bombs, devices, unreadable folders, very long paths, colliding names."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import struct
import zlib
from pathlib import Path

import pytest
from helpers.commands import Imltool
from helpers.forked import Forked
from helpers.outputs import rows_by_path
from helpers.pictures import photo, write_rgb
from PIL import TiffImagePlugin

from imltool.scan.inputs import plan_inputs


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    pixels = zlib.compress(b"".join(b"\0" + bytes(3 * width) for _ in range(height)) if height < 100 else b"")
    head = chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_decompression_bombs_give_a_reason(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    """Huge sizes in headers, and texts that grow a thousandfold when decompressed."""
    folder, out = tmp_path / "in", tmp_path / "out"
    write_rgb(folder / "good.jpg", photo(0))
    (folder / "wide.png").write_bytes(png(30_000, 30_000))
    image = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
    (folder / "wide.gif").write_bytes(
        b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + image + b"\x02\x01\0\0;"
    )
    tags, page = TiffImagePlugin.ImageFileDirectory_v2(), io.BytesIO(b"II*\0\x08\0\0\0")
    tags.update({256: 30_000, 257: 30_000, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 30_000, 279: 900_000_000})
    page.seek(8)
    tags.save(page)
    (folder / "wide.tif").write_bytes(page.getvalue())
    (folder / "wide.bmp").write_bytes(
        b"BM" + struct.pack("<LHHLLllHHLLllLL", 54, 0, 0, 54, 40, 30000, 30000, 1, 24, *[0] * 6)
    )
    data = bytearray((folder / "good.jpg").read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    (folder / "wide.jpg").write_bytes(data)
    text = zlib.compress(bytes(80_000_000))
    (folder / "text.png").write_bytes(png(9, 9, chunk(b"zTXt", b"Comment\0\0" + text)))
    (folder / "profile.png").write_bytes(png(9, 9, chunk(b"iCCP", b"p\0\0" + text)))
    nested = b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * 300_000
    (folder / "nested.png").write_bytes(png(9, 9, chunk(b"iTXt", nested)))
    assert imltool("scan", folder, "--out", out, "--weights", tiny_weights)[0] == 3
    rows = rows_by_path(out)
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert {name for name, reason in reasons.items() if reason and "megapixels" in reason} == {
        "wide.png", "wide.gif", "wide.tif", "wide.bmp", "wide.jpg",
    }  # fmt: skip
    assert reasons["good.jpg"] is reasons["nested.png"] is None
    assert "no complete XML" in rows["nested.png"]["context"]["problems"][0]
    assert all(len(json.dumps(row)) < 20_000 for row in rows.values()), "no decompressed text is kept"


def test_special_files_are_not_opened(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_rgb(folder / "a.png", photo(0))
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "endless").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(folder / "socket.png"))  # the system takes short paths only
        assert imltool("scan", folder, "--out", out, "--weights", tiny_weights)[0] == 3
    reasons = {name: row["reason"] for name, row in rows_by_path(out).items()}
    reason = "not a regular file"
    assert reasons == {"a.png": None, "pipe.jpg": reason, "socket.png": reason, "zero.png": reason}
    code, _, stderr = imltool("scan", "/dev/zero", "--out", tmp_path / "out2", "--weights", tiny_weights)
    assert code == 1 and reason in stderr


def test_unreadable_files_and_folders_are_reported(
    tiny_weights: Path, tmp_path: Path, forked: Forked, imltool: Imltool
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for seed, name in enumerate(("a.png", "secret.jpg", "locked/b.png", "listed/c.png", "listed/d")):
        write_rgb(folder / f"{name}.png", photo(seed))
        (folder / f"{name}.png").rename(folder / name)
    words = ("scan", folder, "--out", out, "--weights", tiny_weights, "--device", "cpu")
    (folder / "secret.jpg").chmod(0)
    (folder / "locked").chmod(0)
    (folder / "listed").chmod(0o444)  # its names can be listed, but the files cannot be read
    try:
        for _ in range(2):  # the second run resumes the first
            assert forked.start(*words, ordinary=True).wait() == 3
            assert {name: row["reason"] for name, row in rows_by_path(out).items()} == {
                "a.png": None,
                "listed/c.png": "no permission to read",
                "locked": "no permission to read the folder",
                "secret.jpg": "no permission to read",
            }
        alone = ("scan", folder / "locked", "--out", tmp_path / "out2", *words[4:])
        assert forked.start(*alone, stderr=tmp_path / "stderr", ordinary=True).wait() == 1, "no other input was given"
        assert ".: no permission to read the folder" in (tmp_path / "stderr").read_text()
    finally:
        for name in ("locked", "listed", "secret.jpg"):
            (folder / name).chmod(0o700)
    code, _, stderr = imltool(*words)
    assert code == 2 and "locked changed since this scan began" in stderr, "its pictures were not analysed"
    assert imltool(*words, "--restart")[0] == 0
    assert [*rows_by_path(out)] == ["a.png", "listed/c.png", "listed/d", "locked/b.png", "secret.jpg"]


def test_hidden_folders_are_scanned(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    names = [".hidden/.a.png", ".trash.0123456789ab.part/b.png", "c.png"]  # the second is named like partial results
    for seed, name in enumerate(names):
        write_rgb(folder / name, photo(seed))
    for _ in range(2):
        assert imltool("scan", folder, "--out", out, "--weights", tiny_weights)[0] == 0
        assert [*rows_by_path(out)] == names
    assert imltool("verify", out, "--inputs")[:2] == (0, "")


def test_paths_up_to_the_system_limit_are_scanned(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imltool: Imltool
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_rgb(folder / "a.png", photo(0))
    data = (folder / "a.png").read_bytes()
    monkeypatch.chdir(folder)
    length, depth = len(str(folder)), 0
    while length < 4300:
        part = "n" * min(200, max(3960 - length, 20))
        os.mkdir(part)
        os.chdir(part)
        length, depth = length + len(part) + 1, depth + 1
        Path("x.png").write_bytes(data)
    os.chdir(folder)
    try:
        assert imltool("scan", folder, "--out", out, "--weights", tiny_weights, "-b", "1")[0] == 3
        rows = rows_by_path(out)
        assert imltool("scan", folder, "--out", out, "--weights", tiny_weights, "-b", "1")[0] == 3
        assert imltool("verify", out, "--inputs")[:2] == (0, "")
    finally:
        shutil.rmtree("n" * 200)
    analysed = [row for row in rows.values() if row["status"] == "ok"]
    assert max(len(row["path"]) for row in analysed) > 3700 and len({row["map"] for row in analysed}) == len(analysed)
    failed = [row["reason"] for row in rows.values() if row["status"] == "failed"]
    assert failed and all("File name too long" in reason for reason in failed)


def test_impossible_paths_are_a_one_line_error(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    write_rgb(tmp_path / "in/a.png", photo(0))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for expected, arguments in (
        (2, ("n" * 300, "--out", tmp_path / "out")),
        (2, (tmp_path / "loop", "--out", tmp_path / "out")),
        (1, (tmp_path / "in", "--out", tmp_path / ("n" * 300))),
        (1, (tmp_path / "in", "--out", tmp_path / "loop")),
        (1, (tmp_path / "in", "--out", tmp_path / "loop/out")),
    ):
        code, _, stderr = imltool("scan", *arguments, "--weights", tiny_weights)
        assert code == expected and stderr.count("\n") == 1 and "internal fault" not in stderr, arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "loop"]


def test_file_names_cannot_collide_with_outputs_of_other_files(
    tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    long = "n" * 240
    for seed, name in enumerate(("A.png", "a.png", f"{long}.png")):
        write_rgb(folder / name, photo(seed))
    outputs = [item.output for item in plan_inputs([folder], out).inputs]
    assert all("~" in output for output in outputs)
    for seed, output in enumerate(outputs):
        write_rgb(folder / "x.png", photo(seed))
        shutil.copy(folder / "x.png", folder / output)
        for suffix in (".png", ".json"):
            write_rgb(folder / f"{output}{suffix}" / "x.png", photo(seed))
    for name in ("b.png", "b.png.json/x.png", "b.png.JPG/x.png", "b.png.png/x.png"):
        write_rgb(folder / name, photo(4))
    assert imltool("scan", folder, "--out", out, "--weights", tiny_weights)[0] == 0
    rows = rows_by_path(out)
    assert len(rows) == 17 and len({row["map"].casefold() for row in rows.values()}) == 17
    assert imltool("verify", out)[:2] == (0, "")
