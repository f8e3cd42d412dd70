"""`imltool verify`: every kind of change to a scan folder is found, and an unchanged folder passes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Imltool
from helpers.forked import Forked
from helpers.outputs import record_of
from helpers.pictures import photo, write_rgb

from imltool.cli.app import run
from imltool.scan import run_record
from imltool.scan.results import ScanResult
from imltool.scan.tables import TABLES

NAMES = ("a.jpg", "b.png", "deep/c.png", "deep/er/d.jpg", "e.png")


def scan(weights: Path, *arguments: object) -> int:
    return run(["scan", *map(str, arguments), "--weights", str(weights), "--device", "cpu"])


@pytest.fixture(scope="module")
def scanned(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scan of five pictures and a file that is not a picture."""
    place = tmp_path_factory.mktemp("scan")
    for seed, name in enumerate(NAMES):
        write_rgb(place / "in" / name, photo(seed))
    (place / "in" / "text.png").write_text("no picture")
    assert scan(tiny_weights, place / "in", "--out", place / "out", "--examiner", "Ada") == 3
    return place / "out"


@pytest.fixture
def out(scanned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scanned, tmp_path / "copy"))


def lines_of(out: Path) -> list[bytes]:
    return (out / "results.jsonl").read_bytes().splitlines(keepends=True)


def keep_lines(out: Path, lines: list[bytes]) -> None:
    (out / "results.jsonl").write_bytes(b"".join(lines))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def edit_line(number: int, key: str, value: object) -> Callable[[Path], None]:
    def edit(out: Path) -> None:
        lines = lines_of(out)
        row = json.loads(lines[number])
        assert row[key] != value
        lines[number] = (json.dumps(row | {key: value}, sort_keys=True, ensure_ascii=False) + "\n").encode()
        keep_lines(out, lines)

    return edit


def edit_record(*keys: str | int, value: object) -> Callable[[Path], None]:
    def edit(out: Path) -> None:
        record = record_of(out)
        place: Any = record
        for key in keys[:-1]:
            place = place[key]
        assert place[keys[-1]] != value
        place[keys[-1]] = value
        (out / "run.json").write_text(json.dumps(record, indent=2), encoding="utf-8")

    return edit


def swap(out: Path) -> None:
    first, second, third, *rest = lines_of(out)
    keep_lines(out, [first, third, second, *rest])


def add_link(out: Path) -> None:
    (out / "maps" / "more").symlink_to(out / "masks")


def unknown(name: str) -> set[tuple[str, str]]:
    """The findings when the row of a picture is missing."""
    files = (f"maps/{name}.png", f"masks/{name}.png", f"overlays/{name}.jpg", f"previews/{name}.json")
    return {("extra", file) for file in files}


