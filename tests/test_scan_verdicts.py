"""Verdicts: rates supported by a calibration, uncalibrated checkpoints, and unstable verdicts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.outputs import interrupt, record_of, rows_by_path
from helpers.pictures import photo, write_rgb
from scipy.stats import beta

from imltool.scan.stability import settle
from imltool.scan.verdicts import INCONCLUSIVE_RATE, RATES, SENSITIVITIES, WORDS, choose_verdicts
from imltool.student.header import CheckpointHeader, read_header
from imltool.student.operating_points import KindRate, operating_point, pictures_needed
from imltool.weights import student_file

CPU = ("--device", "cpu", "-q")


def slow_point(authentic: dict[str, list[float]], rate: float) -> float:
    """The lowest score that new pictures of every kind exceed at most at the given rate, by trying all scores."""

    def promised(scores: list[float], threshold: float) -> float:
        # a new picture may have any of len + 1 ranks, of which one more than the measured ones is above the threshold
        return (sum(score > threshold for score in scores) + 1) / (len(scores) + 1)

    candidates = sorted(score for scores in authentic.values() for score in scores)
    for threshold in candidates:
        if all(
            promised(scores, threshold) <= rate + 1e-12 or max(scores) <= threshold for scores in authentic.values()
        ):
            return threshold
    raise AssertionError("the highest score always fits")


@pytest.mark.parametrize("seed", range(40))
def test_thresholds_and_verdicts_agree_with_a_slow_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 150, rng.integers(1, 4))
    authentic = {f"kind {i}": rng.beta(2, 1 + i, size).round(3).tolist() for i, size in enumerate(sizes)}
    header = CheckpointHeader(authentic_scores=authentic, score_fpr=0.0)
    below = slow_point(authentic, INCONCLUSIVE_RATE)
    for sensitivity in SENSITIVITIES:
        rate = RATES[sensitivity]
        verdicts = choose_verdicts(header, sensitivity)
        above = slow_point(authentic, rate)
        assert verdicts.indication and verdicts.indication.threshold == above
        assert verdicts.indication.supported == all((size + 1) * rate > 1 - 1e-9 for size in sizes)
        for score in (*np.linspace(0, 1, 21), above, below, np.nextafter(above, 1), np.nextafter(below, 1)):
            expected = "indication" if score > above else "inconclusive" if score > below else "no indication"
            assert verdicts.word(float(score)) == expected


def test_higher_sensitivity_never_removes_an_indication() -> None:
    rng = np.random.default_rng(1)
    header = CheckpointHeader(authentic_scores={"a": rng.random(200).tolist(), "b": rng.random(120).tolist()})
    order = [choose_verdicts(header, sensitivity) for sensitivity in SENSITIVITIES]
    for score in np.linspace(0, 1, 400):
        ranks = [WORDS.index(verdicts.word(float(score))) for verdicts in order]
        assert ranks == sorted(ranks)
        assert len({rank == 0 for rank in ranks}) == 1, "no indication is independent of the sensitivity"


@pytest.mark.parametrize(("pictures", "exceeding"), [(1, 0), (25, 0), (33, 2), (58, 58), (2000, 100)])
def test_rate_interval_is_that_of_the_beta_distribution(pictures: int, exceeding: int) -> None:
    kind = KindRate("a", pictures, exceeding)
    assert kind.rate == pytest.approx((exceeding + 1) / (pictures + 1))
    if exceeding < pictures:
        expected = beta.ppf([0.025, 0.975], exceeding + 1, pictures - exceeding)
        assert kind.interval == pytest.approx(tuple(expected), abs=1e-9)
    assert 0 <= kind.interval[0] <= kind.rate <= kind.interval[1] <= 1 or pictures == exceeding


def test_rate_interval_covers_the_true_rate() -> None:
    """In 95 % of many calibrations on uniform scores, the interval must cover the true rate 1 − t above t."""
    rng = np.random.default_rng(3)
    points = [operating_point({"a": rng.random(60).tolist()}, 0.1) for _ in range(1000)]
    rates = np.array([1 - point.threshold for point in points])
    low, high = np.array([point.worst.interval for point in points]).T
    assert rates.mean() <= 0.1 and 0.93 < np.mean((low <= rates) & (rates <= high)) < 0.97


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.2, 4)])
def test_number_of_pictures_needed_for_a_rate(rate: float, needed: int) -> None:
    assert pictures_needed(rate) == needed
    for count in (needed - 1, needed):
        assert operating_point({"a": [i / count for i in range(count)]}, rate).supported == (count == needed)


@pytest.mark.parametrize("name", ["boxprompt", "boxprompt-traces"])
def test_eval_and_scan_share_the_operating_point_of_the_shipped_students(name: str) -> None:
    header = read_header(student_file(Path(name)))
    verdicts = choose_verdicts(header)
    assert verdicts.calibration == "scores" and verdicts.indication and verdicts.inconclusive
    assert verdicts.indication.threshold == header.score_threshold, "the threshold used by eval"
    assert verdicts.indication.supported and verdicts.inconclusive.threshold < header.score_threshold
    assert sum(kind.pictures for kind in verdicts.indication.kinds) == header.score_authentic
    described = choose_verdicts(header, "low").describe()
    assert described.indication and not described.indication.supported and (described.indication.rate or 0) > 0.01
    assert any("cannot support the 1 %" in note and "99 authentic pictures" in note for note in described.notes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for seed in range(7):
        lighter = photo(seed, 120 + seed, 90) * ((seed + 2) / 8)  # random weights mostly react to brightness
        write_rgb(folder / f"{seed}.png", lighter.astype(np.uint8))
    (folder / "damaged.png").write_bytes((folder / "0.png").read_bytes()[:900])
    return folder


def calibrated(weights: Path, out: Path, **header: Any) -> Path:
    """Save `weights` with other values in its header."""
    import torch

    from imltool.inference.localizer import Localizer

    localizer = Localizer.load(weights, torch.device("cpu"))
    localizer.header = localizer.header.model_copy(update=header)
    localizer.save(out)
    return out


@pytest.fixture(scope="module")
def scores(tiny_weights: Path, folder: Path) -> dict[str, float]:
    import torch

    from imltool.inference.localizer import Localizer, image_score
    from imltool.pictures.images import read_rgb

    localizer = Localizer.load(tiny_weights, torch.device("cpu"))
    paths = [path for path in sorted(folder.iterdir()) if path.stem.isdigit()]
    return {path.name: image_score(localizer.maps([read_rgb(path)])[0]) for path in paths}


@pytest.fixture(scope="module")
def calibrated_weights(tiny_weights: Path, scores: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for which two pictures have an indication and two are inconclusive at medium sensitivity."""
    ordered = sorted(scores.values())
    medium, high, grey = ((ordered[i] + ordered[i - 1]) / 2 for i in (5, 4, 3))
    authentic = [0.0] * 16 + [grey] * 2 + [high] + [medium]
    found = {"authentic_scores": {"made up": tuple(authentic)}, "score_threshold": medium, "score_fpr": 0.0}
    return calibrated(
        tiny_weights, tmp_path_factory.mktemp("calibrated_weights") / "calibrated_weights.safetensors", **found
    )


