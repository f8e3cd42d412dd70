"""`imltool eval --robust`: the degradations, their seeds, and resuming a stopped run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.outputs import results_in
from helpers.pictures import forged, make_set, photo
from PIL import Image
from scipy.ndimage import gaussian_filter

from imltool.cli.app import run
from imltool.data.folder import read_folder
from imltool.evaluation.degradations import DEGRADATIONS, degrade
from imltool.evaluation.methods import error_level_analysis
from imltool.pictures.images import read_mask, read_rgb


def test_jpeg_degradation_equals_pillow_with_420_subsampling() -> None:
    rgb, mask = forged(1)
    for quality in DEGRADATIONS["jpeg"].levels:
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.array(Image.open(buffer).convert("RGB"))
        found, same = degrade("jpeg", quality, rgb, mask, "a.png", 0)
        assert (found == expected).all()
        assert same is mask


@pytest.mark.parametrize("kernel", DEGRADATIONS["blur"].levels)
def test_blur_follows_the_rule_for_sigma(kernel: int) -> None:
    rgb, mask = photo(2, 60, 50), np.ones((50, 60), np.bool_)
    found, _ = degrade("blur", kernel, rgb, mask, "a.png", 0)
    sigma, radius = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8, (kernel - 1) // 2
    expected = gaussian_filter(rgb.astype(float), (sigma, sigma, 0), mode="mirror", radius=(radius, radius, 0))
    assert np.abs(found - expected).max() <= 1.5


@pytest.mark.parametrize("sigma", DEGRADATIONS["noise"].levels)
def test_noise_has_the_stated_standard_deviation(sigma: int) -> None:
    rgb, mask = np.full((200, 200, 3), 128, np.uint8), np.zeros((200, 200), np.bool_)
    found, _ = degrade("noise", sigma, rgb, mask, "a.png", 0)
    change = found.astype(float) - 128
    assert change.std() == pytest.approx(sigma, rel=0.03)
    assert abs(change.mean()) < 0.03 * sigma
    again, _ = degrade("noise", sigma, rgb, mask, "a.png", 0)
    other, _ = degrade("noise", sigma, rgb, mask, "b.png", 0)
    seeded, _ = degrade("noise", sigma, rgb, mask, "a.png", 1)
    assert (again == found).all()
    assert (other != found).any()
    assert (seeded != found).any()


@pytest.mark.parametrize("factor", DEGRADATIONS["resize"].levels)
def test_truth_mask_is_resized_with_the_picture(factor: float) -> None:
    rgb, mask = forged(3, 120, 80)
    small, truth = degrade("resize", factor, rgb, mask, "a.png", 0)
    assert small.shape == (round(80 * factor), round(120 * factor), 3)
    assert truth.shape == small.shape[:2]
    assert truth.mean() == pytest.approx(mask.mean(), abs=0.02)
    marked = cv2.resize(small, (120, 80))[mask].mean()
    assert marked == pytest.approx(rgb[mask].mean(), abs=8)


def test_screenshot_keeps_the_truth_mask_aligned() -> None:
    mask = np.zeros((900, 1600), np.bool_)
    mask[200:700, 300:1300] = True
    rgb = np.where(mask[..., None], 250, 5).astype(np.uint8).repeat(3, axis=2)
    shot, truth = degrade("screenshot", "png", rgb, mask, "a.png", 0)
    assert shot.shape[:2] == truth.shape == (round(720 * 0.9), round(1280 * 0.9))
    assert ((shot[..., 0] > 127) == truth).mean() > 0.995
    other = degrade("screenshot", "png", rgb, mask, "b.png", 0)[1]
    assert (other != truth).any(), "the position of the crop is random"


def test_upload_shrinks_large_pictures_only() -> None:
    rgb, mask = forged(5, 1500, 1000)
    found, truth = degrade("upload", "heavy", rgb, mask, "a.png", 0)
    assert found.shape == (720, 1080, 3)
    assert truth.mean() == pytest.approx(mask.mean(), abs=0.01)
    same, _ = degrade("upload", "light", rgb, mask, "a.png", 0)
    assert same.shape == rgb.shape


def evaluate(root: Path, out: Path, *arguments: str) -> int:
    return run(["eval", "--weights", "none", "--baseline", "ela", "--data", f"x={root}", "--out", str(out), *arguments])


def robust_in(out: Path) -> dict[str, Any]:
    return results_in(out)["robust"]  # type: ignore[no-any-return]


def test_metrics_are_computed_on_the_degraded_pictures(tmp_path: Path) -> None:
    root, out = make_set(tmp_path / "x", 3, 2), tmp_path / "out"
    assert evaluate(root, out, "--robust", "resize,blur", "--seed", "7") == 0
    tables = robust_in(out)["methods"]["ela"]["x"]
    assert list(tables) == ["blur", "resize"]
    assert [line["level"] for line in tables["resize"]] == ["none", "2.0", "1.5", "0.75", "0.5", "0.25"]
    samples = read_folder(root).samples

    def expected(name: str, level: Any) -> tuple[list[float], list[float]]:
        f1, area = [], []
        for sample in samples:
            rgb = read_rgb(sample.image)
            mask = read_mask(sample.mask) if sample.mask else np.zeros(rgb.shape[:2], np.bool_)
            if name != "none":
                rgb, mask = degrade(name, level, rgb, mask, sample.name, 7)
            flagged = error_level_analysis(rgb) > 0.5
            if sample.mask:
                f1.append(2 * (flagged & mask).sum() / (flagged.sum() + mask.sum()))
            else:
                area.append(float(flagged.mean()))
        return f1, area

    clean, _ = expected("none", None)
    assert tables["blur"][0]["pixel_f1"] == pytest.approx(np.mean(clean), abs=1e-6)
    for name, level, line in (("resize", 0.5, tables["resize"][4]), ("blur", 7, tables["blur"][2])):
        f1, area = expected(name, level)
        assert line["level"] == str(level)
        assert line["pixel_f1"] == pytest.approx(np.mean(f1))
        assert line["fp_area"] == pytest.approx(np.mean(area))
        assert line["pixel_f1_change"] == pytest.approx(np.mean(f1) - np.mean(clean), abs=1e-6)
        assert (line["n_tampered"], line["n_authentic"], line["n_failed"]) == (3, 2, 0)
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "## Robustness: Resizing" in table
    assert "libjpeg" in table
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 5 + 2, "one curve per degradation"


def test_stopped_run_resumes_with_the_missing_rows(tmp_path: Path) -> None:
    root, out = make_set(tmp_path / "x", 2, 1), tmp_path / "out"
    assert evaluate(root, out, "--robust", "noise,jpeg") == 0
    journal = out / "robust.jsonl"
    whole, metrics = journal.read_text(encoding="utf-8").splitlines(), robust_in(out)
    assert len(whole) == 1 + 12 * 3
    # half of the rows and a truncated one; the changed score survives only if the row is not measured again
    first = json.loads(whole[1])
    first["score"] = 0.75
    journal.write_text("\n".join([whole[0], json.dumps(first), *whole[2:20], whole[20][:30]]), encoding="utf-8")
    assert evaluate(root, out, "--robust", "noise,jpeg") == 0
    again = journal.read_text(encoding="utf-8").splitlines()
    assert sorted(again[2:]) == sorted(whole[2:])
    assert json.loads(again[1])["score"] == 0.75
    metrics["methods"]["ela"]["x"]["jpeg"][1].pop("image_auc")
    found = robust_in(out)
    found["methods"]["ela"]["x"]["jpeg"][1].pop("image_auc")
    assert found == metrics


def test_levels_without_all_pictures_are_left_out_of_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_set(tmp_path / "x", 2, 1), tmp_path / "out"
    assert evaluate(root, out, "--robust", "upload") == 0
    whole = robust_in(out)["methods"]["ela"]["x"]["upload"]
    journal = out / "robust.jsonl"
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + 3 + 2]), encoding="utf-8")  # stopped in the second of three levels
    capsys.readouterr()
    assert evaluate(root, out) == 0
    assert robust_in(out)["methods"]["ela"]["x"]["upload"] == whole[:2]
    assert "levels of upload without all pictures are not in the tables" in capsys.readouterr().err
    assert evaluate(root, out, "--robust", "upload") == 0
    assert robust_in(out)["methods"]["ela"]["x"]["upload"] == whole
    assert "without all pictures" not in capsys.readouterr().err


def test_new_degradation_is_added_to_previous_ones(tmp_path: Path) -> None:
    root, out = make_set(tmp_path / "x", 2, 1), tmp_path / "out"
    assert evaluate(root, out, "--robust", "screenshot") == 0
    before = robust_in(out)["methods"]["ela"]["x"]["screenshot"]
    assert evaluate(root, out, "--robust", "upload") == 0
    found = robust_in(out)["methods"]["ela"]["x"]
    assert found.keys() == {"screenshot", "upload"} and found["screenshot"] == before
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Robustness: Screenshot" in page and "Robustness: Double JPEG" in page


def test_rows_of_other_encoder_versions_are_measured_again(tmp_path: Path) -> None:
    root, out = make_set(tmp_path / "x", 1, 1), tmp_path / "out"
    assert evaluate(root, out, "--robust", "screenshot") == 0
    journal = out / "robust.jsonl"
    rows = journal.read_text(encoding="utf-8").splitlines()
    head = json.loads(rows[0])
    head["encoders"]["opencv"] = "0.0.1"
    mark = json.loads(rows[1]) | {"score": 0.5}
    journal.write_text("\n".join([json.dumps(head), json.dumps(mark), *rows[2:]]) + "\n", encoding="utf-8")
    assert evaluate(root, out, "--robust", "screenshot") == 0
    assert journal.read_text(encoding="utf-8").splitlines() == rows


def test_edit_lost_by_resizing_is_counted_as_failed(tmp_path: Path) -> None:
    root, out = make_set(tmp_path / "x", 2, 1), tmp_path / "out"
    dot = np.zeros((64, 96), np.bool_)
    dot[10, 11] = True
    Image.fromarray(dot).save(root / "masks" / "t0.png")
    assert evaluate(root, out, "--robust", "resize") == 0
    quarter = robust_in(out)["methods"]["ela"]["x"]["resize"][-1]
    assert (quarter["level"], quarter["n_tampered"], quarter["n_failed"]) == ("0.25", 1, 1)


def test_unknown_degradation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(make_set(tmp_path / "x", 1, 0), tmp_path / "out", "--robust", "jpeg,rain") == 2
    assert "'rain'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