TABLE = ("changed", "results.csv")
ERRORS = ("changed", "errors.csv")
ROWS = ("changed", "results.jsonl")
SEAL = ("changed", "run.json")
CHANGES: dict[str, tuple[Callable[[Path], object], set[tuple[str, str]]]] = {
    "the last row is truncated": (
        lambda out: keep_lines(out, [*lines_of(out)[:-1], lines_of(out)[-1][:50]]),
        {("changed", "results.jsonl row 6"), ROWS, TABLE, ERRORS},
    ),
    "the last row is gone": (lambda out: keep_lines(out, lines_of(out)[:-1]), {ROWS, TABLE, ERRORS}),
    "the last two rows are gone": (
        lambda out: keep_lines(out, lines_of(out)[:-2]), {ROWS, TABLE, ERRORS} | unknown("e.png")
    ),
    "the first row is gone": (
        lambda out: keep_lines(out, lines_of(out)[1:]),
        {("changed", "results.jsonl row 1 (b.png)"), ROWS, TABLE} | unknown("a.jpg"),
    ),
    "rows are swapped": (
        swap,
        {("changed", f"results.jsonl row {row}") for row in ("2 (deep/c.png)", "3 (b.png)", "4 (deep/er/d.jpg)")}
        | {TABLE},
    ),
    "a row is duplicated": (
        lambda out: keep_lines(out, [*lines_of(out), lines_of(out)[-1]]),
        {("changed", "results.jsonl row 7 (text.png)"), ROWS, TABLE, ERRORS},
    ),
    "a score is changed": (edit_line(1, "score", 0.123), {("changed", "results.jsonl row 3 (deep/c.png)"), TABLE}),
    "the last reason is changed": (edit_line(5, "reason", "none"), {ROWS, TABLE, ERRORS}),
    "a row is invalid": (
        edit_line(2, "outputs_sha256", 7),
        {("changed", "results.jsonl row 4 (deep/er/d.jpg)"), ROWS} | unknown("deep/c.png"),
    ),
    "a map is changed": (
        lambda out: shutil.copy(out / "maps/a.jpg.png", out / "maps/b.png.png"), {("changed", "maps/b.png.png")}
    ),
    "a mask is gone": (lambda out: (out / "masks/deep/c.png.png").unlink(), {("missing", "masks/deep/c.png.png")}),
    "an overlay is a folder": (
        lambda out: ((out / "overlays/e.png.jpg").unlink(), (out / "overlays/e.png.jpg").mkdir()),  # type: ignore[func-returns-value]
        {("changed", "overlays/e.png.jpg")},
    ),
    "a map was added": (
        lambda out: shutil.copy(out / "maps/a.jpg.png", out / "maps/deep/x.png"), {("extra", "maps/deep/x.png")}
    ),
    "a link was added": (add_link, {("extra", "maps/more")}),
    "the table is changed": (lambda out: replace(out / "results.csv", "a.jpg", "A.jpg"), {TABLE}),
    "an error is changed": (lambda out: replace(out / "errors.csv", "text.png", "Text.png"), {ERRORS}),
    "the errors are gone": (lambda out: (out / "errors.csv").unlink(), {("missing", "errors.csv")}),
    "the table is gone": (lambda out: (out / "results.csv").unlink(), {("missing", "results.csv")}),
    "the report is changed": (lambda out: replace(out / "report.html", "a.jpg", "A.jpg"), {("changed", "report.html")}),
    "the report is gone": (lambda out: (out / "report.html").unlink(), {("missing", "report.html")}),
    "the record has another threshold": (edit_record("parameters", "threshold", value=0.25), {SEAL}),
    "the record has other counts": (edit_record("counts", "failed", value=0), {SEAL}),
    "the record has another examiner": (edit_record("case", "examiner", value="Bob"), {SEAL}),
    "the record has another time": (edit_record("sessions", 0, "started", value="2001-01-01T00:00:00Z"), {SEAL}),
    "the record has another head": (edit_record("chain", "head", value="0" * 64), {SEAL, ROWS}),
    "the record has no head": (edit_record("chain", value=None), {SEAL, ROWS}),
    "the record is invalid JSON": (lambda out: replace(out / "run.json", "{", "<"), {SEAL}),
    "the record is gone": (lambda out: (out / "run.json").unlink(), {("missing", "run.json")}),
    "the parameters are changed": (
        lambda out: replace(out / "parameters.json", '"threshold": 0.5', '"threshold": 0.6'),
        {("changed", "results.jsonl row 1 (a.jpg)"), SEAL},
    ),
    "the parameters are gone": (
        lambda out: (out / "parameters.json").unlink(),
        {("changed", "results.jsonl row 1 (a.jpg)"), ("missing", "parameters.json")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_found_and_located(out: Path, imltool: Imltool, change: str) -> None:
    alter, expected = CHANGES[change]
    alter(out)
    code, stdout, stderr = imltool("verify", out, "--json")
    found = {(finding["kind"], finding["where"]) for finding in json.loads(stdout)["findings"]}
    assert code == 4 and found == expected
    assert "changed, missing or added" in stderr
    code, stdout, _ = imltool("verify", out)
    assert code == 4
    assert {(line.split()[0], line[10:].split(": ")[0]) for line in stdout.splitlines()} == expected


def test_missing_results_are_found(out: Path, imltool: Imltool) -> None:
    (out / "results.jsonl").unlink()
    code, stdout, _ = imltool("verify", out)
    assert code == 4 and "missing   results.jsonl: " in stdout


def test_unchanged_scan_passes_with_its_recorded_head(out: Path, scanned: Path, imltool: Imltool) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    head = hashlib.sha256(lines_of(out)[-1]).hexdigest()
    code, stdout, stderr = imltool("verify", out, "--inputs")
    assert (code, stdout) == (0, "") and f"6 rows, final hash {head}" in stderr and "nothing was changed" in stderr
    code, stdout, _ = imltool("verify", out, "--head", head.upper(), "--json")
    assert code == 0 and json.loads(stdout) == {
        "rows": 6,
        "head": head,
        "journals": [{"name": "results.jsonl", "rows": 6, "head": head}],
        "findings": [],
    }
    assert imltool("verify", out, "--head", "0" * 64)[0] == 4
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    assert after == before, "verify writes nothing"
    record = record_of(out)
    assert record["chain"] == {"rows": 6, "head": head}
    first = json.loads(lines_of(out)[0])
    assert first["previous_sha256"] == hashlib.sha256((out / "parameters.json").read_bytes()).hexdigest()
    assert first["outputs_sha256"] == {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in ("maps/a.jpg.png", "masks/a.jpg.png", "overlays/a.jpg.jpg", "previews/a.jpg.json")
    }


def test_recomputed_hashes_are_found_only_by_the_noted_head(out: Path, imltool: Imltool) -> None:
    noted = record_of(out)["chain"]["head"]
    rows = [json.loads(line) for line in lines_of(out)]
    rows[1]["score"] = 0.123
    lines: list[bytes] = []
    for row in rows:
        if lines:
            row["previous_sha256"] = hashlib.sha256(lines[-1]).hexdigest()
        lines.append((json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n").encode())
    keep_lines(out, lines)
    for name, text in TABLES.items():
        (out / name).write_text(text([ScanResult.of_row(row, out) for row in rows]), encoding="utf-8")
    record = record_of(out)
    del record["self_sha256"]
    record["chain"]["head"] = hashlib.sha256(lines[-1]).hexdigest()
    record["self_sha256"] = hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    (out / "run.json").write_text(run_record.record_text(record), encoding="utf-8")
    assert imltool("verify", out)[0] == 0
    code, stdout, _ = imltool("verify", out, "--head", noted)
    assert code == 4 and "not with the final hash given" in stdout


def test_inputs_option_hashes_the_evidence_again(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    names = ["one/day/a.png", "one/day/b.png", "two/day/a.png", os.fsdecode(b"two/day/caf\xe9.png")]
    for seed, name in enumerate(names):
        write_rgb(tmp_path / "a.png", photo(seed))
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a.png").rename(tmp_path / name)
    (tmp_path / "two/day/text.jpg").write_text("no picture")
    out, moved = tmp_path / "out", tmp_path / "moved"
    assert scan(tiny_weights, tmp_path / "one/day", tmp_path / "two/day", "--out", out) == 3
    out.rename(moved)
    assert imltool("verify", moved, "--inputs")[:2] == (0, "")
    write_rgb(tmp_path / "two/day/new.png", photo(7))
    assert imltool("verify", moved, "--inputs")[0] == 0, "files that were not scanned are ignored"
    write_rgb(tmp_path / names[0], photo(8))
    (tmp_path / names[3]).unlink()
    (tmp_path / "two/day/text.jpg").write_text("no picture at all")
    assert imltool("verify", moved)[:2] == (0, ""), "without --inputs the evidence is not checked"
    code, stdout, _ = imltool("verify", moved, "--inputs")
    assert code == 4
    assert stdout.splitlines() == [
        "changed   day/a.png: changed since it was scanned",
        "missing   day-2/caf\\xe9.png: vanished since it was scanned",
        "changed   day-2/text.jpg: changed since it was scanned",
    ]
    shutil.rmtree(tmp_path / "one")
    code, stdout, _ = imltool("verify", moved, "--inputs", "--json")
    kinds = {finding["where"]: finding["kind"] for finding in json.loads(stdout)["findings"]}
    assert code == 4 and kinds["day/a.png"] == kinds["day/b.png"] == "missing"


def test_folder_without_a_scan_is_a_usage_error(out: Path, tmp_path: Path, imltool: Imltool) -> None:
    (tmp_path / "parameters.json").write_text('{"command": "train"}')
    for place in (tmp_path / "nowhere", tmp_path):
        code, stdout, stderr = imltool("verify", place)
        assert (code, stdout) == (2, "") and "holds no scan" in stderr
    code, _, stderr = imltool("verify", out, "--head", "12ab")
    assert code == 2 and "no SHA-256" in stderr
    replace(out / "parameters.json", '"row_format": 1', '"row_format": 2')
    code, _, stderr = imltool("verify", out)
    assert code == 1 and "format 2" in stderr


def test_unreadable_evidence_is_unchecked_not_changed(tiny_weights: Path, tmp_path: Path, forked: Forked) -> None:
    write_rgb(tmp_path / "disk/in/a.png", photo(0))
    out, stdout, stderr = tmp_path / "out", tmp_path / "stdout", tmp_path / "stderr"
    assert scan(tiny_weights, tmp_path / "disk/in", "--out", out) == 0
    for locked, code, options in (("disk", 3, ["--inputs"]), ("out/run.json", 1, [])):
        mode = (tmp_path / locked).stat().st_mode
        (tmp_path / locked).chmod(0)
        try:
            command = forked.start("verify", out, *options, stdout=stdout, stderr=stderr, ordinary=True)
            assert command.wait() == code, locked
        finally:
            (tmp_path / locked).chmod(mode)
    assert stdout.read_text() == f"unchecked {tmp_path}/disk/in: cannot be reached: Permission denied\n"
    assert f"error: {out}/run.json cannot be read: Permission denied" in stderr.read_text()


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        (None, "row 6, the last that run.json counts, is missing"),
        (b'{"path": "e', "is cut or replaced"),
        (b"\n", "is cut or replaced"),
    ],
)
def test_scan_that_lost_recorded_rows_is_not_resumed(
    out: Path, scanned: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str], last: bytes | None, fault: str
) -> None:
    keep_lines(out, [*lines_of(out)[:5], *([] if last is None else [last])])
    before = (out / "results.jsonl").read_bytes(), (out / "run.json").read_bytes()
    capsys.readouterr()
    assert scan(tiny_weights, scanned.parent / "in", "--out", out) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert fault in error and "imltool verify" in error and "--restart" in error
    assert ((out / "results.jsonl").read_bytes(), (out / "run.json").read_bytes()) == before
    assert run(["verify", str(out)]) == 4
