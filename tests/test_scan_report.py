"""`report.html`: content, self-containedness, and escaping of text from evidence."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import interrupt, rows_of
from helpers.pictures import photo, write_rgb
from PIL import Image

from imltool.cli.app import run
from imltool.pictures.images import read_rgb
from imltool.scan.report import percent, write_report
from imltool.scan.results import read_results
from imltool.scan.run_record import read_record

CPU = ("--device", "cpu", "-q")
HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;.png"
CLOSING = "</script><script>alert(1)</script>.png"  # folders named "<" and "script><script>alert(1)<"
TURNED = "turn\u202egnp.jpg"
TIMES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC(, continued \d+×)?")
SAMPLES = Path(__file__).parents[1] / "sample_images" / "splices" / "tampered"


class Markup(HTMLParser):
    """Tags with attributes, the text between them, and the content of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            tag, attributes, before = self.raw[-1]
            self.raw[-1] = (tag, attributes, before + data)
        else:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class Report:
    """A parsed report: the page, and the keys, table line, sheet and pictures of each case."""

    def __init__(self, file: Path) -> None:
        self.html = file.read_text(encoding="utf-8")
        self.page = Markup(self.html)
        blocks = [text for tag, attributes, text in self.page.raw if tag == "script" and "type" in attributes]
        assert len(blocks) % 4 == 0
        self.keys = [json.loads(text) for text in blocks[0::4]]
        self.lines = [Markup(text) for text in blocks[1::4]]
        self.sheets = [Markup(text) for text in blocks[2::4]]
        self.pictures = [json.loads(text) for text in blocks[3::4]]

    def sheet(self, name: str) -> Markup:
        return self.sheets[[key["name"] for key in self.keys].index(name)]

    @property
    def parts(self) -> list[Markup]:
        return [self.page, *self.lines, *self.sheets]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for seed, name in enumerate((HOSTILE, CLOSING, TURNED, "dark.png", "grey.png")):
        rgb = photo(seed, 120, 90) * ((seed + 2) / 8)  # random weights distinguish little but light from dark
        write_rgb(folder / name, rgb.astype(np.uint8))
    exif = Image.Exif()
    exif.update({0x010F: '"><img src=x onerror=alert(1)>', 0x0131: "GIMP </script><script>alert(1)</script>"})
    Image.fromarray(photo(9, 160, 100)).save(folder / "camera.jpg", exif=exif)
    (folder / "<script>bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "empty.png").touch()
    return folder


@pytest.fixture(scope="module")
def calibrated_weights(tiny_weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for which two of the six pictures have an indication and two are inconclusive."""
    import torch

    from imltool.inference.localizer import Localizer, image_score

    localizer = Localizer.load(tiny_weights, torch.device("cpu"))
    names = (HOSTILE, CLOSING, TURNED, "dark.png", "grey.png", "camera.jpg")
    scores = sorted(image_score(localizer.maps([read_rgb(folder / name)])[0]) for name in names)
    indicated, open_ = (scores[3] + scores[4]) / 2, (scores[1] + scores[2]) / 2
    found = {"authentic_scores": {"made up": (0.0,) * 16 + (open_,) * 3 + (indicated,)}, "score_fpr": 0.0}
    localizer.header = localizer.header.model_copy(update=found | {"score_threshold": indicated})
    path = tmp_path_factory.mktemp("calibrated_weights") / "calibrated_weights.safetensors"
    localizer.save(path)
    return path


@pytest.fixture(scope="module")
def out(calibrated_weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scan with everything a report can show."""
    out = tmp_path_factory.mktemp("scan") / "out"
    words: list[object] = ["scan", folder, "--out", out, "--weights", calibrated_weights, "--stability", *CPU]
    words += ["--companions", "noise,ela"]
    words += ["--case-id", "<i>2026/4</i>", "--examiner", "A. Łovelace", "--notes", "disk 3\nsecond\u202e line"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["imltool", *map(str, words)])  # recorded as the command line
        assert run([str(word) for word in words]) == 3
    return out


@pytest.fixture(scope="module")
def report(out: Path) -> Report:
    return Report(out / "report.html")


def test_report_is_one_file_without_network_requests(out: Path, report: Report) -> None:
    assert "http:" not in report.html and "https:" not in report.html
    for part in report.parts:
        assert not {tag for tag, _ in part.tags} & {"link", "iframe", "object", "embed", "base", "form"}
        for tag, attributes in part.tags:
            for name in ("src", "href", "srcset", "action", "data", "poster"):
                if (value := attributes.get(name)) is not None:
                    is_embedded = value.startswith("data:image/")
                    is_output = tag in ("a", "img") and re.match("(maps|masks|overlays|companions)/|#failed$", value)
                    assert is_embedded or is_output
    styles = [text for tag, _, text in report.page.raw if tag == "style"]
    assert styles and not any("url(" in text or "@import" in text for text in styles)
    policies = [a["content"] or "" for _, a in report.page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'") and "connect" not in policies[0]
    whole = [pictures for pictures in report.pictures if pictures]
    assert len(whole) == len(report.keys) == 6
    assert all(uri.startswith("data:image/") for pictures in whole for uri in pictures.values())
    for row in rows_of(out)[:1]:
        for name in (row["map"], row["mask"], row["overlay"], *row["companions"].values()):
            assert name and (out / name).is_file()


def test_text_from_evidence_is_escaped_in_the_page(out: Path, report: Report) -> None:
    scripts = [text for tag, attributes, text in report.page.raw if tag == "script" and "type" not in attributes]
    assert len(scripts) == 1 and "alert" not in scripts[0]
    for part in report.parts:
        assert not any(name.startswith("on") for _, attributes in part.tags for name in attributes)
        assert not any(attributes.get("src") == "x" for _, attributes in part.tags)
    assert all(not part.raw for part in (*report.lines, *report.sheets)), "a sheet has neither script nor style"
    assert "\u202e" not in report.html, "a name must not change the writing direction"
    shown = [row["path"].replace("\u202e", "\\u202e") for row in rows_of(out) if row["status"] == "ok"]
    assert sorted(key["name"] for key in report.keys) == sorted(shown) and CLOSING in shown and HOSTILE in shown
    for key, line, sheet in zip(report.keys, report.lines, report.sheets, strict=True):
        assert key["name"] in line.text and key["name"] in sheet.text
    sheet = report.sheet("camera.jpg")
    assert 'Camera"><img src=x onerror=alert(1)>' in sheet.text
    assert "saved by an editor (GIMP </script><script>alert(1)</script>)" in sheet.text
    assert "gimp </script>" in next(key["text"] for key in report.keys if key["name"] == "camera.jpg")
    assert "<script>bad.png" in report.page.text
    assert "<i>2026/4</i>" in report.page.text and "second\\u202e line" in report.page.text


def test_every_picture_has_an_alt_text(report: Report) -> None:
    for line, sheet, key in zip(report.lines, report.sheets, report.keys, strict=True):
        images = [attributes for tag, attributes in (*line.tags, *sheet.tags) if tag == "img"]
        assert len(images) == 1 + 4 + 2, "thumbnail; picture, map, and the overlay's two layers; two companions"
        texts = [attributes["alt"] for attributes in images]
        assert texts.count("") == 1, "only the lower layer of the overlay has an empty alt text"
        assert all(key["name"].rsplit("/", 1)[-1] in text for text in texts if text)
    assert {"lang": "en"} in [attributes for tag, attributes in report.page.tags if tag == "html"]


def test_report_header_states_verdicts_with_false_positive_rate(out: Path, report: Report) -> None:
    record = read_record(out)
    words = report.page.words
    point = record.verdicts.indication
    assert point and point.interval and point.rate
    low, high = point.interval
    expected = f"false positives: {percent(point.rate)} expected, 95 % interval {percent(low)} to {percent(high)}"
    assert " ".join(expected.split()) in words and f"score above {point.threshold:.4f} (sensitivity medium)" in words
    assert len(record.verdicts.notes) == 4 and all(note in words for note in record.verdicts.notes)
    assert "an indication, not a proof" in words
    counts = record.counts
    assert counts.indication + counts.inconclusive > 2, "the scan must have indications"
    tiles = (
        f"{counts.files}files {counts.indication}indication {counts.inconclusive}inconclusive "
        f"{counts.analysed - counts.indication - counts.inconclusive}no indication 2not analysed"
    )
    assert tiles in words
    for name in ("sha256", "name"):
        assert getattr(record.model, name) in words
    assert record.chain.head in words and f"{len(rows_of(out))} rows" in words
    assert "A. Łovelace" in words and "--notes 'disk 3\\nsecond\\u202e line'" in words


def test_every_case_shows_its_row(out: Path, report: Report) -> None:
    rows = {row["path"].replace("\u202e", "\\u202e"): row for row in rows_of(out) if row["status"] == "ok"}
    assert [key["score"] for key in report.keys] == sorted((row["score"] for row in rows.values()), reverse=True)
    for key, line, sheet in zip(report.keys, report.lines, report.sheets, strict=True):
        row = rows[key["name"]]
        assert (key["sha256"], key["verdict"], key["area"]) == (row["sha256"], row["verdict"], row["tampered_area"])
        assert row["verdict"] in line.words and f"{row['score']:.4f}" in line.words
        assert row["sha256"] in sheet.words and f"{row['width']} × {row['height']} px" in sheet.words
        assert f"score {row['score']:.4f}" in sheet.words and percent(row["tampered_area"]) in sheet.text
        files = row["outputs_sha256"].keys() - {row["preview"]}
        assert all(name.replace("\u202e", "\\u202e") in sheet.text for name in files)
        for region in row["regions"]:
            assert f"{region['x']}, {region['y']}" in sheet.words
        for one in row["stability"]:
            assert f"{one['change']}{one['score']:.4f}{one['verdict']}" in sheet.text
        if row["verdict_reason"]:
            assert row["verdict_reason"] in line.words and row["verdict_reason"] in sheet.words


def test_files_not_analysed_are_listed_with_the_reason(out: Path, report: Report) -> None:
    for row in rows_of(out):
        if row["status"] == "failed":
            assert f"{row['path']}SHA-256 {row['sha256']}{row['reason']}" in report.page.text
    assert "Not analysed" in report.page.text and "the file is empty" in report.page.text


def test_report_size_is_limited(tiny_weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    out = tmp_path / "out"
    assert imltool("scan", SAMPLES, "--out", out, "--weights", tiny_weights, *CPU)[0] == 0
    pictures = len(rows_of(out))
    assert pictures == 6 and (out / "report.html").stat().st_size < 100_000 + 60_000 * pictures


@pytest.mark.parametrize(
    ("options", "count", "caption"),
    [
        ((), 6, "6 pictures"),
        (("--top", "2"), 2, "2 of the 6 analysed pictures, those with the highest scores"),
        (("--only-indicated",), 2, "2 of the 6 analysed pictures, only those with an indication"),
        (
            ("--only-indicated", "--sensitivity", "low"),
            0,
            "0 of the 6 analysed pictures, only those with an indication",
        ),
    ],
)
def test_selection_is_stated_in_the_report(
    options: tuple[str, ...],
    count: int,
    caption: str,
    calibrated_weights: Path,
    folder: Path,
    tmp_path: Path,
    imltool: Imltool,
) -> None:
    weights = calibrated_weights
    if "low" in options:  # a threshold that no score reaches
        import torch

        from imltool.inference.localizer import Localizer

        localizer = Localizer.load(calibrated_weights, torch.device("cpu"))
        localizer.header = localizer.header.model_copy(update={"authentic_scores": {"bright": (1.0,) * 20}})
        localizer.save(weights := tmp_path / "strict.safetensors")
    out = tmp_path / "out"
    assert imltool("scan", folder, "--out", out, "--weights", weights, *options, *CPU)[0] == 3
    report = Report(out / "report.html")
    rows = sorted((row for row in rows_of(out) if row["status"] == "ok"), key=lambda row: -row["score"])
    assert [key["sha256"] for key in report.keys] == [row["sha256"] for row in rows[:count]]
    assert caption in report.page.words
    assert "the file is empty" in report.page.text, "a failed file is never left out"
    assert "Case file" not in report.html, "no case information was given"


def test_report_without_calibration_states_no_rate(
    tiny_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    assert imltool("scan", folder / "dark.png", "--out", out, "--weights", tiny_weights, *CPU)[0] == 0
    report = Report(out / "report.html")
    assert "its false positives are not measured" in report.page.words and "% expected" not in report.page.words
    assert report.keys[0]["verdict"] == "inconclusive" and "not calibrated" in report.sheets[0].words


@pytest.fixture
def moved(out: Path, folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Modifiable copies of the scan and of its evidence."""
    return shutil.copytree(out, tmp_path / "out"), shutil.copytree(folder, tmp_path / "in")


def test_report_shows_the_analysed_pictures_after_evidence_is_deleted(moved: tuple[Path, Path], report: Report) -> None:
    out, folder = moved
    shutil.rmtree(folder)
    assert len(list(write_report(out, read_record(out), read_results(out)))) == 8
    assert Report(out / "report.html").pictures == report.pictures


def test_changed_preview_is_not_shown(moved: tuple[Path, Path]) -> None:
    out, _ = moved
    shutil.copy(out / "previews/dark.png.json", out / "previews/grey.png.json")
    (out / "previews/camera.jpg.json").unlink()
    rows = rows_of(out)
    written = write_report(out, read_record(out), read_results(out))
    assert sorted(result.path for result in written) == sorted(row["path"] for row in rows)
    report = Report(out / "report.html")
    without_preview = {
        key["name"] for key, pictures in zip(report.keys, report.pictures, strict=True) if pictures is None
    }
    assert without_preview == {"grey.png", "camera.jpg"}
    for name in without_preview:
        row = next(row for row in rows if row["path"] == name)
        sheet = report.sheet(name)
        assert "preview of the picture is missing, or was changed after the scan" in sheet.words
        assert [a["src"] for tag, a in sheet.tags if tag == "img"][:2] == [row["overlay"], row["map"]]


def test_missing_outputs_leave_a_gap_without_error(moved: tuple[Path, Path]) -> None:
    out, _ = moved
    for name in ("maps", "overlays", "previews"):
        shutil.rmtree(out / name)
    assert len(list(write_report(out, read_record(out), read_results(out)))) == 8
    report = Report(out / "report.html")
    assert report.pictures == [None] * 6 and all("no preview" in line.text for line in report.lines)


def test_resumed_scan_gives_the_same_report(
    calibrated_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    pictures = (folder / "camera.jpg", folder / "dark.png", folder / "empty.png")
    command = ("scan", *pictures, "--out", out, "--weights", calibrated_weights, "--companions", "noise,ela", *CPU)
    assert imltool(*command)[0] == 3
    before = TIMES.sub("", (out / "report.html").read_text(encoding="utf-8"))
    interrupt(out, 1)
    assert imltool(*command)[0] == 3
    assert TIMES.sub("", (out / "report.html").read_text(encoding="utf-8")) == before


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (0.00049, "< 0.1 %"), (0.001, "0.1 %"), (0.0123, "1.2 %"), (1, "100.0 %")]
)
def test_small_shares_are_not_shown_as_zero(share: float, text: str) -> None:
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == text
