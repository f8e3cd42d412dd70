"""Training curves as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from imltool.files import atomic


def draw_curves(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plot loss and learning rate over the steps, and validation metrics beside them, from the rows of `log.jsonl`."""
    train = [row for row in rows if row["event"] == "train"]
    checks = [row for row in rows if row["event"] == "validation"]
    figure = Figure(figsize=(11, 4))  # without pyplot and a layout engine, which take twice the time
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.13, top=0.92, wspace=0.25)
    left.plot([row["step"] for row in train], [row["loss"] for row in train], color="#1a85ff", label="loss")
    left.set(xlabel="step", ylabel="loss", title="Training")
    rates = left.twinx()
    rates.plot([row["step"] for row in train], [row["lr"] for row in train], color="#999999", linestyle=":", label="lr")
    rates.set_ylabel("learning rate")
    for key, colour in (
        ("pixel_f1", "#e66101"),
        ("pixel_f1_calibrated", "#fdb863"),
        ("image_auc", "#1a85ff"),
        ("image_tpr", "#5e3c99"),
    ):
        points = [(row["step"], row[key]) for row in checks if row.get(key) is not None]
        if points:
            right.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=key)
    right.set(xlabel="step", ylim=(0, 1), title="Validation")
    right.grid(alpha=0.3)
    if right.lines:
        right.legend(loc="best", fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
