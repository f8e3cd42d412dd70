"""The plot of a study: every row's F1 and its difference to the reference row, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from imltool.evaluation.bootstrap import Interval
from imltool.evaluation.plots import svg_uri
from imltool.files import atomic
from imltool.study.report import blocks
from imltool.study.results import LabelQuality, RowResult, StudyResults

BLUE, ORANGE, GREY = "#1a85ff", "#e66101", "#999999"
ROW_INCHES, HEAD_INCHES = 0.32, 1.0


def draw_study(path: Path, results: StudyResults) -> None:
    """Draw a PNG with a line of panels for each set and mean over sets, and a line of dots for each row.

    Left: F1 at 0.5, mean with its 95 % interval, and seeds as small rings above it. Right: the paired difference in the
    same way. Nothing is written before anything is measured.
    """
    figure = _draw(results)
    if figure is not None:
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def study_plot(results: StudyResults) -> list[tuple[str, str]]:
    """The same plot as (title, data URI) for the page; empty before anything is measured."""
    figure = _draw(results)
    return [("F1 of every row, and its difference to the reference row", svg_uri(figure))] if figure else []


def _draw(results: StudyResults) -> Figure | None:
    drawn = [
        (name, rows) for name, rows in blocks(results) if any(one.pixel_f1.mean is not None for one in rows.values())
    ]
    if not drawn:
        return None
    heights = [HEAD_INCHES + ROW_INCHES * len(rows) for _, rows in drawn]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    axes = figure.subplots(len(drawn), 2, height_ratios=heights, squeeze=False)
    for (name, rows), (left, right) in zip(drawn, axes, strict=True):
        _dots(left, rows, results)
        _differences(right, rows)
        roles = {one.role for one in rows.values()}
        left.set_title(name + (f" ({roles.pop().upper()})" if len(roles) == 1 and not name.startswith("mean") else ""))
    figure.suptitle(f"Study: {results.study}")
    return figure


def _dots(axis: Any, rows: Mapping[str, RowResult], results: StudyResults) -> None:
    for place, one in enumerate(rows.values()):
        _dot(axis, place, one.pixel_f1.mean, one.pixel_f1.interval, one.pixel_f1.seeds, BLUE)
    labels = [_label(row, results.rows[row].label_quality) for row in rows]
    axis.set_yticks(range(len(rows)), labels)
    axis.set(ylim=(len(rows) - 0.5, -0.5), xlabel="F1 at 0.5, rings: seeds")
    axis.set_xlim(left=0)
    axis.grid(axis="x", alpha=0.3)


def _label(row: str, quality: LabelQuality | None) -> str:
    return f"{row}, label IoU {quality.iou_mean:.2f}" if quality and quality.iou_mean is not None else row


def _differences(axis: Any, rows: Mapping[str, RowResult]) -> None:
    for place, one in enumerate(rows.values()):
        f1 = one.pixel_f1
        _dot(axis, place, f1.difference, f1.difference_interval, f1.difference_seeds, ORANGE)
    references = {one.pixel_f1.reference for one in rows.values()} - {None}
    named = next(iter(references)) if len(references) == 1 else "the reference row"
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"ΔF1 to {named}, paired")
    axis.set_yticks(range(len(rows)), [""] * len(rows))
    axis.grid(axis="x", alpha=0.3)


def _dot(
    axis: Any,
    place: int,
    mean: float | None,
    interval: Interval | None,
    seeds: Mapping[str, float | None],
    colour: str,
) -> None:
    if mean is None:
        return
    if interval:
        axis.plot(interval, [place, place], color=colour, linewidth=2, solid_capstyle="butt", clip_on=False)
    axis.plot([mean], [place], "o", markersize=6, color=colour, clip_on=False)
    known = [value for value in seeds.values() if value is not None]
    if len(known) > 1:  # above the interval, so that neither hides the other
        height = [place - 0.25] * len(known)
        axis.plot(known, height, "o", markersize=4, markerfacecolor="none", color=GREY, clip_on=False)
