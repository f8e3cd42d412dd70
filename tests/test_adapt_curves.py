"""Table and plot of the benchmark of adaptations, from rows written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adapt_curves import plot, points, table


def row(size: int, fold: int, f1: float, score: float, labels: str = "boxes") -> dict[str, Any]:
    name = f"{fold}.png"
    return {
        "size": size, "fold": fold, "labels": labels if size else "–", "parts": "all" if size else "–", "taught": size,
        "minutes": 2.0 * fold, "held": [{"name": name, "f1": f1, "score": score}],
        "known": [{"name": "k", "f1": 0.25, "score": 0.5}], "calibrating": [{"score": one / 10} for one in range(10)],
        "authentic": [{"score": 0.95}, {"score": 0.1}],
    }  # fmt: skip


ROWS = [row(0, 0, 0.1, 0.2), row(0, 1, 0.3, 0.4), row(20, 0, 0.4, 0.95), row(20, 1, 0.8, 0.9), row(5, 0, 0.7, 0.0)]


def test_points_are_means_over_the_pictures_of_all_folds() -> None:
    before, five, twenty = points(ROWS)
    assert (before.taught, before.pictures, before.f1) == (0, 2, pytest.approx(0.2))
    assert (twenty.folds, twenty.f1, twenty.minutes) == (2, pytest.approx(0.6), 1.0)
    assert 0.4 <= twenty.low <= twenty.f1 <= twenty.high <= 0.8
    # the threshold is the calibration score .9 here: only what is above it is flagged
    assert (before.flagged, twenty.flagged, twenty.alarms, twenty.known) == (0.0, 0.5, 0.5, 0.25)
    assert five.folds == 1
    assert before.change == "" and twenty.change == "+0.400 [+0.300, +0.500]"  # .1 -> .4 and .3 -> .8
    assert "| edits | all | boxes | 20 | 2 | 2 | 0.600 " in table({"edits": ROWS})


def test_plot_needs_all_folds(tmp_path: Path) -> None:
    whole = [one for one in ROWS if one["size"] != 5]
    plot({"edits": ROWS}, tmp_path / "all.png")
    plot({"edits": whole}, tmp_path / "whole.png")
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
