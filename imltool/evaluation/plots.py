"""Plots of the report as SVG data URIs: no further files, no network, sharp at any size."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imltool.evaluation.curves import PooledCurve, precision_recall_points, roc_points
from imltool.evaluation.degradations import DEGRADATIONS
from imltool.evaluation.results import Reliability, RobustLine
from imltool.texts import data_uri

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which are distinguishable with every common kind of colour blindness."""
SIZE = (4.2, 3.4)  # inches


def svg_uri(figure: Figure) -> str:
    """A figure as the data URI of an SVG."""
    buffer = io.BytesIO()
    # no date and fixed ids: the same results give the same bytes
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "imltool"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return data_uri("svg+xml", buffer.getvalue())


def _axes(x: str, y: str, title: str, share: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.15, top=0.9)  # a layout engine doubles the time
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, y=1.0)  # the default place, given explicitly because finding it takes a tenth of the time
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if share:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure, axes


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


Scores = tuple[Sequence[float], Sequence[float]]
"""Scores of the tampered and of the authentic pictures."""


def image_roc(scores: Mapping[str, Scores]) -> str | None:
    """ROC of the image score, a line per method; None when no method has both kinds of pictures."""
    figure, axes = _axes("false positive rate", "true positive rate", "Pictures: ROC")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    axes.axvline(0.05, color="#999999", linewidth=0.8, linestyle="--")
    return _lines(figure, axes, scores, roc_points)


def image_pr(scores: Mapping[str, Scores]) -> str | None:
    """Precision against recall of the image score, a line per method."""
    figure, axes = _axes("recall", "precision", "Pictures: precision and recall")
    return _lines(figure, axes, scores, precision_recall_points)


def _lines(figure: Figure, axes: Axes, scores: Mapping[str, Scores], points: Any) -> str | None:
    for index, (label, (tampered, authentic)) in enumerate(scores.items()):
        if len(tampered) and len(authentic):
            axes.plot(*points(tampered, authentic), color=_colour(index), label=label, linewidth=1.4)
    return _with_legend(figure, axes)


def _with_legend(figure: Figure, axes: Axes) -> str | None:
    """The figure with a legend of its labelled lines; None without any."""
    if not axes.get_legend_handles_labels()[1]:
        return None
    axes.legend(fontsize=7, frameon=False)
    return svg_uri(figure)


def pixel_curves(curves: Mapping[str, PooledCurve]) -> tuple[str | None, str | None]:
    """ROC and precision-recall of all pixels of a set's tampered pictures together, a line per method."""
    roc, left = _axes("false positive rate", "true positive rate", "Pixels, pooled: ROC")
    pr, right = _axes("recall", "precision", "Pixels, pooled: precision and recall")
    left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    for index, (label, curve) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": _colour(index), "label": label, "linewidth": 1.4}
        tp, fp = curve.tp, curve.fp
        true = [1.0, *(value / curve.positives for value in tp), 0.0]
        if curve.negatives:
            left.plot([1.0, *(value / curve.negatives for value in fp), 0.0], true, **style)
        points = [(hit / curve.positives, hit / (hit + alarm)) for hit, alarm in zip(tp, fp, strict=True) if hit]
        right.plot([recall for recall, _ in points], [precision for _, precision in points], **style)
    return _with_legend(roc, left), _with_legend(pr, right)


def reliability_plot(found: Mapping[str, Reliability]) -> str | None:
    """Share of tampered pictures against the mean image score of ten groups, a line per method."""
    figure, axes = _axes("mean image score", "share tampered", "Reliability of the image score")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    for index, (label, one) in enumerate(found.items()):
        if one.groups:
            axes.plot(
                [group.score for group in one.groups],
                [group.tampered for group in one.groups],
                color=_colour(index),
                label=f"{label} (error {one.error:.3f})",
                marker="o",
                markersize=3,
                linewidth=1.2,
            )
    return _with_legend(figure, axes)


def robust_plot(name: str, tables: Mapping[str, Sequence[RobustLine]]) -> str:
    """F1 over the levels of a degradation, a line for each method and set, with the share of authentic pictures flagged
    dashed; the unchanged pictures are at the left.

    Args:
        tables: label → the lines of the degradation's table.
    """
    step = DEGRADATIONS[name]
    ticks = ["none", *(str(level) for level in step.levels)]
    figure, axes = _axes(step.axis, "pixel F1; dashed: authentic flagged", step.title, share=False)
    for index, (label, lines) in enumerate(tables.items()):
        named: str | None = label  # labelled once, on the first line that exists
        for key, dashes in (("pixel_f1", "-"), ("image_fpr", "--")):
            found = [(ticks.index(line.level), line.value(key)) for line in lines]
            points = [point for point in found if point[1] is not None]
            if points:
                style: dict[str, Any] = {"color": _colour(index), "linestyle": dashes, "linewidth": 1.2}
                axes.plot(*zip(*points, strict=True), label=named, marker="o", markersize=3, **style)
                named = None
        spans = [(ticks.index(line.level), *limits) for line in lines if (limits := line.interval("pixel_f1"))]
        if len(spans) > 1:
            x, low, high = zip(*spans, strict=True)
            axes.fill_between(x, low, high, color=_colour(index), alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylim(-0.02, 1.02)  # the same scale for all degradations
    axes.legend(fontsize=7, framealpha=0.8, edgecolor="none")
    return svg_uri(figure)
