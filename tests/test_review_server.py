"""The server of `imltool review`: access control, tiles, thumbnails, running scans, and kills."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import io
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import record_of, rows_of
from helpers.page_server import Reviewing
from helpers.review_scan import TALL, WIDE, large, made_of
from PIL import Image

from imltool.pictures.images import read_map, read_rgb
from imltool.review.pyramid import BoundedCache, Pyramid
from imltool.scan.decisions import read_decisions
from imltool.scan.results import RESULTS
from imltool.scan.score_reading import ScoreScale
from imltool.student.header import ReliabilityBin


@pytest.fixture(scope="module")
def server(scanned: Path) -> Iterator[Reviewing]:
    running = Reviewing(scanned, "--examiner", "A. Meier")
    yield running
    code, stderr = running.end()
    assert code == 0 and "Traceback" not in stderr and "decided" in stderr


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_requests_are_restricted_to_the_page_of_this_run(server: Reviewing) -> None:
    parts = urlsplit(server.address)
    assert parts.hostname == "127.0.0.1" and len(parts.path) > 30
    other = server.address.replace(parts.path, "/wrong/")
    assert server.ask("api/folder", address=other)[0] == 403
    assert server.ask("api/folder", headers={"Host": "evil.example"})[0] == 421
    assert server.ask("api/folder", headers={"Origin": "http://evil.example"})[0] == 403
    form = {"Content-Type": "text/plain"}
    assert server.ask("api/pictures/0/decision", b'{"base":0,"opinion":{}}', form)[0] == 415
    for path in (
        "../results.jsonl",
        "%2e%2e/server.py",
        "api/pictures/-1",
        "api/pictures/99",
        "api/pictures/0/layers/x",
    ):
        assert server.ask(path)[0] in (403, 404, 405, 422), path
    with urlopen(server.address) as reply:
        assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_tiles_hold_unchanged_picture_and_map_pixels(server: Reviewing, scanned: Path) -> None:
    rgb = read_rgb(scanned.parent / "in/a.png")
    size = server.ask("api/pictures/0/layers/original")[1]
    assert size == {"width": WIDE, "height": TALL, "tile": 512, "levels": 2}
    left, right = (pixels(server.ask(f"api/pictures/0/layers/original/0/{column}/0")[1]) for column in (0, 1))
    assert np.array_equal(np.concatenate([left, right], axis=1), rgb)
    values = read_map(scanned / "maps/a.png.png")
    grey = pixels(server.ask("api/pictures/0/layers/map/0/0/0")[1])
    assert grey.shape == (TALL, 512, 3)
    brightest = np.unravel_index(values[:, :512].argmax(), (TALL, 512))
    assert grey[brightest].sum() >= grey.reshape(-1, 3).sum(axis=1).max() - 3
    wash = pixels(server.ask("api/pictures/0/layers/wash/0/0/0")[1])
    assert wash.shape[-1] == 4
    assert server.ask("api/pictures/0/layers/original/0/2/0")[0] == 404
    assert server.ask("api/pictures/0/layers/original/9/0/0")[0] == 404
    for name in ("ela", "noise"):  # the second was not made by the scan
        assert pixels(server.ask(f"api/pictures/0/layers/{name}/0/0/0")[1]).shape == (TALL, 512)
    assert pixels(server.ask("api/pictures/0/companions/ghost.png")[1]).ndim == 2
    assert max(pixels(server.ask("api/pictures/0/thumbnail.webp")[1]).shape) == 160


def test_picture_details_have_facts_remarks_traces_and_copies(server: Reviewing, scanned: Path) -> None:
    facts = server.ask("api/pictures/1")[1]
    assert facts["path"] == "camera.jpg" and facts["place"] == str(scanned.parent / "in/camera.jpg")
    assert any("GIMP" in text for text in facts["remarks"]) and ["Camera", "Canon EOS 5D"] in facts["facts"]
    assert facts["reading"] == ["The checkpoint is not calibrated: the score only puts pictures in order."]
    parts = server.ask("api/pictures/0/outline")[1]["parts"]
    assert parts and all(0 <= value <= max(WIDE, TALL) for value in parts[0])
    traces = server.ask("api/pictures/0/traces")[1]["traces"]
    assert traces and all(trace["text"].endswith(".") for trace in traces)
    shown = pixels(server.ask(f"api/pictures/0/traces/{traces[0]['number']}.png")[1])
    assert shown.shape[-1] == 4
    assert isinstance(server.ask("api/pictures/0/copies")[1]["copies"], list)
    damaged = next(index for index, row in enumerate(server.ask("api/folder")[1]["rows"]) if row["path"] == "torn.png")
    assert server.ask(f"api/pictures/{damaged}")[1]["status"] == "failed"
    assert server.ask(f"api/pictures/{damaged}/layers/original/0/0/0")[0] == 422
    assert server.decide(damaged, 0, status="relevant")[0] == 422


def test_changed_or_missing_picture_is_not_shown(scanned: Path, tmp_path: Path) -> None:
    shutil.copytree(scanned.parent / "in", tmp_path / "in")
    rows = [row for row in rows_of(scanned) if row["status"] == "ok"]
    out = made_of(scanned, tmp_path / "out", rows, tmp_path / "in")
    (tmp_path / "in/a.png").write_bytes((tmp_path / "in/sub/c.png").read_bytes())
    (tmp_path / "in/camera.jpg").unlink()
    running = Reviewing(out)
    for index, word in ((0, "changed"), (1, "not where it was scanned")):
        status, answer = running.ask(f"api/pictures/{index}/layers/original/0/0/0")
        assert status == 422 and word in answer["error"]
    running.kill()


def test_invalid_decisions_are_refused_and_change_nothing(server: Reviewing, scanned: Path) -> None:
    before = len(read_decisions(scanned))
    for opinion in (
        {"status": "guilty"},
        {"conclusion": "forged"},
        {"text": "x" * 20_001},
        {"boxes": [[5, 5, 4, 9]]},
        {"boxes": [[WIDE + 5, 5, WIDE + 9, 9]]},
        {"boxes": [[0, 0, 1e9, 5]]},
        {"more": 1},
    ):
        assert server.decide(2, 0, **opinion)[0] == 422, opinion
    assert server.ask("api/pictures/2/decision", {"base": -1, "opinion": {}})[0] == 422
    assert len(read_decisions(scanned)) == before


def test_kill_loses_no_decision(scanned: Path, tmp_path: Path) -> None:
    out = shutil.copytree(scanned, tmp_path / "out")
    running = Reviewing(out, "--examiner", "A. Meier")
    status, answer = running.decide(0, 0, status="relevant", conclusion="edited", text="seen")
    assert status == 200 and answer["revision"] == 1
    running.kill()
    again = Reviewing(out, "--examiner", "B. Koch")
    decided = again.ask("api/pictures/0")[1]["decision"]
    assert (decided["examiner"], decided["opinion"]["text"]) == ("A. Meier", "seen")
    status, answer = again.decide(0, 0, status="not relevant")
    assert status == 409 and answer["opinion"]["status"] == "relevant"
    assert again.decide(0, 1, status="to be checked")[0] == 200
    code, stderr = again.end(signal.SIGTERM)
    assert code == 0 and "report.html written with the decisions" in stderr
    assert "to be checked" in (out / "decisions.csv").read_text()
    assert "To be checked." in (out / "report.html").read_text()


def test_two_servers_share_decisions(scanned: Path, tmp_path: Path) -> None:
    out = shutil.copytree(scanned, tmp_path / "out")
    one, other = Reviewing(out, "--examiner", "A. Meier"), Reviewing(out, "--examiner", "B. Koch")
    assert one.decide(0, 0, status="relevant")[0] == 200
    found = other.ask("api/changes?rows=4&decisions=0")[1]
    assert found["decided"]["0"]["status"] == "relevant"
    assert other.decide(0, 0, status="not relevant")[0] == 409
    assert other.decide(0, 1, status="not relevant")[0] == 200
    assert [row.examiner for row in read_decisions(out)] == ["A. Meier", "B. Koch"]
    one.end()
    other.end()
    assert len(read_decisions(out)) == 2


def test_rows_of_a_running_scan_are_added(scanned: Path, tmp_path: Path) -> None:
    rows = [row for row in rows_of(scanned) if row["status"] == "ok"]
    out = made_of(scanned, tmp_path / "out", rows, scanned.parent / "in")
    record = record_of(out)
    lines = (out / RESULTS).read_bytes().splitlines(keepends=True)
    (out / RESULTS).write_bytes(lines[0] + lines[1][:50])
    running = Reviewing(out)
    assert len(running.ask("api/folder")[1]["rows"]) == 1
    (out / RESULTS).write_bytes(b"".join(lines))
    found = running.ask("api/changes?rows=1&decisions=0")[1]
    assert [row["path"] for row in found["rows"]] == [row["path"] for row in rows[1:]]
    assert found["finished"] == (record["sessions"][-1]["finished"] is not None)
    running.kill()


def test_decisions_are_refused_after_the_scan_was_restarted_or_moved(scanned: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(scanned, tmp_path / "out"))
    running = Reviewing(out)
    rows = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").unlink()
    (out / "results.jsonl").write_bytes(b"".join(reversed(rows)))
    status, answer = running.decide(0, 0, status="relevant")
    assert status == 507 and "was scanned again" in answer["error"] and not (out / "decisions.jsonl").exists()
    assert running.ask("api/changes?rows=4&decisions=0")[0] == 507
    assert running.end() == (0, undecided_output(4))

    moved = Reviewing(out)
    out.rename(tmp_path / "elsewhere")
    assert moved.decide(1, 0, status="relevant")[0] == 507
    status, answer = moved.ask("api/changes?rows=4&decisions=0")
    assert status == 507 and "is gone" in answer["error"]
    assert moved.end() == (0, undecided_output(4)) and not out.exists()


def undecided_output(files: int) -> str:
    return f"{files} files; Ctrl-C ends\nno picture was decided\n"


def test_score_scale_uses_authentic_scores_and_the_reliability_curve() -> None:
    bins = [(0.0, 0.5, 10, 1), (0.5, 1.0, 10, 8)]
    scale = ScoreScale(
        {"phones": [0.1 * n for n in range(9)], "scans": [0.5] * 3 + [0.95]},
        [ReliabilityBin(low=low, high=high, pictures=count, tampered=edited) for low, high, count, edited in bins],
    )
    reading = scale.read(0.9)
    assert reading.authentic and (reading.authentic.name, reading.authentic.exceeding) == ("scans", 1)
    assert reading.authentic.rate == pytest.approx(2 / 5)
    assert reading.bin == (0.5, 1.0, 10, 8)
    first, second = reading.sentences()
    assert "1 of the 4" in first and "8 were edited" in second and "45 % were" in second
    assert scale.read(0.99).one_in.startswith("fewer than 1 in 4")
    assert 0 < (reading.position or 0) < (scale.read(0.99).position or 0) < 1
    assert ScoreScale({}, ()).read(0.9).position is None
    for pictures, share in ((19, "5 %"), (299, "0.3 %"), (4999, "less than 0.1 %")):
        assert f": about {share} of such" in ScoreScale({"a": [0.1] * pictures}, ()).read(0.9).sentences()[0]


def test_pyramid_halves_to_one_tile_and_cache_is_bounded() -> None:
    pyramid = Pyramid.of(np.zeros((1300, 700, 3), np.uint8))
    assert [level.shape[:2] for level in pyramid.levels] == [(1300, 700), (650, 350), (325, 175)]
    assert pyramid.tile(0, 1, 2).shape == (276, 188, 3) and pyramid.tile(0, 2, 0) is None
    cache: BoundedCache[bytes] = BoundedCache(len, 100)
    made = []
    for key in (0, 1, 2, 0, 3, 1):
        cache.get(key, lambda key=key: made.append(key) or b"x" * 40)  # type: ignore[func-returns-value, misc]
    assert made == [0, 1, 2, 0, 3, 1], "two entries of 40 bytes fit, the least recently used is removed"
    assert cache.get(3, lambda: b"") == b"x" * 40


@pytest.mark.slow
def test_hundred_megapixel_pictures_need_less_than_two_gigabytes(scanned: Path, tmp_path: Path) -> None:
    out = large(scanned, tmp_path / "out", {"huge.tif": (11_600, 8_700), "next.tif": (11_600, 8_700)})
    running = Reviewing(out)
    for index in (0, 1):
        for layer in ("original", "wash", "ela"):
            levels = running.ask(f"api/pictures/{index}/layers/{layer}")[1]["levels"]
            for level in range(levels):
                assert running.ask(f"api/pictures/{index}/layers/{layer}/{level}/0/0")[0] == 200
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    running.kill()
    assert peak < 2_000_000, f"{peak} kB"


def test_export_without_decisions_does_not_change_the_scan(scanned: Path, tmp_path: Path, imltool: Imltool) -> None:
    out = Path(shutil.copytree(scanned, tmp_path / "out"))
    code, _, stderr = imltool("review", out, "--export", "--examiner", "A")
    assert code == 0 and "no picture was decided" in stderr and not (out / "decisions.csv").exists()
    assert imltool("verify", out)[0] == 0
