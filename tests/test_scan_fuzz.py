"""Thousands of broken files: none ends a scan, each is analysed or has a reason; any changed byte is found.

`IMLTOOL_FUZZ=5000 pytest tests/test_scan_fuzz.py` tries 5000 files instead of 400.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import shutil
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.commands import Imltool
from helpers.mutants import DAMAGES, mutant, seeds
from helpers.outputs import rows_of
from helpers.pictures import photo, write_rgb
from PIL import PngImagePlugin

from imltool.device import choose_device
from imltool.errors import ImlError
from imltool.evidence.facts import describe
from imltool.evidence.model import Context
from imltool.evidence.remarks import make_remarks
from imltool.files import LOCK
from imltool.inference.localizer import Localizer
from imltool.scan.pipeline import decode  # type: ignore[attr-defined]
from imltool.scan.results import ScanResult
from imltool.scan.verify import Verification

COUNT = int(os.environ.get("IMLTOOL_FUZZ", "400"))
SCANNED = max(40, COUNT // 25)
CHANGED = max(100, COUNT // 10)
ADDRESS = re.compile(r"0x[0-9a-f]{6,}", re.IGNORECASE)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return seeds()


@pytest.fixture(scope="module")
def localizer(tiny_weights: Path) -> Localizer:
    return Localizer.load(tiny_weights, choose_device("cpu"))


def test_intact_files_are_read(files: dict[str, bytes], localizer: Localizer, tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        read = decode(tmp_path / name, localizer)
        assert read.reason is None and read.rgb is not None and read.context, name
        assert read.rgb.shape in ((48, 64, 3), (64, 48, 3)) and read.context.problems == (), name


def test_broken_files_are_read_or_give_a_reason(files: dict[str, bytes], localizer: Localizer, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(COUNT):
        name, data = mutant(files, number)
        path = tmp_path / f"{number}-{name}"  # the file that remains if a decoder crashes
        path.write_bytes(data)
        read = decode(path, localizer)
        assert (read.rgb is None) == (read.reason is not None), number
        if read.rgb is not None:
            assert read.rgb.dtype == np.uint8 and read.rgb.ndim == 3 and read.rgb.shape[2] == 3, number
        else:
            assert str(tmp_path) not in str(read.reason) and len(str(read.reason).splitlines()) == 1, number
        assert read.context is not None
        row = read.context.model_dump(mode="json")
        text = json.dumps(row, allow_nan=False)
        assert str(tmp_path) not in text and not ADDRESS.search(text), number
        assert Context.model_validate(row) == read.context
        for remark in make_remarks(read.context):
            assert remark.text.isprintable(), number
        describe(read.context)
        outcomes["read" if read.reason is None else read.reason.split(" (")[0]] += 1
        path.unlink()
    logging.info("%s broken files: %s", COUNT, dict(outcomes.most_common()))  # shown by pytest --log-cli-level=INFO
    assert outcomes["read"] > COUNT / 10 and outcomes["damaged picture"] > COUNT / 10, "both outcomes occur"


def test_scan_of_broken_files_completes(
    files: dict[str, bytes], tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(COUNT, COUNT + SCANNED):
        name, data = mutant(files, number)
        (folder / f"{number:06}-{name}").write_bytes(data)
    code, stdout, stderr = imltool(
        "scan", folder, "--out", out, "--json", "-q", "--companions", "ela,noise,ghost", "--weights", tiny_weights
    )
    assert stderr == "", "no library prints anything"
    rows = rows_of(out)
    assert not ADDRESS.search(stdout), "no memory addresses, which differ between runs"
    assert code == 3 and len(rows) == SCANNED and stdout == (out / "results.jsonl").read_text()
    results = [ScanResult.of_row(row, out) for row in rows]
    assert all((result.reason is None) == (result.status == "ok") for result in results)
    assert {result.status for result in results} == {"ok", "failed"}
    assert imltool("verify", out, "--inputs")[:2] == (0, "")


def test_tifffile_warnings_are_attributed_to_their_file(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    """A tag points outside the file: tifffile logs a warning, by default on stderr without a file name."""
    path, log = tmp_path / "in/a.tif", tmp_path / "log.txt"
    path.parent.mkdir()
    tifffile.imwrite(path, photo(0), photometric="rgb", metadata=None, datetime="2024:05:01 12:00:00")
    data = path.read_bytes()
    at = data.index(struct.pack("<HHL", 306, 2, 20)) + 8
    path.write_bytes(data[:at] + struct.pack("<L", 1 << 24) + data[at + 4 :])
    write_rgb(tmp_path / "in/b.png", photo(1))
    arguments = ("--out", tmp_path / "out", "-q", "--log-file", log, "--weights", tiny_weights)
    assert imltool("scan", tmp_path / "in", *arguments) == (0, "", "")
    first, other = sorted(rows_of(tmp_path / "out"), key=lambda row: row["path"])
    assert "pixels: tifffile warns about the file's tags" in first["context"]["problems"]
    assert other["context"]["problems"] == [] and f"{path}: tifffile: " in log.read_text()


def test_stderr_output_of_native_libraries_is_captured(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imltool: Imltool
) -> None:
    """The silence checks above can fail: output of C code to stderr is captured as well."""
    write_rgb(tmp_path / "a.png", photo(0))
    arguments = ("scan", tmp_path / "a.png", "--json", "-q", "--weights", tiny_weights, "--out")
    assert imltool(*arguments, tmp_path / "quiet")[2] == ""
    load = PngImagePlugin.PngImageFile.load

    def loud(picture: PngImagePlugin.PngImageFile) -> object:
        ctypes.CDLL(None).perror(b"libnative at 0x7f75d757e8e0")
        return load(picture)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", loud)
    code, stdout, stderr = imltool(*arguments, tmp_path / "loud")
    assert code == 0 and ADDRESS.search(stderr) and not ADDRESS.search(stdout)


def test_any_changed_byte_is_found(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    for seed in range(3):
        write_rgb(place / f"{seed}.png", photo(seed))
    (place / "text.png").write_text("no picture")
    arguments = ("--weights", tiny_weights, "--device", "cpu", "--companions", "noise", "--notes", "é")
    assert imltool("scan", place, "--out", out, *arguments)[0] == 3
    assert [*filter(None, Verification(out).run(evidence=True))] == []
    paths = sorted(path for path in [*out.rglob("*"), *place.rglob("*")] if path.is_file() and path.name != LOCK)
    assert {path.suffix for path in paths} == {".png", ".jpg", ".json", ".jsonl", ".csv", ".html"}
    for number in range(CHANGED):
        rng = np.random.default_rng(number)
        path = paths[number % len(paths)]
        whole = path.read_bytes()
        damage, other = DAMAGES[int(rng.integers(len(DAMAGES)))], paths[int(rng.integers(len(paths)))].read_bytes()
        changed = damage(whole, other, rng)
        if changed == whole:
            continue
        path.write_bytes(changed)
        try:
            assert [*filter(None, Verification(out).run(evidence=True))], f"{number}: {path.name}"
        except ImlError:
            assert path.name == "parameters.json", "a folder that is no scan or of another version is refused"
        path.write_bytes(whole)
    assert [*filter(None, Verification(out).run(evidence=True))] == []
    shutil.rmtree(out / "maps")
    assert {finding.kind for finding in Verification(out).run() if finding} == {"missing"}


def test_ambiguous_and_extreme_json_is_found(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    """Duplicate keys, of which JSON readers take the last, and values that could crash a reader."""
    write_rgb(tmp_path / "in/a.png", photo(0))
    out = tmp_path / "out"
    assert imltool("scan", tmp_path / "in", "--out", out, "--examiner", "Ada", "--weights", tiny_weights)[0] == 0
    for name, old, new in (
        ("run.json", '"examiner": "Ada"', '"examiner": "Eve", "examiner": "Ada"'),
        ("run.json", '"examiner": "Ada"', '"examiner":  "Ada"'),
        ("run.json", '"failed": 0', '"failed": 1e999'),
        ("run.json", '"rows": 1', '"rows": 1e999'),
        ("run.json", '"rows": 1', '"rows": ' + "[" * 700 + "]" * 700),
        ("run.json", '"threshold": ', '"deep": ' + "[" * 700 + "]" * 700 + ', "threshold": '),
        ("run.json", '"label": ""', '"label": ["\\ud800"]'),
        ("run.json", str(tmp_path / "in"), "\\ud800\\u0000"),
        ("results.jsonl", '"path": "a.png"', '"path": "\\ud800"'),
        ("results.jsonl", '"regions": ', '"remarks": 7, "regions": '),
        ("results.jsonl", '"maps/a.png.png": "', '"\\u0000": "'),
        ("results.jsonl", '"previous_sha256": "', '"x": ' + "[" * 90_000 + '1, "previous_sha256": "'),
    ):
        whole = (out / name).read_text(encoding="utf-8")
        assert old in whole
        (out / name).write_text(whole.replace(old, new), encoding="utf-8")
        code, stdout, stderr = imltool("verify", out, "--inputs")
        assert code == 4 and stdout and "internal fault" not in stderr, new[:60]
        (out / name).write_text(whole, encoding="utf-8")
    assert imltool("verify", out, "--inputs")[0] == 0
