"""Published evaluation protocols against slow oracles, and in `imltool eval --compat`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.outputs import csv_in, sets_in
from helpers.pictures import make_set
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from imltool.cli.app import run
from imltool.evaluation.compat import PictureResult, imdlbenco, imdlbenco_padded, mvss, summarize, trufor

seeds = st.integers(0, 2**32 - 1)


def blob(seed: int, side: int = 40) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A noisy 16-bit map with many ties, and a truth rectangle, which may be tiny or the whole picture."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.bool_)
    top, left = rng.integers(0, side // 2, 2)
    height, width = rng.choice([1, 8, 17, 25, 2 * side], 2)
    mask[top : top + height, left : left + width] = True
    steps = int(rng.choice([1, 4, 65535]))
    values = rng.integers(0, steps + 1, (side, side)) / steps
    if rng.random() < 0.5:
        values = np.clip(0.5 * values + 0.4 * mask, 0, 1)
    return (np.rint(values * 65535) / 65535).astype(np.float32), mask


def bilinear(values: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Slow bilinear interpolation, pixel centres at half-integers, edges repeated."""
    height, width = values.shape

    def at(i: int, j: int) -> float:
        return float(values[min(max(i, 0), height - 1), min(max(j, 0), width - 1)])

    result = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            y, x = (i + 0.5) * height / side - 0.5, (j + 0.5) * width / side - 0.5
            top, left = math.floor(y), math.floor(x)
            dy, dx = y - top, x - left
            upper = (1 - dx) * at(top, left) + dx * at(top, left + 1)
            lower = (1 - dx) * at(top + 1, left) + dx * at(top + 1, left + 1)
            result[i, j] = (1 - dy) * upper + dy * lower
    return result


@pytest.mark.parametrize("seed", range(4))
def test_imdlbenco_resizes_before_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((9, 13)).astype(np.float32)
    mask = np.zeros((9, 13), np.bool_)
    mask[2:7, 3:9] = True
    side = 24
    predicted = bilinear(values, side) > 0.5
    rows, columns = (np.arange(side) * n // side for n in mask.shape)
    truth = mask[np.ix_(rows, columns)]
    found = imdlbenco(values, mask, side)
    assert found["f1"] == pytest.approx(f1_score(truth.ravel(), predicted.ravel()))
    assert found["iou"] == pytest.approx((truth & predicted).sum() / (truth | predicted).sum())


def test_imdlbenco_scores_every_authentic_picture_zero() -> None:
    empty = np.zeros((8, 8), np.bool_)
    for values in (np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)):
        assert set(imdlbenco(values, empty, 16).values()) == {0.0}
    nothing = dict.fromkeys(("f1", "f1_permuted", "iou", "auc"), 0.0)
    found = {"f1": 0.8, "f1_permuted": 0.9, "iou": 0.7, "auc": 0.6}
    summary = summarize("imdlbenco", [PictureResult(True, 0.9, found), PictureResult(False, 0.1, nothing)], 0)
    assert [summary.value(key) for key in ("f1", "f1_tampered", "iou")] == [0.4, 0.8, 0.35]
    assert [summary.value(key) for key in ("f1_permuted", "auc", "auc_tampered")] == [0.9, 0.3, 0.6]


@given(seeds)
def test_imdlbenco_auc_and_permuted_f1_agree_with_scikit_learn(seed: int) -> None:
    values, mask = blob(seed, 20)
    found, padded = imdlbenco(values, mask, 20), imdlbenco_padded(values, mask)
    truth, flagged = mask.ravel(), (values > 0.5).ravel()
    either = max(f1_score(truth, one, zero_division=0.0) for one in (flagged, ~flagged))
    assert found["f1_permuted"] == pytest.approx(either)
    assert found["auc"] == pytest.approx(math.nan if mask.all() else roc_auc_score(truth, values.ravel()), nan_ok=True)
    assert padded == pytest.approx(found, nan_ok=True), "padding does not change the metrics of a small picture"


def test_imdlbenco_padding_crops_large_pictures() -> None:
    mask = np.zeros((1100, 1030), np.bool_)
    mask[1000:1100, 1000:1030] = True
    values = np.where(mask, 0.9, 0.1).astype(np.float32)
    values[:20, :30] = 0.7
    inside = 24 * 24
    assert imdlbenco_padded(values, mask)["f1"] == pytest.approx(2 * inside / (2 * inside + 600))
    gone = np.zeros_like(mask)
    gone[1050:, :10] = True
    assert set(imdlbenco_padded(values, gone).values()) == {0.0}, "no truth pixel is left"


