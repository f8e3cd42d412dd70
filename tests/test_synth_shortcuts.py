"""Shortcut cues of synthetic forgeries: planted cues are found, and an unbiased generator has none."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helpers.synth_sources import make_forge, make_sources
from numpy.typing import NDArray
from shortcut_cues import (
    Judged,
    compare_regions,
    cue_aucs,
    joint_auc,
    misplaced_mask,
    picture_cues,
    region_cues,
    stronger,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from imltool.errors import DataError
from imltool.pictures.images import encode_jpeg
from imltool.synth.forge import sample_rng


def picture(seed: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(
        rng.integers(40, 215, (8, 10, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def disc(seed: int, height: int = 120, width: int = 160) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    x, y, radius = rng.uniform(25, width - 25), rng.uniform(25, height - 25), rng.uniform(12, 22)
    rows, columns = np.mgrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2  # type: ignore[no-any-return]


def items(count: int, change: str = "") -> list[Judged]:
    made = []
    for seed in range(count):
        rgb, mask = picture(seed), disc(seed)
        if change == "light":
            rgb[mask] = np.clip(rgb[mask].astype(int) + 70, 0, 255)
        elif change == "smooth":
            rgb = np.where(mask[..., None], cv2.GaussianBlur(rgb, (0, 0), 2.0), rgb)
        made.append(Judged(rgb, mask, None, f"picture{seed}"))
    return made


def aucs(made: list[Judged]) -> dict[str, float]:
    true, false, _ = compare_regions(made)
    return cue_aucs(true, false)  # type: ignore[no-any-return]


def test_only_planted_cues_stand_out() -> None:
    plain, light, smooth = aucs(items(60)), aucs(items(60, "light")), aucs(items(60, "smooth"))
    assert all(abs(value - 0.5) < 0.2 for value in plain.values())
    assert light["light"] > 0.9 and light["outline"] > 0.9 and abs(light["detail"] - 0.5) < 0.2
    assert smooth["detail"] < 0.1 and abs(smooth["light"] - 0.5) < 0.2
    assert set(stronger(light, plain)) >= {"light", "outline"} and "detail" in stronger(smooth, plain)
    assert stronger(plain, plain) == []


def test_picture_cues_measure_the_last_jpeg_and_blockiness() -> None:
    rgb = picture(0)
    cues = []
    for quality in (30, 90):
        file = encode_jpeg(rgb, quality, 2)
        decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        cues.append(picture_cues(Judged(decoded, np.zeros(rgb.shape[:2], bool), file, "a")))  # type: ignore[arg-type]
    lossless = picture_cues(Judged(rgb, np.zeros(rgb.shape[:2], bool), None, "a"))
    assert cues[0]["quantisation"] > cues[1]["quantisation"] > lossless["quantisation"] == 0
    assert cues[0]["blockiness"] > lossless["blockiness"] + 0.3
    assert lossless["long_side"] == 160 and lossless["aspect"] == pytest.approx(np.log(160 / 120))


def test_region_cues_are_finite_for_extreme_masks() -> None:
    for mask in (np.zeros((120, 160), bool), np.ones((120, 160), bool)):
        mask[60, 80] = not mask[60, 80]  # one pixel inside, or one outside
        assert all(np.isfinite(value) for value in region_cues(picture(1), mask).values())


def test_misplaced_mask_is_elsewhere_and_reproducible() -> None:
    others = [disc(seed) for seed in range(5)]
    for seed in range(20):
        mask = disc(seed)
        wrong = misplaced_mask(np.random.default_rng(seed), mask, others)
        assert wrong is not None and wrong.shape == mask.shape and wrong.any()
        assert (wrong & mask).sum() < 0.2 * min(wrong.sum(), mask.sum())
        assert np.array_equal(wrong, misplaced_mask(np.random.default_rng(seed), mask, others))
    everywhere = np.ones((80, 80), bool)
    assert misplaced_mask(np.random.default_rng(0), everywhere, [everywhere]) is None


def test_joint_auc_agrees_with_ridge_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    true = [{"a": float(a), "b": float(b)} for a, b in rng.normal(0.6, 1.0, (90, 2))]
    false = [{"a": float(a), "b": float(b)} for a, b in rng.normal(0.0, 1.0, (80, 2))]
    groups = [f"t{index}" for index in range(90)], [f"f{index}" for index in range(80)]
    values = np.array([list(cues.values()) for cues in true + false])
    labels = np.repeat([1, 0], [90, 80])
    fold, scores = np.arange(170) % 5, []
    for number in range(5):
        train, test = fold != number, fold == number
        scale = values[train].std(axis=0)
        model = LogisticRegression(C=1.0, tol=1e-8).fit(
            (values[train] - values[train].mean(axis=0)) / scale, labels[train]
        )
        guessed = model.decision_function((values[test] - values[train].mean(axis=0)) / scale)
        scores.append(roc_auc_score(labels[test], guessed))
    assert joint_auc(true, false, groups) == pytest.approx(np.mean(scores), abs=1e-3)


def test_cross_validation_keeps_pictures_of_one_source_together() -> None:
    rng = np.random.default_rng(1)
    # cues that only identify the source, and sources that are all true or all false: a leak would raise the AUC
    source = rng.normal(0, 1, (40, 6))
    cues = [{str(key): float(value) for key, value in enumerate(row)} for row in np.repeat(source, 8, axis=0)]
    names = [f"source{index // 8}" for index in range(320)]
    chosen = np.repeat(rng.permutation(40) < 20, 8)
    true, false = (
        [cue for cue, is_true in zip(cues, chosen, strict=True) if is_true == side] for side in (True, False)
    )
    groups = tuple(
        [name for name, is_true in zip(names, chosen, strict=True) if is_true == side] for side in (True, False)
    )
    together, apart = (
        joint_auc(true, false, groups),  # type: ignore[arg-type]
        joint_auc(true, false, tuple([str(i) for i in range(k)] for k in (160, 160))),  # type: ignore[arg-type]
    )
    assert together < apart and together < 0.7


def test_empty_comparison_is_a_data_error() -> None:
    with pytest.raises(DataError, match="no pictures"):
        cue_aucs([], [])
    empty = Judged(picture(0), np.zeros((120, 160), bool), None, "a")
    assert compare_regions([empty]) == ([], [], [])


def test_forge_has_no_picture_level_shortcuts(tmp_path_factory: pytest.TempPathFactory) -> None:
    forge = make_forge(make_sources(tmp_path_factory.mktemp("sources")))
    sides = [
        [picture_cues(Judged(one.image, one.mask, one.file, one.record.host)) for one in made]
        for made in (
            [forge.make(sample_rng(0, index)) for index in range(80)],
            [forge.make(sample_rng(1, index), "authentic") for index in range(80)],
        )
    ]
    assert all(0.35 < value < 0.65 for value in cue_aucs(*sides).values())