def test_scan_reports_three_verdicts_and_their_rates(
    calibrated_weights: Path, folder: Path, scores: dict[str, float], tmp_path: Path, imltool: Imltool
) -> None:
    ranked = sorted(scores, key=lambda name: -scores[name])
    expected = {"medium": (2, 2), "high": (3, 1), "low": (2, 2)}
    for sensitivity, (indicated, inconclusive) in expected.items():
        out = tmp_path / sensitivity
        options = ("--out", out, "--weights", calibrated_weights, "--sensitivity", sensitivity, "--device", "cpu")
        code, _, stderr = imltool("scan", folder, *options)
        assert code == 3, stderr
        words = {name: row["verdict"] for name, row in rows_by_path(out).items()}
        assert [words[name] for name in ranked] == [
            *["indication"] * indicated,
            *["inconclusive"] * inconclusive,
            *["no indication"] * (len(ranked) - indicated - inconclusive),
        ]
        assert words["damaged.png"] is None
        run = record_of(out)
        assert run["counts"]["indication"] == indicated and run["counts"]["inconclusive"] == inconclusive
        assert run["parameters"]["sensitivity"] == run["verdicts"]["sensitivity"] == sensitivity
        assert f"{indicated} with an indication, {inconclusive} inconclusive, 3 without, 1 failed" in stderr
        (kind,) = run["verdicts"]["indication"]["kinds"]
        assert (kind["name"], kind["pictures"]) == ("made up", 20)
        assert run["verdicts"]["indication"]["rate"] == kind["rate"] == (kind["exceeding"] + 1) / 21
        assert run["verdicts"]["indication"]["supported"] == (sensitivity != "low")
        assert ("cannot support the 1 %" in " ".join(stderr.split())) == (sensitivity == "low")
        with (out / "results.csv").open(newline="") as handle:
            assert {line["path"]: line["verdict"] or None for line in csv.DictReader(handle)} == words
    code, _, stderr = imltool("scan", folder, "--out", tmp_path / "high", "--weights", calibrated_weights, *CPU)
    assert code == 2 and "sensitivity" in stderr, "another sensitivity would mix different rows"


