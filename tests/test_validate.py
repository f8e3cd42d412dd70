"""`imltool validate`: exact rates on the pictures of a laboratory, and a report with their conditions."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.outputs import interrupt
from helpers.pictures import forged, photo
from PIL import Image
from scipy.stats import beta

from imltool.files import sha256_file
from imltool.inference.localizer import Localizer
from imltool.student.header import CheckpointHeader, TrainingSet
from imltool.student.settings import StudentSettings
from imltool.validation.rates import exact_interval

CAMERAS = (("Maker", "One"), ("Maker", "Two"), None)
ARCHITECTURE = StudentSettings(input_size=64, backbone="nano")


def exif(camera: tuple[str, str]) -> Image.Exif:
    found = Image.Exif()
    found[271], found[272] = camera
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine authentic JPEGs of two cameras or no camera, and three edited PNGs with masks."""
    root = tmp_path_factory.mktemp("lab")
    for part in ("authentic", "tampered", "masks"):
        (root / part).mkdir()
    for index in range(9):
        camera = CAMERAS[index % 3]
        options: dict[str, Any] = {"exif": exif(camera)} if camera else {}
        quality = 96 if index < 4 else 60
        Image.fromarray(photo(index)).save(root / "authentic" / f"a{index}.jpg", quality=quality, **options)
    for index in range(3):
        rgb, mask = forged(50 + index)
        Image.fromarray(rgb).save(root / "tampered" / f"t{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"t{index}.png")
    return root


def write_checkpoint(path: Path, **fields: Any) -> Path:
    localizer = Localizer.untrained(ARCHITECTURE, torch.device("cpu"), seed=3)
    localizer.header = CheckpointHeader(name="tiny", architecture=ARCHITECTURE, **fields)
    localizer.save(path)
    return path


@pytest.fixture(scope="module")
def weights(lab: Path) -> Path:
    """A checkpoint calibrated so that four authentic pictures of the lab get an indication."""
    localizer = Localizer.load(write_checkpoint(lab / "plain.safetensors"), "cpu")
    pictures = [np.asarray(Image.open(path)) for path in sorted((lab / "authentic").iterdir())]
    from imltool.inference.localizer import image_score

    scores = sorted(image_score(values) for values in localizer.maps(pictures))
    between = (scores[4] + scores[5]) / 2
    return write_checkpoint(lab / "calibrated.safetensors", authentic_scores={"lab": (between,) * 40})


def arguments(lab: Path, weights: Path, out: Path, *more: object) -> tuple[object, ...]:
    edited = ("--tampered", lab / "tampered", "--masks", lab / "masks")
    return ("validate", "--authentic", lab / "authentic", *edited, "--weights", weights, "--out", out, *more)


def results_in(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "validation.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 20), (1, 20), (7, 20), (19, 20), (20, 20), (3, 400), (0, 0)])
def test_intervals_are_clopper_pearson(k: int, n: int) -> None:
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    assert exact_interval(k, n) == pytest.approx((low, high), abs=1e-9)


@pytest.fixture(scope="module")
def validated(lab: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from imltool.cli.app import run

    out = tmp_path_factory.mktemp("validated") / "out"
    more = ("--examiner", "A. B.", "--notes", "made <up>", "--engine", "torch", "--device", "cpu", "-q")
    assert run([str(word) for word in arguments(lab, weights, out, *more)]) == 0
    return out


def test_rates_follow_from_the_rows_of_the_scan(validated: Path) -> None:
    results = results_in(validated)
    with (validated / "pictures.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    by_side = {side: [row for row in rows if row["side"] == side] for side in ("authentic", "tampered")}
    flagged = {side: [row["verdict"] == "indication" for row in found] for side, found in by_side.items()}
    assert (sum(flagged["authentic"]), len(flagged["authentic"]), len(flagged["tampered"])) == (4, 9, 3)
    assert (results["false_alarms"]["k"], results["false_alarms"]["n"]) == (4, 9)
    assert (results["detections"]["k"], results["detections"]["n"]) == (sum(flagged["tampered"]), 3)
    low, high = beta.ppf(0.025, 4, 6), beta.ppf(0.975, 5, 5)
    assert (results["false_alarms"]["low"], results["false_alarms"]["high"]) == pytest.approx((low, high))
    scores = {side: [float(row["score"]) for row in found] for side, found in by_side.items()}
    wins = [(t > a) + 0.5 * (t == a) for t in scores["tampered"] for a in scores["authentic"]]
    assert results["image_auc"] == pytest.approx(np.mean(wins))
    assert results["quantiles"]["50"] == sorted(scores["authentic"])[4]
    assert results["localization"]["n"] == 3 and 0 <= results["localization"]["pixel_f1"] <= 1


def test_rates_are_grouped_by_camera_and_coding(validated: Path) -> None:
    groups = results_in(validated)["groups"]
    cameras = {one["name"]: (one["false_alarms"]["n"], one["detections"]["n"]) for one in groups["camera"]}
    assert cameras == {"no camera named": (3, 3), "Maker One": (3, 0), "Maker Two": (3, 0)}
    coding = {one["name"]: one["false_alarms"]["n"] + one["detections"]["n"] for one in groups["coding"]}
    assert coding == {"JPEG, quality 95 to 100": 4, "JPEG, quality 0 to 74": 5, "PNG": 3}
    for what in ("camera", "program", "coding"):
        assert sum(one["false_alarms"]["k"] for one in groups[what]) == 4, what


def test_report_states_rates_and_conditions(validated: Path, lab: Path, weights: Path) -> None:
    page = (validated / "report.html").read_text(encoding="utf-8")
    for text in ("4 of 9", "44.4 %", "13.7 % to 78.8 %", "A. B.", "made &lt;up&gt;", "Clopper-Pearson"):
        assert text in page, text
    assert sha256_file(weights) in page
    assert "imltool validate --authentic" in page and str(lab / "authentic") in page
    conditions = results_in(validated)["conditions"]
    assert conditions["checkpoint"] == "tiny" and conditions["engine"].startswith("torch")
    assert conditions["indication_threshold"] is not None
    assert f"{conditions['indication_threshold']:.6f}" in page, "as precise as the scores"
    record = json.loads((validated / "authentic/run.json").read_text(encoding="utf-8"))
    assert conditions["versions"] == record["libraries"] and conditions["platform"] == record["platform"]


def test_report_is_written_as_pdf(validated: Path) -> None:
    pytest.importorskip("weasyprint")
    pypdf = pytest.importorskip("pypdf")
    if not (validated / "report.pdf").exists():
        pytest.skip("this system has no Pango")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(validated / "report.pdf").pages)
    assert "Validation report" in text and "4 of 9" in text and "To repeat this" in text


def test_stopped_validation_resumes(
    lab: Path, weights: Path, validated: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    more = ("--no-pdf", "--engine", "torch", "--device", "cpu")
    assert imltool(*arguments(lab, weights, out, *more))[0] == 0
    before = results_in(out)
    rows = out / "authentic" / "results.jsonl"
    fifth = rows.read_bytes().splitlines(keepends=True)[4]
    interrupt(out / "authentic", 4)
    with rows.open("ab") as handle:
        handle.write(fifth[:20])
    for name in ("validation.json", "report.html", "pictures.csv"):
        (out / name).unlink()
    assert imltool(*arguments(lab, weights, out, *more))[0] == 0
    again = results_in(out)
    del again["conditions"], before["conditions"]
    assert again == before
    assert before["false_alarms"] == results_in(validated)["false_alarms"]
    code, _, error = imltool(*arguments(lab, weights, out, *more, "--sensitivity", "low"))
    assert code == 2 and "sensitivity" in error


def test_pictures_seen_by_the_checkpoint_are_reported(lab: Path, tmp_path: Path, imltool: Imltool) -> None:
    seen = TrainingSet(name="mine", files=(sha256_file(lab / "authentic" / "a3.jpg"),))
    weights = write_checkpoint(tmp_path / "w.safetensors", training_sets=(seen,), authentic_scores={"x": (0.1,) * 40})
    out = tmp_path / "out"
    alone = ("validate", "--authentic", lab / "authentic", "--weights", weights, "--out", out, "--no-pdf")
    code, _, error = imltool(*alone, "--device", "cpu")
    assert code == 0 and "1 picture was part of the checkpoint's training" in error and "a3.jpg" in error
    results = results_in(out)
    assert results["authentic"]["seen"] == ["a3.jpg"] and results["tampered"] is None
    assert "The rates do not hold for new pictures" in (out / "report.html").read_text(encoding="utf-8")


def test_broken_picture_is_in_no_rate_and_sets_the_exit_code(weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    folder = tmp_path / "authentic"
    folder.mkdir()
    Image.fromarray(photo(1)).save(folder / "a.jpg")
    (folder / "b.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    code, _, error = imltool("validate", "--authentic", folder, "--weights", weights, "--out", out, "--no-pdf")
    assert code == 3 and "1 picture could not be analysed, the first: b.jpg" in error
    results = results_in(out)
    assert results["false_alarms"]["n"] == 1 and list(results["authentic"]["failed"]) == ["b.jpg"]


def test_edited_picture_without_mask_is_left_out_of_localization(
    lab: Path, weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    copy = tmp_path / "lab"
    for part in ("authentic", "tampered", "masks"):
        shutil.copytree(lab / part, copy / part)
    (copy / "masks/t1.png").unlink()
    command = (*arguments(copy, weights, tmp_path / "out", "--no-pdf"), "--device", "cpu")
    code, _, error = imltool(*command)
    assert code == 1 and "1 of 3 pictures are left out: no mask 1 (t1.png)" in error
    assert "--max-left-out 0.34" in error and not (tmp_path / "out").exists()
    code, _, error = imltool(*command, "--max-left-out", "0.34")
    results = results_in(tmp_path / "out")
    assert code == 3 and results["localization"]["n"] == 2 and results["detections"]["n"] == 3
    assert results["localization"]["reason"] == "t1.png: no mask"


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--masks", "{lab}/masks"), 2, "give --tampered DIR too"),
        (("--authentic", "{lab}/nowhere"), 1, "is not a folder"),
        (("--authentic", "{tmp}/empty"), 1, "holds no picture"),
        (("--out", "{lab}"), 2, "is in --out"),
        (("--out", "{lab}/masks"), 2, "is not empty"),
    ],
)
def test_invalid_arguments_are_a_one_line_error(
    lab: Path, weights: Path, tmp_path: Path, imltool: Imltool, more: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    start = ("validate", "--authentic", lab / "authentic", "--weights", weights, "--out", tmp_path / "out")
    found, _, error = imltool(*start, *(word.format(lab=lab, tmp=tmp_path) for word in more))
    assert found == code and message in error and error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_each_other_are_refused(lab: Path, weights: Path, tmp_path: Path, imltool: Imltool) -> None:
    edited = tmp_path / "edited"
    shutil.copytree(lab / "tampered", edited)
    shutil.copytree(lab / "masks", edited / "truth")
    (tmp_path / "link").symlink_to(edited)
    common, out = ("--weights", weights), tmp_path / "out"
    for given in (
        ("--authentic", lab, "--tampered", lab / "tampered", "--out", out),
        ("--authentic", lab / "authentic", "--tampered", edited, "--masks", edited / "truth", "--out", out),
        ("--authentic", edited, "--tampered", tmp_path / "link", "--out", out),
        ("--authentic", lab / "authentic", "--out", lab / "authentic/out"),
        ("--authentic", lab / "authentic", "--out", lab),
    ):
        code, _, stderr = imltool("validate", *given, *common)
        assert code == 2 and " is in --" in stderr and stderr.count("\n") == 1
    assert not out.exists()


def test_pictures_without_extension_and_equal_files_are_accounted_for(
    lab: Path, weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    for index in range(3):
        caption = exif(("Maker", "Maker One"))
        caption[270] = f"Holiday {index}"
        if index == 2:
            caption[305] = "Firmware 1.1"
        Image.fromarray(photo(index, 64, 48)).save(tmp_path / f"a{index}.jpg", exif=caption)
    folders = {"authentic": ("a0", "a0", "a1", "a2"), "tampered": ("a1", "a2")}
    for side, names in folders.items():
        (tmp_path / side).mkdir()
        for index, name in enumerate(names):
            shutil.copy(tmp_path / f"{name}.jpg", tmp_path / side / f"IMG_{index}")
    out = tmp_path / "out"
    options = ("--authentic", tmp_path / "authentic", "--tampered", tmp_path / "tampered", "--no-pdf")
    code, _, stderr = imltool("validate", *options, "--weights", weights, "--out", out)
    results = results_in(out)
    assert code == 0 and (results["authentic"]["n"], results["tampered"]["n"]) == (4, 2)
    assert results["authentic"]["repeated"] == ["IMG_1"] and results["tampered"]["repeated"] == []
    assert results["on_both_sides"] == ["IMG_0", "IMG_1"]
    assert {one["name"] for one in results["groups"]["program"]} == {"no program named", "Firmware 1.1"}
    assert [one["name"] for one in results["groups"]["camera"]] == ["Maker One"]
    page = " ".join((out / "report.html").read_text(encoding="utf-8").split())
    for text in (
        "2 edited pictures are also among the authentic ones (IMG_0): one of the rates is wrong",
        "1 picture has the same bytes as another one (IMG_1)",
    ):
        assert text in page and text in " ".join(stderr.split())
