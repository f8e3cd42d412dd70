"""The metrics of `imltool eval` on the sample pictures against scikit-learn on the same maps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.outputs import csv_in, sets_in

from imltool.cli.app import run
from imltool.data.folder import Sample, read_folder
from imltool.inference.localizer import Localizer
from imltool.pictures.images import read_map, read_mask, read_rgb

oracle = pytest.importorskip("sklearn.metrics")

SETS = Path(__file__).parents[1] / "sample_images"
NAME = "copymoves"
STUDENT = "boxprompt"
QUIET = ("--device", "cpu", "-q")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scan the forgeries of a sample set, then evaluate the maps that the scan wrote and, apart, the student that made
    them on the whole set."""
    base = tmp_path_factory.mktemp("cross")
    forged, whole = base / "forged", f"{NAME}={SETS / NAME}"
    for folder in ("tampered", "masks"):
        shutil.copytree(SETS / NAME / folder, forged / folder)
    assert run(["scan", str(forged), "--weights", STUDENT, "--out", str(base / "scan"), *QUIET]) == 0
    maps = ["--maps", str(base / "scan/maps"), "--data", f"{NAME}={forged}"]
    assert run(["eval", *maps, "--out", str(base / "maps"), *QUIET]) == 0
    assert run(["eval", "--weights", STUDENT, "--data", whole, "--out", str(base / "student"), *QUIET]) == 0
    return base


def rows_in(out: Path) -> dict[str, dict[str, str]]:
    return {row["image"]: row for row in csv_in(out)}


def scikit_learn_metrics(truth: Any, values: Any) -> dict[str, float]:
    """Metrics by scikit-learn; `truth` bool [H,W], `values` float [H,W]."""
    truth, values = truth.ravel(), values.ravel()
    predicted = values > 0.5
    return {
        "f1": oracle.f1_score(truth, predicted),
        "iou": oracle.jaccard_score(truth, predicted),
        "mcc": oracle.matthews_corrcoef(truth, predicted),
        "recall": oracle.recall_score(truth, predicted),
        "auc": oracle.roc_auc_score(truth, values),
        "ap": oracle.average_precision_score(truth, values),
    }


def tampered() -> list[tuple[Sample, Any]]:
    return [(one, read_mask(one.mask)) for one in read_folder(SETS / NAME).samples if one.mask is not None]


@pytest.mark.slow
def test_metrics_of_written_maps_agree_with_scikit_learn(scanned: Path) -> None:
    """All metrics agree to the precision of the CSV file."""
    rows = rows_in(scanned / "maps")
    expected = {}
    for sample, truth in tampered():
        values = read_map(scanned / "scan/maps" / f"{sample.name}.png")
        expected[sample.name] = scikit_learn_metrics(truth, values)
        found = {key: float(rows[sample.name][key]) for key in expected[sample.name]}
        assert found == pytest.approx(expected[sample.name], abs=1e-6), sample.name
    assert len(expected) == 5
    block = sets_in(scanned / "maps", "maps")[NAME]
    for key in ("f1", "iou", "mcc", "recall", "auc", "ap"):
        mean = np.mean([one[key] for one in expected.values()])
        assert block[f"pixel_{key}"] == pytest.approx(mean, abs=1e-9), key


@pytest.mark.slow
def test_metrics_of_float_maps_agree_with_scikit_learn(scanned: Path) -> None:
    """Also AUC and AP: float values that differ are never counted as ties."""
    rows = rows_in(scanned / "student")
    localizer = Localizer.load(Path(STUDENT), torch.device("cpu"))
    for sample, truth in tampered():
        (values,) = localizer.maps([read_rgb(sample.image)])
        expected = scikit_learn_metrics(truth, values)
        found = {key: float(rows[sample.name][key]) for key in expected}
        assert found == pytest.approx(expected, abs=1e-6), sample.name


def test_image_level_metrics_agree_with_scikit_learn(scanned: Path) -> None:
    results = json.loads((scanned / "student/results.json").read_text(encoding="utf-8"))
    rows = rows_in(scanned / "student").values()
    truth, scores = [row["tampered"] == "1" for row in rows], np.array([float(row["score"]) for row in rows])
    flagged = scores > results["checkpoint"]["score_threshold"]
    block = results["sets"][NAME]
    assert block["image_auc"] == pytest.approx(oracle.roc_auc_score(truth, scores), abs=1e-9)
    assert block["image_balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, flagged), abs=1e-9)
    assert block["image_f1"] == pytest.approx(oracle.f1_score(truth, flagged), abs=1e-9)
