"""Strata, image-level metrics, curves and the report of `imltool eval`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.outputs import results_in
from helpers.pictures import forged, make_set, photo, write_rgb
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_curve, roc_curve

from imltool.cli.app import run
from imltool.evaluation import metrics
from imltool.evaluation.counts import CURVE_THRESHOLDS, Counts, stack
from imltool.evaluation.curves import precision_recall_points, reliability, roc_points
from imltool.evaluation.gallery import choose
from imltool.evaluation.roles import find_overlap
from imltool.evaluation.rows import HALF, Curve, ImageRow
from imltool.evaluation.summary import summarize_set
from imltool.pictures.images import write_mask

seeds = st.integers(0, 2**32 - 1)


def scores(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 7, rng.integers(1, 20)) / 6, rng.integers(0, 7, rng.integers(1, 20)) / 6


@given(seeds, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_operating_point_metrics_agree_with_scikit_learn(seed: int, threshold: float) -> None:
    tampered, authentic = scores(seed)
    truth = np.r_[np.ones(tampered.size), np.zeros(authentic.size)]
    flagged = np.r_[tampered, authentic] > threshold
    c = metrics.image_counts(tampered, authentic, threshold)
    assert metrics.balanced_accuracy(c) == pytest.approx(balanced_accuracy_score(truth, flagged))
    assert metrics.two_sided_f1(c) == pytest.approx(f1_score(truth, flagged, zero_division=0.0))


def test_operating_point_metrics_need_both_classes() -> None:
    for tampered, authentic in (([0.9], []), ([], [0.1])):
        c = metrics.image_counts(tampered, authentic, 0.5)
        assert np.isnan(metrics.balanced_accuracy(c))
        assert np.isnan(metrics.two_sided_f1(c))


def test_balanced_accuracy_interval_agrees_with_a_bootstrap_loop() -> None:
    rng = np.random.default_rng(4)
    tampered, authentic = rng.random(40) < 0.7, rng.random(30) < 0.2
    draws = [(rng.choice(tampered, 40).mean() + 1 - rng.choice(authentic, 30).mean()) / 2 for _ in range(3000)]
    rows = [scored_row(flag, True) for flag in tampered] + [scored_row(flag, False) for flag in authentic]
    overlap = find_overlap("x", {}, [])
    found = summarize_set("x", rows, overlap, score_threshold=0.5, seed=0).interval("image_balanced_accuracy")
    assert found == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=0.02)
    alone = summarize_set("x", rows[39:], overlap, score_threshold=0.5, seed=0)
    assert alone.n_tampered == 1 and alone.interval("image_balanced_accuracy") is None


def scored_row(flagged: bool, tampered: bool) -> ImageRow:
    counts = Counts.from_array(np.array([1, 0, 0, 3]))
    curve = Curve.of(stack([counts] * CURVE_THRESHOLDS.size)) if tampered else None
    return ImageRow(f"{flagged}", tampered, score=float(flagged), counts={HALF: counts}, curve=curve)


@given(seeds)
def test_image_curves_agree_with_scikit_learn(seed: int) -> None:
    tampered, authentic = scores(seed)
    truth = np.r_[np.ones(tampered.size), np.zeros(authentic.size)]
    every = np.r_[tampered, authentic]
    false, true, _ = roc_curve(truth, every, drop_intermediate=False)
    assert np.allclose(roc_points(tampered, authentic), (false, true))
    precision, recall, _ = precision_recall_curve(truth, every)
    found = precision_recall_points(tampered, authentic)
    assert np.allclose(found[0], recall[:-1][::-1])
    assert np.allclose(found[1], precision[:-1][::-1])


@given(seeds)
def test_reliability_groups_partition_pictures_and_keep_equal_scores_together(seed: int) -> None:
    tampered, authentic = scores(seed)
    found = reliability(tampered, authentic)
    groups, total = found.groups, tampered.size + authentic.size
    assert sum(group.n for group in groups) == total
    assert sum(group.n * group.tampered for group in groups) == pytest.approx(tampered.size)
    assert sum(group.n * group.score for group in groups) == pytest.approx(tampered.sum() + authentic.sum())
    assert len(groups) <= min(10, len(np.unique(np.r_[tampered, authentic])))
    expected = sum(group.n * abs(group.score - group.tampered) for group in groups) / total
    assert found.error == pytest.approx(expected)


def test_gallery_shows_each_picture_once() -> None:
    ranked = [(1 - i / 20, f"{i}.png") for i in range(20)]
    chosen = choose(ranked)
    assert [name for _, name in chosen["best"]] == ["0.png", "1.png", "2.png"]
    assert [name for _, name in chosen["median"]] == ["9.png", "10.png", "11.png"]
    assert [name for _, name in chosen["worst"]] == ["19.png", "18.png", "17.png"]
    few = [name for part in choose(ranked[:5]).values() for _, name in part]
    assert sorted(few) == ["0.png", "1.png", "2.png", "3.png", "4.png"]


def casia_like(root: Path) -> Path:
    """Ten forgeries with rectangles of growing height; even ones are splices by name, odd ones copy-moves."""
    for index in range(10):
        name = f"Sp_{'DS'[index % 2]}_NNN_A_ani{index:04d}_ani0001_{index:04d}"
        write_rgb(root / "tampered" / f"{name}.png", photo(index))
        mask = np.zeros((64, 96), np.bool_)
        mask[: 2 * (index + 1)] = True
        write_mask(root / "masks" / f"{name}.png", mask)
    write_rgb(root / "authentic" / "Au_ani_0001.png", photo(77))
    return root


def evaluated(out: Path, *data: str, options: Sequence[str] = ()) -> dict[str, Any]:
    arguments = ["eval", "--weights", "none", "--baseline", "constant"]
    assert run([*arguments, *(part for one in data for part in ("--data", one)), "--out", str(out), *options]) == 0
    return results_in(out)


def test_strata_by_area_and_by_kind_in_casia_names(tmp_path: Path) -> None:
    results = evaluated(tmp_path / "out", f"x={casia_like(tmp_path / 'x')}")
    strata = results["sets"]["x"]["strata"]
    areas = [2 * (index + 1) / 64 for index in range(10)]
    f1 = [2 * area / (1 + area) for area in areas]
    assert [one["n"] for one in strata["area"]] == [2] * 5
    for number, one in enumerate(strata["area"]):
        part = slice(2 * number, 2 * number + 2)
        assert one["area"] == pytest.approx([areas[part][0], areas[part][1]])
        assert one["pixel_f1"] == pytest.approx(np.mean(f1[part]))
        assert (one["pixel_recall"], one["pixel_precision"]) == (1.0, pytest.approx(np.mean(areas[part])))
    kinds = {one["stratum"]: one for one in strata["kind"]}
    assert kinds["splice"]["pixel_f1"] == pytest.approx(np.mean(f1[::2]))
    assert kinds["copymove"]["pixel_f1"] == pytest.approx(np.mean(f1[1::2]))
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "## By size of the edit" in table
    assert "| x | constant | copymove |" in table


def test_kinds_and_mask_rules_come_from_a_manifest(tmp_path: Path) -> None:
    lines = []
    for index, kind in enumerate(("removal", "removal", None)):
        rgb, mask = forged(index)
        write_rgb(tmp_path / "x" / f"{index}.png", rgb)
        write_mask(tmp_path / "x" / f"{index}_mask.png", ~mask)  # inverted, as the rule says
        rule = {"polarity": "dark"}
        lines.append({"image": f"{index}.png", "mask": f"{index}_mask.png", "kind": kind, "mask_rule": rule})
    write_rgb(tmp_path / "x" / "a.png", photo(9))
    lines.append({"image": "a.png", "kind": "authentic"})
    manifest = tmp_path / "x" / "set.jsonl"
    manifest.write_text("".join(json.dumps(line | {"source": "mine"}) + "\n" for line in lines), encoding="utf-8")
    set_metrics = evaluated(tmp_path / "out", f"x={manifest}")["sets"]["x"]
    assert (set_metrics["n_tampered"], set_metrics["n_authentic"]) == (3, 1)
    assert set_metrics["pixel_iou"] == pytest.approx(np.mean([forged(index)[1].mean() for index in range(3)]))
    assert {one["stratum"]: one["n"] for one in set_metrics["strata"]["kind"]} == {"removal": 2, "unknown": 1}


def test_distributed_set_is_read_with_its_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "CASIA 1.0"
    for index, source in enumerate("DSD"):
        rgb, mask = forged(index)
        stem = f"Sp_{source}_NNN_A_ani{index:04d}_ani0001_{index:04d}"
        write_rgb(root / "Sp" / f"{stem}.jpg", rgb)
        if index < 2:
            write_mask(root / "Gt" / f"{stem}_gt.png", mask)
    write_rgb(root / "Au" / "Au_ani_0001.jpg", photo(9))
    set_metrics = evaluated(tmp_path / "out", f"casia1:{root}", options=["--max-left-out", "0.25"])["sets"]["CASIA 1.0"]
    assert "1 file was left out" in capsys.readouterr().err
    assert (set_metrics["n_tampered"], set_metrics["n_authentic"]) == (2, 1)
    assert [one["stratum"] for one in set_metrics["strata"]["kind"]] == ["copymove", "splice"]


def test_kinds_of_a_folder_come_from_its_synth_journal(tmp_path: Path) -> None:
    root = make_set(tmp_path / "x")
    rows = [{"image": "tampered/t0.png", "kind": "retouch"}, {"image": "tampered/t1.png", "kind": "splice"}]
    (root / "synth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    strata = evaluated(tmp_path / "out", f"x={root}")["sets"]["x"]["strata"]
    assert [(one["stratum"], one["n"]) for one in strata["kind"]] == [("retouch", 1), ("splice", 1), ("unknown", 1)]


def test_set_without_kinds_has_no_table_of_kinds(tmp_path: Path) -> None:
    results = evaluated(tmp_path / "out", f"x={make_set(tmp_path / 'x')}")
    assert results["sets"]["x"]["strata"]["kind"] == []
    assert "By kind" not in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_report_is_self_contained_and_shows_metrics_and_pictures(tmp_path: Path) -> None:
    root = make_set(tmp_path / "x")
    name = "<b>x & y</b>"
    results = evaluated(tmp_path / "out", f"{name}={root}")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "<b>x & y" not in page, "names are text, not markup"
    assert page.count("data:image/svg+xml;base64,") == 5
    assert page.count("data:image/jpeg;base64,") == 3 * 3, "picture, truth and map of three tampered pictures"
    set_metrics = results["sets"][name]
    assert f"{set_metrics['pixel_f1']:.3f}" in page
    assert results["data"][name]["sha256"] in page
    assert results["versions"]["numpy"] in page
    assert "imltool eval --weights none --baseline constant --data" in page
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "## To repeat this" in table
    assert results["data"][name]["sha256"] in table


def test_restart_removes_only_its_own_previews(tmp_path: Path) -> None:
    out, root = tmp_path / "out", make_set(tmp_path / "x")
    evaluated(out, f"x={root}")
    previews = out / "previews"
    assert len(list(previews.iterdir())) == 5
    (previews / "mine.png").write_bytes(b"keep")
    arguments = ["eval", "--weights", "none", "--baseline", "ela", "--data", f"x={root}", "--out", str(out)]
    assert run([*arguments, "--restart"]) == 0
    assert (previews / "mine.png").read_bytes() == b"keep"
    assert len(list(previews.iterdir())) == 6
