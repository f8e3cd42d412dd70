"""Every metric against a slow oracle: scikit-learn if it has the metric, otherwise plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as oracle

from imltool.errors import DataError
from imltool.evaluation import bootstrap, metrics
from imltool.evaluation.counts import (
    CURVE_THRESHOLDS,
    Counts,
    check_map,
    count_pixels,
    rank_pixels,
    stack,
)

seeds = st.integers(0, 2**32 - 1)


def picture(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A small map with many ties and a mask, which may be empty or full."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 9, 2)
    steps = int(rng.choice([1, 2, 5, 65535]))
    values = (rng.integers(0, steps + 1, shape) / steps).astype(np.float32)
    return values, rng.random(shape) < rng.choice([0.0, 0.1, 0.4, 0.9, 1.0])


def scores(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 7, rng.integers(1, 20)) / 6, rng.integers(0, 7, rng.integers(1, 20)) / 6


def counted(tp: int, fp: int, fn: int, tn: int) -> Counts:
    return Counts.from_array(np.array([tp, fp, fn, tn]))


@given(seeds, st.sampled_from([0.0, 0.2, 0.5, 0.73, 1.0]))
def test_counts_agree_with_a_loop_over_pixels(seed: int, threshold: float) -> None:
    values, mask = picture(seed)
    expected = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for value, truth in zip(values.ravel(), mask.ravel(), strict=True):
        expected[bool(value > np.float32(threshold)), bool(truth)] += 1
    c = count_pixels(values, mask, threshold)
    assert (c.tp, c.fp, c.fn, c.tn) == tuple(  # type: ignore[comparison-overlap]
        expected[key] for key in [(True, True), (True, False), (False, True), (False, False)]
    )


@given(seeds)
def test_threshold_metrics_agree_with_scikit_learn(seed: int) -> None:
    values, mask = picture(seed)
    truth, predicted = mask.ravel(), (values > 0.5).ravel()
    c = count_pixels(values, mask)
    assert metrics.f1(c) == pytest.approx(oracle.f1_score(truth, predicted, zero_division=1.0))
    assert metrics.iou(c) == pytest.approx(oracle.jaccard_score(truth, predicted, zero_division=1.0))
    if truth.any():
        assert metrics.recall(c) == pytest.approx(oracle.recall_score(truth, predicted))
    if predicted.any():
        assert metrics.precision(c) == pytest.approx(oracle.precision_score(truth, predicted))
    if 0 < truth.sum() < truth.size:
        assert metrics.mcc(c) == pytest.approx(oracle.matthews_corrcoef(truth, predicted), abs=1e-12)
    assert metrics.flagged_area(c) == pytest.approx(predicted.mean())


@given(seeds)
def test_curves_agree_with_scikit_learn_including_ties(seed: int) -> None:
    values, mask = picture(seed)
    levels = rank_pixels(values, mask)
    auc = float(metrics.auc(levels.tampered, levels.authentic))
    ap = float(metrics.average_precision(levels.tampered, levels.authentic))
    if 0 < mask.sum() < mask.size:
        assert auc == pytest.approx(oracle.roc_auc_score(mask.ravel(), values.ravel()))
    else:
        assert math.isnan(auc)
    if mask.any():
        assert ap == pytest.approx(oracle.average_precision_score(mask.ravel(), values.ravel()))
    else:
        assert math.isnan(ap)


def test_auc_counts_pairs() -> None:
    rng = np.random.default_rng(3)
    values, mask = (rng.integers(0, 5, (7, 6)) / 4).astype(np.float32), rng.random((7, 6)) < 0.3
    pairs = [(p > n) + 0.5 * (p == n) for p in values[mask] for n in values[~mask]]
    levels = rank_pixels(values, mask)
    assert metrics.auc(levels.tampered, levels.authentic) == pytest.approx(np.mean(pairs))


def test_curves_are_exact_for_maps_saturated_at_0_or_1() -> None:
    """Quantized to 16 bits, most of these pixels would be equal."""
    rng = np.random.default_rng(1)
    mask = rng.random((40, 50)) < 0.2
    for shift in (-15.0, 15.0):
        logits = rng.normal(shift, 1.0, mask.shape) + 4.0 * mask
        values = (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)
        ranking = rank_pixels(values, mask)
        truth, scores = mask.ravel(), values.ravel()
        expected = oracle.roc_auc_score(truth, scores), oracle.average_precision_score(truth, scores)
        sides = ranking.tampered, ranking.authentic
        assert (metrics.auc(*sides), metrics.average_precision(*sides)) == pytest.approx(expected, abs=1e-12)


@given(seeds)
def test_ranked_counts_agree_with_counting(seed: int) -> None:
    values, mask = picture(seed)
    values[0, 0] = -0.0
    ranking = rank_pixels(values, mask)
    assert (np.diff(ranking.values) > 0).all()
    for thresholds, counts in (
        (CURVE_THRESHOLDS[::50], ranking.counts_above(CURVE_THRESHOLDS[::50])),
        (ranking.values, ranking.counts_above()),
    ):
        expected = [count_pixels(values, mask, float(threshold)).as_array() for threshold in thresholds]
        assert counts.as_array().tolist() == np.array(expected).tolist()


def test_constant_map_is_chance() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[:2] = True
    levels = rank_pixels(np.full((6, 6), 0.5, np.float32), mask)
    assert metrics.auc(levels.tampered, levels.authentic) == 0.5
    assert metrics.average_precision(levels.tampered, levels.authentic) == pytest.approx(1 / 3)


def test_value_equal_to_the_threshold_is_not_predicted() -> None:
    c = count_pixels(np.array([[0.5, np.nextafter(np.float32(0.5), np.float32(1))]], np.float32), np.ones((1, 2), bool))
    assert (c.tp, c.fn) == (1, 1)  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("metric", [metrics.f1, metrics.iou, metrics.recall])
def test_without_truth_only_an_empty_prediction_is_right(metric: Callable[[Counts], object]) -> None:
    nothing, alarm, missed = counted(0, 0, 0, 9), counted(0, 2, 0, 7), counted(0, 0, 3, 6)
    assert (metric(nothing), metric(alarm), metric(missed)) == (1.0, 0.0, 0.0)
    assert [float(one(nothing, both_empty=0.0)) for one in (metrics.f1, metrics.iou)] == [0.0, 0.0]


def test_precision_without_predicted_pixels() -> None:
    assert metrics.precision(counted(0, 0, 0, 9)) == 1.0
    assert metrics.precision(counted(0, 0, 3, 6)) == 0.0


def test_mcc_is_signed_and_defined_for_single_class_pictures() -> None:
    assert metrics.mcc(counted(0, 5, 4, 0)) == pytest.approx(-1.0)
    assert metrics.mcc(counted(4, 0, 0, 5)) == pytest.approx(1.0)
    assert metrics.mcc(counted(0, 0, 0, 9)) == 1.0
    assert metrics.mcc(counted(3, 6, 0, 0)) == 0.0
    huge = 150_000_000  # a product of four such counts is far above 2**63
    assert metrics.mcc(counted(huge, huge, huge, huge)) == pytest.approx(0.0, abs=1e-12)


def test_pooled_f1_differs_from_averaged_f1() -> None:
    both = stack([counted(10, 0, 0, 90), counted(0, 0, 1, 99)])
    assert metrics.f1(both).tolist() == [1.0, 0.0]
    assert metrics.f1(Counts.from_array(both.as_array().sum(axis=0))) == pytest.approx(20 / 21)
    assert stack([]).tp.shape == (0,)


def test_best_threshold_is_one_for_all_pictures() -> None:
    curve = np.array([[1.0, 0.6, 0.0], [0.0, 0.6, 1.0]])
    assert metrics.best_threshold(curve) == 1
    assert np.float32(0.5) in CURVE_THRESHOLDS, "the best threshold is never worse than 0.5"


@given(seeds, st.sampled_from([0.0, 0.05, 0.1, 0.5, 1.0]))
def test_image_metrics_agree_with_scikit_learn(seed: int, fpr: float) -> None:
    tampered, authentic = scores(seed)
    truth = np.r_[np.ones(tampered.size), np.zeros(authentic.size)]
    every = np.r_[tampered, authentic]
    assert metrics.image_auc(tampered, authentic) == pytest.approx(oracle.roc_auc_score(truth, every))
    false, true, _ = oracle.roc_curve(truth, every, drop_intermediate=False)
    found = metrics.tpr_at_fpr(*metrics.score_levels(tampered, authentic), fpr)
    assert found == pytest.approx(true[false <= fpr + 1e-12].max())
    assert metrics.share_above(tampered, 0.5) == pytest.approx(sum(s > 0.5 for s in tampered) / tampered.size)


def test_image_metrics_are_nan_without_one_class() -> None:
    assert math.isnan(metrics.image_auc([0.1], []))
    assert math.isnan(metrics.tpr_at_fpr(*metrics.score_levels([], [0.1])))
    assert math.isnan(metrics.tpr_at_fpr(*metrics.score_levels([0.1], [])))
    assert math.isnan(metrics.share_above([], 0.5))
    assert math.isnan(metrics.mean_or_nan([float("nan")]))
    assert metrics.mean_or_nan([float("nan"), 0.5]) == 0.5


@pytest.mark.parametrize("fault", [float("nan"), -0.01, 1.01, float("inf")])
def test_map_with_invalid_values_is_refused(fault: float) -> None:
    values = np.full((2, 2), 0.5, np.float32)
    values[1, 0] = fault
    with pytest.raises(DataError, match=r"0\.\.1"):
        check_map(values, np.zeros((2, 2), bool))


def test_map_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="does not fit"):
        check_map(np.zeros((2, 3), np.float32), np.zeros((3, 2), bool))


def slow_interval(draws: list[float]) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def test_bootstrap_of_a_mean_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(5)
    values = rng.random(40)
    expected = slow_interval([rng.choice(values, 40).mean() for _ in range(4000)])
    assert bootstrap.mean_interval(values, 0) == pytest.approx(expected, abs=0.01)
    assert bootstrap.mean_interval(values, 0) == bootstrap.mean_interval(values, 0)
    assert bootstrap.mean_interval(values, 0) != bootstrap.mean_interval(values, 1)
    assert bootstrap.mean_interval([*values, float("nan")], 0) == bootstrap.mean_interval(values, 0)


def test_bootstrap_of_a_pooled_metric_resamples_pictures() -> None:
    rng = np.random.default_rng(6)
    rows = rng.integers(0, 50, (30, 4))
    sums = [rows[rng.integers(0, 30, 30)].sum(axis=0) for _ in range(2000)]
    draws = metrics.f1(Counts.from_array(np.stack(sums))).tolist()
    found = bootstrap.interval(lambda weights: metrics.f1(Counts.from_array(weights @ rows)), [30], 0)
    assert found == pytest.approx(slow_interval(draws), abs=0.015)


def scores_interval(
    tampered: ArrayLike, authentic: ArrayLike, metric: Callable[..., NDArray[np.float64]]
) -> tuple[float, float] | None:
    levels = bootstrap.resampled_levels(tampered, authentic)
    return bootstrap.interval(lambda *drawn: metric(*levels(*drawn)), [np.size(tampered), np.size(authentic)], 0)


def test_bootstrap_of_an_auc_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(7)
    tampered, authentic = np.round(rng.random(25) ** 0.6, 1), np.round(rng.random(15), 1)
    draws = [metrics.image_auc(rng.choice(tampered, 25), rng.choice(authentic, 15)) for _ in range(2000)]
    assert scores_interval(tampered, authentic, metrics.auc) == pytest.approx(slow_interval(draws), abs=0.03)
    assert scores_interval([0.8, 0.9], [0.1, 0.2], metrics.auc) == (1.0, 1.0)


def test_bootstrap_of_a_true_positive_rate_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(8)
    tampered, authentic = np.round(rng.random(30) ** 0.5, 2), np.round(rng.random(40), 2)
    drawn = [metrics.score_levels(rng.choice(tampered, 30), rng.choice(authentic, 40)) for _ in range(2000)]
    draws = [float(metrics.tpr_at_fpr(*levels)) for levels in drawn]
    assert scores_interval(tampered, authentic, metrics.tpr_at_fpr) == pytest.approx(slow_interval(draws), abs=0.04)


def test_chunked_resamples_equal_those_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(9).random(30)
    whole = bootstrap.mean_interval(values, 3)
    monkeypatch.setattr(bootstrap, "_CHUNK", 700)
    assert bootstrap.mean_interval(values, 3) == whole


def test_interval_needs_two_pictures() -> None:
    assert bootstrap.mean_interval([0.5], 0) is None
    assert scores_interval([0.5, 0.6], [0.5], metrics.auc) is None
    assert bootstrap.interval(lambda: np.zeros(0), [], 0) is None
