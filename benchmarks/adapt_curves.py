"""Table and plot of adaptations to new kinds of forgeries: F1 against the number of boxed pictures.

    python benchmarks/adapt_curves.py NAME=OUT [NAME=OUT ...] [--plot FILE.png] [--json FILE.json]

OUT is an output folder of `benchmarks/adapt.py`, NAME the kind it was run for. Intervals (95 %) and means are over the
pictures of all folds, changes are paired with the student before, and minutes are medians over folds. The plot leaves
out what is not measured in all folds. "Flagged" is a score above 95 % of the authentic pictures that are used only for
calibration.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imltool.evaluation.bootstrap import mean_estimate, mean_interval
from imltool.files import write_text

Row = dict[str, Any]
Floats = NDArray[np.float64]
Key = tuple[str, str, int]
"""What learns, the labels, and the number of pictures asked for."""


@dataclass(frozen=True)
class Point:
    """All folds with one number of pictures."""

    learns: str
    labels: str
    folds: int
    taught: float
    pictures: int
    f1: float
    low: float
    high: float
    change: str
    flagged: float
    known: float
    alarms: float
    minutes: float


def read_rows(out: Path, name: str = "rows.jsonl") -> list[Row]:
    """The rows that an output folder has so far."""
    file = out / name
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def calibrated_limit(row: Row) -> float:
    """The score that 95 % of the authentic calibration pictures do not exceed."""
    return float(np.quantile([one["score"] for one in row["calibrating"]], 0.95, method="higher"))


def flagged(row: Row, part: str) -> list[bool]:
    """Flag pictures that score above 95 % of the authentic calibration pictures."""
    limit = calibrated_limit(row)
    return [one["score"] > limit for one in row[part]]


def signed(differences: Floats) -> str:
    """The mean of paired differences with its sign and 95 % interval; empty if one of a pair is not measured."""
    if not np.isfinite(differences).all():
        return ""
    mean, interval = mean_estimate(differences, seed=0)
    return f"{mean:+.3f}" + (f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else "")


def points(rows: Sequence[Row]) -> list[Point]:
    """One point for each number of pictures, labels and learning parts; the student before adaptation first."""
    keys: set[Key] = {(row["parts"], row["labels"], row["size"]) for row in rows}
    before = {(row["fold"], one["name"]): one["f1"] for row in rows if not row["size"] for one in row["held"]}
    found = []
    for learns, labels, size in sorted(keys, key=lambda key: (key[2] > 0, key)):
        mine = [row for row in rows if (row["parts"], row["labels"], row["size"]) == (learns, labels, size)]
        values = np.array([one["f1"] for row in mine for one in row["held"]])
        low, high = mean_interval(values, seed=0) or (float("nan"), float("nan"))
        first = [before.get((row["fold"], one["name"]), np.nan) for row in mine for one in row["held"]]
        rates = {
            part: float(np.mean(list(itertools.chain(*(flagged(row, part) for row in mine)))))
            for part in ("held", "authentic")
        }
        found.append(
            Point(
                learns=learns,
                labels=labels,
                folds=len(mine),
                taught=float(np.mean([row["taught"] for row in mine])),
                pictures=len(values),
                f1=float(values.mean()),
                low=low,
                high=high,
                change=signed(values - first) if size else "",
                flagged=rates["held"],
                known=float(np.mean([one["f1"] for row in mine for one in row["known"]])),
                alarms=rates["authentic"],
                minutes=float(np.median([row["minutes"] for row in mine])),
            )
        )
    return found


def table(kinds: Mapping[str, Sequence[Row]]) -> str:
    """A Markdown table with a line for each point of each kind."""
    lines = [
        "| kind | learns | labels | trained on | folds | held out | F1 [95 %] | change | flagged | known kinds F1 | "
        "false alarms | minutes |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rows in kinds.items():
        lines += [
            f"| {name} | {one.learns} | {one.labels} | {one.taught:.0f} | {one.folds} | {one.pictures} "
            f"| {one.f1:.3f} [{one.low:.3f}, {one.high:.3f}] | {one.change} | {one.flagged:.0%} "
            f"| {one.known:.3f} | {one.alarms:.1%} | {one.minutes:.1f} |"
            for one in points(rows)
        ]
    return "\n".join(lines) + "\n"


def plot(kinds: Mapping[str, Sequence[Row]], file: Path) -> None:
    """A panel for each kind: F1 with its interval against the number of pictures, a line for each way to learn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(kinds), 3.2), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (name, rows) in zip(panels, kinds.items(), strict=True):
        before, *others = points(rows)
        for learns, labels in sorted({(one.learns, one.labels) for one in others}):
            whole = [one for one in others if one.folds == before.folds]  # folds differ more than numbers of pictures
            line = [before, *(one for one in whole if (one.learns, one.labels) == (learns, labels))]
            if len(line) == 1:
                continue
            middle = np.array([one.f1 for one in line])
            spread = [middle - [one.low for one in line], [one.high for one in line] - middle]
            label = f"{labels}, fusion alone" if learns == "fusion" else labels
            axes.errorbar([one.taught for one in line], middle, spread, capsize=3, marker="o", label=label)
        axes.set(title=name, xlabel="boxed pictures", ylim=(0, 1))
        axes.legend(fontsize=8, frameon=False)
    panels[0].set_ylabel("pixel F1, held out")
    figure.savefig(file, dpi=110)


def numbers(rows: Sequence[Row]) -> list[Row]:
    """The rows as published: score and F1 by picture, rounded."""
    found = []
    for row in rows:
        short = {key: row.get(key) for key in ("size", "taught", "fold", "labels", "parts", "share")}
        short |= {
            "minutes": round(row["minutes"], 1),
            "held": {one["name"]: [round(one["score"], 4), round(one["f1"], 4)] for one in row["held"]},
            "known_f1": round(float(np.mean([one["f1"] for one in row["known"]])), 4),
            "authentic": [round(one["score"], 4) for one in row["authentic"]],
            "calibrating": [round(one["score"], 4) for one in row["calibrating"]],
        }
        found.append(short)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", metavar="NAME=OUT")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--json", type=Path, metavar="FILE.json")
    given = parser.parse_args()
    kinds = {name: read_rows(Path(out)) for name, _, out in (word.partition("=") for word in given.kinds)}
    if empty := [name for name, rows in kinds.items() if not rows]:
        parser.error(f"no rows.jsonl in the folder of {', '.join(empty)}; give NAME=OUT of benchmarks/adapt.py")
    print(table(kinds))
    if given.plot:
        plot(kinds, given.plot)
    if given.json:
        published = {name: numbers(rows) for name, rows in kinds.items()}
        write_text(given.json, json.dumps(published, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