def test_uncalibrated_checkpoint_gives_inconclusive_verdicts(
    tiny_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    code, _, stderr = imltool(
        "scan", folder / "0.png", "--out", out, "--weights", tiny_weights, "--fail-on-detect", "--device", "cpu"
    )
    assert code == 0 and "not calibrated" in stderr and "imltool model calibrate" in " ".join(stderr.split())
    row = rows_by_path(out)["0.png"]
    assert row["verdict"] == "inconclusive" and row["verdict_reason"] == "the checkpoint is not calibrated"
    assert row["score"] is not None
    verdicts = record_of(out)["verdicts"]
    assert verdicts["calibration"] == "none" and verdicts["indication"] is verdicts["inconclusive"] is None
    for sensitivity in ("low", "high"):
        code, _, stderr = imltool(
            "scan", folder / "0.png", "--out", tmp_path / "no", "--weights", tiny_weights, "-s", sensitivity, *CPU
        )
        assert code == 2 and "holds no authentic scores" in stderr and not (tmp_path / "no").exists()


def test_older_checkpoint_keeps_its_single_threshold(
    tiny_weights: Path, folder: Path, scores: dict[str, float], tmp_path: Path, imltool: Imltool
) -> None:
    point = float(np.median([*scores.values(), 0.0]))
    old = calibrated(tiny_weights, tmp_path / "old.safetensors", score_threshold=point, score_fpr=0.04)
    out = tmp_path / "out"
    assert imltool("scan", folder, "--out", out, "--weights", old, *CPU)[0] == 3
    for name, score in scores.items():
        assert rows_by_path(out)[name]["verdict"] == ("indication" if score > point else "no indication")
    verdicts = record_of(out)["verdicts"]
    assert verdicts["calibration"] == "threshold" and verdicts["inconclusive"] is None
    assert verdicts["indication"]["rate"] == 0.04 and verdicts["indication"]["interval"] is None
    assert "4 % of the authentic calibration pictures" in " ".join(verdicts["notes"])


def test_stability_lists_scores_and_makes_flipping_verdicts_inconclusive(
    tiny_weights: Path, folder: Path, tmp_path: Path, imltool: Imltool
) -> None:
    """The threshold is inside the score range of one picture, so that its verdict must flip."""
    probe = tmp_path / "probe"
    options = ("--stability", "--batch", "3", *CPU)
    assert imltool("scan", folder, "--out", probe, "--weights", tiny_weights, *options)[0] == 3
    rows = rows_by_path(probe)
    assert rows.pop("damaged.png")["stability"] is None
    changes = ["jpeg 95", "jpeg 85", "resize 0.9", "resize 1.1"]
    assert all([each["change"] for each in row["stability"]] == changes for row in rows.values())
    assert all(row["verdict_reason"] == "the checkpoint is not calibrated" for row in rows.values())

    def spread(row: dict[str, Any]) -> list[float]:
        return [row["score"], *(each["score"] for each in row["stability"])]

    unstable = max(rows.values(), key=lambda row: max(spread(row)) - min(spread(row)))
    point = (max(spread(unstable)) + min(spread(unstable))) / 2
    weights = calibrated(tiny_weights, tmp_path / "w.safetensors", score_threshold=point, score_fpr=0.0)
    out = tmp_path / "out"
    assert imltool("scan", folder, "--out", out, "--weights", weights, *options)[0] == 3
    found = rows_by_path(out)
    for name, row in rows.items():
        first, *others = (score > point for score in spread(row))
        flipped = [change for change, other in zip(changes, others, strict=True) if other != first]
        word = "indication" if first else "no indication"
        assert found[name]["verdict"] == ("inconclusive" if flipped else word)
        reason = f"{'indication is lost' if first else 'becomes an indication'} under {', '.join(flipped)}"
        assert reason in found[name]["verdict_reason"] if flipped else found[name]["verdict_reason"] is None
        words = ["indication" if other else "no indication" for other in others]
        assert [each["verdict"] for each in found[name]["stability"]] == words
        assert [each["score"] for each in found[name]["stability"]] == spread(row)[1:]
    assert found[unstable["path"]]["verdict"] == "inconclusive"


def test_stability_score_equals_that_of_the_changed_picture(
    folder: Path, calibrated_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    from PIL import Image

    with Image.open(folder / "3.png") as picture:
        picture.save(tmp_path / "3.jpg", quality=85, subsampling=2)
    options = ("--weights", calibrated_weights, "--batch", "1", *CPU)
    assert imltool("scan", folder / "3.png", "--out", tmp_path / "a", "--stability", *options)[0] == 0
    assert imltool("scan", tmp_path / "3.jpg", "--out", tmp_path / "b", *options)[0] == 0
    stability = {each["change"]: each["score"] for each in rows_by_path(tmp_path / "a")["3.png"]["stability"]}
    assert stability["jpeg 85"] == rows_by_path(tmp_path / "b")["3.jpg"]["score"]


def test_resumed_scan_with_stability_gives_the_same_bytes(
    folder: Path, calibrated_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    out = tmp_path / "out"
    options = ("--stability", "--companions", "ela,ghost", *CPU)
    command = ("scan", folder, "--out", out, "--weights", calibrated_weights, *options)
    assert imltool(*command, "--batch", "4")[0] == 3
    whole = {path: path.read_bytes() for path in out.rglob("*") if path.suffix in (".jsonl", ".png", ".csv")}
    for kept in (1, 2, 5):
        interrupt(out, kept)
        assert imltool(*command, "--batch", "4")[0] == 3
        assert {path: path.read_bytes() for path in whole} == whole


def test_reason_names_the_change_also_between_the_points() -> None:
    verdicts = choose_verdicts(CheckpointHeader(name="a", authentic_scores={"a": [n / 100 for n in range(100)]}))
    assert verdicts.indication is not None and verdicts.inconclusive is not None
    between = (verdicts.indication.threshold + verdicts.inconclusive.threshold) / 2
    for scores, reason in (
        ({"jpeg 95": 1.0, "jpeg 85": between}, "unstable: it becomes an indication under jpeg 95"),
        ({"jpeg 95": 0.0, "jpeg 85": None}, None),
    ):
        settled = settle(verdicts, between, scores)
        assert (settled.verdict, settled.reason) == ("inconclusive", reason)