def trufor_oracle(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Every distinct value as threshold, map and inverted map, scikit-learn's F1, edges by scipy's filters."""
    inner = minimum_filter(mask, 15)
    kept = inner | ~maximum_filter(mask, 11)
    truth, found = inner[kept], values[kept]
    if not truth.size:
        return math.nan, math.nan

    def either(threshold: float) -> float:
        flagged = found > threshold
        return max(f1_score(truth, one, zero_division=0.0) for one in (flagged, ~flagged))  # type: ignore[no-any-return]

    half = found > 0.5
    fixed = math.nan if len(set(truth) | set(half)) == 1 else either(0.5)
    thresholds = np.unique(found)
    if thresholds.size > 40:  # scikit-learn is slow; the other cases cover all thresholds
        thresholds = thresholds[np.linspace(0, thresholds.size - 1, 40).astype(int)]
    return max(either(float(threshold)) for threshold in thresholds), fixed


@settings(max_examples=12)
@given(seeds)
def test_trufor_agrees_with_a_slow_oracle(seed: int) -> None:
    values, mask = blob(seed)
    best, fixed = trufor_oracle(values, mask)
    found = trufor(values, mask)
    assert found["f1_fixed"] == pytest.approx(fixed, nan_ok=True)
    if np.unique(values).size <= 40:
        assert found["f1_best"] == pytest.approx(best, nan_ok=True)
    else:
        assert found["f1_best"] >= best - 1e-9


def test_trufor_better_of_both_rewards_inverted_and_empty_maps() -> None:
    mask = np.zeros((200, 200), np.bool_)
    mask[50:150, 50:150] = True
    wrong = np.where(mask, 0.1, 0.9).astype(np.float32)
    assert trufor(wrong, mask) == {"f1_best": 1.0, "f1_fixed": 1.0}
    nothing = trufor(np.zeros((200, 200), np.float32), mask)["f1_fixed"]
    share = (86 * 86) / (86 * 86 + 200 * 200 - 110 * 110)
    assert nothing == pytest.approx(2 * share / (1 + share)), "inverted, an empty map marks everything"
    assert 0.3 < nothing < 0.45


def test_trufor_skips_pictures_like_the_published_code() -> None:
    tiny = np.zeros((40, 40), np.bool_)
    tiny[10:14, 10:14] = True  # nothing is left of it after erosion
    found = trufor(np.zeros((40, 40), np.float32), tiny)
    assert found["f1_best"] == 0.0
    assert math.isnan(found["f1_fixed"])
    rows = [PictureResult(True, 0.9, found), PictureResult(True, 0.8, {"f1_best": 0.6, "f1_fixed": 0.5})]
    rows += [PictureResult(False, 0.7, {}), PictureResult(False, 0.2, {})]
    summary = summarize("trufor", rows, 0)
    assert (summary.value("f1_best"), summary.value("f1_fixed"), summary.value("n_skipped")) == (0.3, 0.5, 1)
    assert summary.value("image_auc") == roc_auc_score([1, 1, 0, 0], [0.9, 0.8, 0.7, 0.2])
    assert summary.value("image_balanced_accuracy") == balanced_accuracy_score([1, 1, 0, 0], [1, 1, 1, 0])


@given(seeds)
def test_mvss_counts_on_eight_bit_maps(seed: int) -> None:
    values, mask = blob(seed, 20)
    levels = [[int(float(value) * 255 + 1e-3) for value in row] for row in values]
    predicted = np.array([[level / 255 > 0.5 for level in row] for row in levels])
    found = mvss(values, mask)
    assert found["f1"] == pytest.approx(f1_score(mask.ravel(), predicted.ravel(), zero_division=1.0))
    assert found["score"] == pytest.approx(max(map(max, levels)) / 255)


def test_mvss_keeps_stored_eight_bit_values() -> None:
    values = (np.arange(256, dtype=np.uint8)[None].astype(np.float32) / np.float32(255)).astype(np.float32)
    found = mvss(values, np.ones((1, 256), np.bool_))
    assert found["f1"] == pytest.approx(2 * 128 / (128 + 256)), "128 to 255 count, 127 does not"
    below = np.full((2, 2), 0.5015, np.float32)  # above 0.5, but 127 when cut to 8 bits
    assert mvss(below, np.ones((2, 2), np.bool_))["f1"] == 0.0


def test_mvss_image_f1_is_the_harmonic_mean_of_sensitivity_and_specificity() -> None:
    rows = [PictureResult(True, 0.0, {"f1": f1, "score": score}) for f1, score in ((0.5, 0.9), (0.7, 0.8), (0.0, 0.3))]
    rows += [PictureResult(False, 0.0, {"f1": 1.0, "score": score}) for score in (0.6, 0.1)]
    found = summarize("mvss", rows, 0)
    sensitivity, specificity = 2 / 3, 1 / 2
    image = 2 * sensitivity * specificity / (sensitivity + specificity)
    assert found.value("f1") == pytest.approx(0.4)
    assert found.value("image_f1") == pytest.approx(image)
    assert found.value("combined_f1") == pytest.approx(2 * 0.4 * image / (0.4 + image))
    assert found.value("image_auc") == pytest.approx(roc_auc_score([1, 1, 1, 0, 0], [0.9, 0.8, 0.3, 0.6, 0.1]))


def test_each_protocol_has_its_own_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["eval", "--weights", "none", "--baseline", "constant", "--data", f"x={make_set(tmp_path / 'x')}"]
    names = ("imdlbenco", "imdlbenco-padded", "trufor", "mvss")
    protocols = [*(word for name in names for word in ("--compat", name)), "--compat-size", "32"]
    assert run([*arguments, *protocols, "--out", str(out)]) == 0
    metrics = sets_in(out, "constant")["x"]
    compat = metrics["compat"]
    assert compat["imdlbenco"]["f1"] == pytest.approx(compat["imdlbenco"]["f1_tampered"] * 3 / 5)
    assert compat["mvss"]["f1"] == pytest.approx(metrics["pixel_f1"]), "a map of ones stays 1 in 8 bits"
    assert (compat["mvss"]["image_sensitivity"], compat["mvss"]["image_specificity"]) == (1.0, 0.0)
    assert compat["trufor"]["f1_best"] >= compat["trufor"]["f1_fixed"]
    table = (out / "table.md").read_text(encoding="utf-8")
    for name in names:
        assert table.count(f"## Measured as {name} does: ") == 1
    assert "--compat-size 32" in table
    rows = csv_in(out)
    fixed = [float(row["trufor_f1_fixed"]) for row in rows if row["trufor_f1_fixed"]]
    assert np.mean(fixed) == pytest.approx(compat["trufor"]["f1_fixed"], abs=1e-6)
    assert {row["imdlbenco_f1"] for row in rows if row["tampered"] == "0"} == {"0.0"}
    assert compat["imdlbenco"]["auc"] == pytest.approx(0.5 * 3 / 5), "a constant map has 0.5, an authentic picture 0"
    assert compat["imdlbenco-padded"]["f1_permuted"] == pytest.approx(metrics["pixel_f1"])
    padded = [float(row["imdlbenco-padded_auc"]) for row in rows]
    assert np.mean(padded) == pytest.approx(compat["imdlbenco-padded"]["auc"], abs=1e-6)


def test_results_without_a_protocol_cannot_be_resumed_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "--weights", "none", "--baseline", "constant", "--data", f"x={make_set(tmp_path / 'x', 1, 0)}"]
    assert run([*arguments, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert run([*arguments, "--compat", "trufor", "--out", str(tmp_path / "out")]) == 2
    assert "compat.trufor" in capsys.readouterr().err


def test_unknown_protocol_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "--weights", "none", "--baseline", "constant", "--data", f"x={make_set(tmp_path / 'x', 1, 0)}"]
    assert run([*arguments, "--compat", "magic", "--out", str(tmp_path / "out")]) == 2
    assert "imdlbenco, imdlbenco-padded, trufor, mvss" in capsys.readouterr().err


def test_min_max_changes_the_metrics_and_is_reported(tmp_path: Path) -> None:
    root = make_set(tmp_path / "x")
    for name, option in (("plain", []), ("stretched", ["--min-max"])):
        arguments = ["eval", "--weights", "none", "--baseline", "ela", "--data", f"x={root}", *option]
        assert run([*arguments, "--out", str(tmp_path / name)]) == 0
    plain, stretched = (sets_in(tmp_path / name, "ela")["x"]["pixel_f1"] for name in ("plain", "stretched"))
    assert plain != stretched
    assert "stretched to 0..1" in (tmp_path / "stretched" / "table.md").read_text(encoding="utf-8")
    assert "stretched" not in (tmp_path / "plain" / "table.md").read_text(encoding="utf-8")
