"""Two or more evaluations of the same pictures, paired picture by picture.

Pairing takes out what the pictures have in common: two methods whose intervals overlap widely can still differ surely
on the same pictures, and only the paired difference says so.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imltool.errors import DataError, UsageError
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import mean_interval, paired_auc_interval

TIE = 1e-6
"""Differences up to this are ties: `per_image.csv` keeps six decimals."""


@dataclass(frozen=True)
class Figure:
    """What can be compared.

    Attributes:
        heading: in tables.
        column: of `per_image.csv`; for `image_auc` the score it is computed from.
        tampered: over tampered pictures (True), authentic ones (False), or both (None).
        higher: higher is better.
    """

    heading: str
    column: str
    tampered: bool | None
    higher: bool = True


FIGURES: dict[str, Figure] = {
    "f1": Figure("pixel F1", "f1", True),
    "f1_calibrated": Figure("pixel F1 calibrated", "f1_calibrated", True),
    "iou": Figure("pixel IoU", "iou", True),
    "mcc": Figure("pixel MCC", "mcc", True),
    "auc": Figure("pixel AUC", "auc", True),
    "ap": Figure("pixel AP", "ap", True),
    "fp_area": Figure("FP area", "flagged_area", False, higher=False),
    "image_auc": Figure("image AUC", "score", None),
}
"""Name of `--metric` → figure."""
DEFAULT = ("f1", "fp_area", "image_auc")


Rows = dict[tuple[str, str], dict[str, str]]
"""(set, picture) → row of `per_image.csv`."""


@dataclass(frozen=True)
class Entrant:
    """One method's rows in one folder of results.

    Attributes:
        label: unique among those compared.
        folder: of the evaluation.
        method: its label there.
        rows: of the pictures it has scored.
        data, options: these blocks of `results.json`.
    """

    label: str
    folder: Path
    method: str
    rows: Rows
    data: dict[str, Any]
    options: dict[str, Any]


def read_entrants(targets: Sequence[str]) -> list[Entrant]:
    """The methods to compare, in the order given.

    Args:
        targets: `DIR` for all methods of an evaluation, or `DIR:METHOD` for one of them.

    Raises `DataError` when a folder holds no finished evaluation, `UsageError` for an unknown method or fewer than two.
    """
    found: list[tuple[Path, str, Rows, dict[str, Any]]] = []
    for target in targets:
        folder, wanted = _folder_and_method(target)
        head, by_method = _read_folder(folder)
        if wanted and wanted not in by_method:
            raise UsageError(f"{folder} holds no method {wanted!r}", f"it holds {', '.join(by_method)}")
        for method, rows in by_method.items():
            if not wanted or method == wanted:
                found.append((folder, method, rows, head))
    if len(found) < 2:
        raise UsageError("only one method is given", "give two folders of imltool eval, or one with several methods")
    methods = [method for _, method, _, _ in found]
    labels = [
        method if methods.count(method) == 1 else f"{method} ({folder.as_posix()})" for folder, method, _, _ in found
    ]
    if len(set(labels)) < len(labels):
        doubled = next(label for label in labels if labels.count(label) > 1)
        raise UsageError(f"{doubled} is given twice", "give each method once")
    return [
        Entrant(label, folder, method, rows, head["data"], head["options"])
        for label, (folder, method, rows, head) in zip(labels, found, strict=True)
    ]


def _folder_and_method(target: str) -> tuple[Path, str]:
    """`DIR` or `DIR:METHOD`; both may hold colons, so the longest part that is a folder counts."""
    parts = target.split(":")
    for end in range(len(parts), 0, -1):
        folder = Path(":".join(parts[:end]))
        if folder.is_dir():
            return folder, ":".join(parts[end:])
    return Path(target), ""


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Rows]]:
    """`results.json` of an evaluation, and the rows of its methods."""
    results, table = folder / "results.json", folder / "per_image.csv"
    try:
        head = json.loads(results.read_text(encoding="utf-8"))
        with table.open(encoding="utf-8", newline="") as handle:
            lines = list(csv.DictReader(handle))
        complete = head["complete"]
        if not isinstance(head["data"], dict) or not isinstance(head["options"], dict):
            raise TypeError("results.json is not as imltool eval writes it")
        by_method: dict[str, Rows] = {}
        for line in lines:
            rows = by_method.setdefault(line["method"], {})
            if line["status"] == "ok":
                _check_numbers(line)
                rows[line["set"], line["image"]] = line
    except OSError as error:
        raise DataError(
            f"{folder} holds no evaluation: {error.filename}: {error.strerror}", "give a folder of imltool eval"
        ) from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{folder} holds a damaged evaluation: {error}", "run imltool eval again") from error
    if not complete:
        raise DataError(f"the evaluation in {folder} is not complete", "run the same imltool eval command again")
    return head, by_method


def _check_numbers(line: Mapping[str, str]) -> None:
    """Raises `ValueError` or `TypeError` when a cell that may be compared is no number: a damaged or cut line."""
    for figure in FIGURES.values():
        if line[figure.column] != "":
            float(line[figure.column])


def check_same_pictures(entrants: Sequence[Entrant]) -> list[str]:
    """What makes the evaluations less than comparable, one line each: files that differ, pictures that only some have
    scored, other ways of scoring.

    Raises `DataError` when no picture was scored by all.
    """
    shared = set.intersection(*(set(one.rows) for one in entrants))
    if not shared:
        raise DataError(
            f"{entrants[0].label} and {entrants[1].label} have no picture in common",
            "evaluate both on the same --data, under the same names",
        )
    notes = []
    for name in dict.fromkeys(set_name for one in entrants for set_name, _ in one.rows):
        digests = {one.data[name]["sha256"] for one in entrants if name in one.data}
        if len(digests) > 1:
            notes.append(f"{name} was not the same in all evaluations: pictures or masks differ")
        scored = set().union(*({key for key in one.rows if key[0] == name} for one in entrants))
        if left_out := len(scored - shared):
            count = "1 picture was" if left_out == 1 else f"{left_out} pictures were"
            notes.append(f"{name}: {count} not scored in all evaluations and cannot be paired with all")
    if len({bool(one.options.get("min_max")) for one in entrants}) > 1:
        notes.append("maps were stretched to 0..1 in some evaluations and not in others (--min-max)")
    return notes


def compare(entrants: Sequence[Entrant], names: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Each entrant against the first: one row for each set, each figure and each other entrant, then all sets together.

    A row: `set` ("all sets" over all pictures when there is more than one), `figure`, `first`, `second` (labels), `n`,
    `first_mean`, `second_mean`, `difference` (second − first), `difference_ci` (95 %, paired bootstrap over pictures),
    `wins`, `losses`, `ties` (of the second; None for `image_auc`, which no picture has by itself) and `surely`:
    `better` or `worse` when the interval leaves 0 out, else "". Figures that do not exist have no row.
    """
    reference = entrants[0]
    sets = list(dict.fromkeys(set_name for set_name, _ in reference.rows))
    rows = []
    for set_name in [*sets, None] if len(sets) > 1 else sets:
        for other in entrants[1:]:
            # pictures keep the first's order, so that a seed gives the same interval whoever asks
            keys = [key for key in reference.rows if key in other.rows and set_name in (None, key[0])]
            pairs = [(reference.rows[key], other.rows[key]) for key in keys]
            for name in names:
                row = _auc_row(pairs, seed) if name == "image_auc" else _mean_row(pairs, FIGURES[name], seed)
                if row is not None:
                    head = {"set": set_name or "all sets", "figure": name}
                    rows.append(head | {"first": reference.label, "second": other.label} | row)
    return rows


def paired(entrants: Sequence[Entrant], name: str) -> list[dict[str, Any]]:
    """One row a picture that all entrants have: `set`, `image`, and the figure under each entrant's label."""
    figure = FIGURES[name]
    rows = []
    for key in entrants[0].rows:
        lines = [one.rows.get(key) for one in entrants]
        values = [line[figure.column] if line and _belongs(line, figure) else "" for line in lines]
        if all(values):
            figures = {one.label: float(value) for one, value in zip(entrants, values, strict=True)}
            rows.append({"set": key[0], "image": key[1], "figures": figures})
    return rows


def most_different(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The `paired` rows with the largest spread between entrants, ties in their order; equal ones are left out."""

    def spread(row: Mapping[str, Any]) -> float:
        return float(max(row["figures"].values()) - min(row["figures"].values()))

    return [row for row in sorted(rows, key=spread, reverse=True)[:count] if spread(row) > TIE]


def _belongs(line: Mapping[str, str], figure: Figure) -> bool:
    return figure.tampered is None or (line["tampered"] == "1") is figure.tampered


def _mean_row(pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], figure: Figure, seed: int) -> Any:
    values = np.array(
        [
            (float(one[figure.column]), float(other[figure.column]))
            for one, other in pairs
            if _belongs(one, figure) and one[figure.column] != "" and other[figure.column] != ""
        ],
        dtype=np.float64,
    ).reshape(-1, 2)
    if not len(values):
        return None
    change = values[:, 1] - values[:, 0]
    gain = change if figure.higher else -change
    return {
        "n": len(values),
        "first_mean": float(values[:, 0].mean()),
        "second_mean": float(values[:, 1].mean()),
        **_difference(float(change.mean()), mean_interval(change, seed), figure.higher),
        "wins": int((gain > TIE).sum()),
        "losses": int((gain < -TIE).sum()),
        "ties": int((np.abs(gain) <= TIE).sum()),
    }


def _auc_row(pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], seed: int) -> Any:
    sides = [
        tuple([float(pair[who]["score"]) for pair in pairs if pair[who]["tampered"] == side] for side in ("1", "0"))
        for who in (0, 1)
    ]
    if not sides[0][0] or not sides[0][1]:
        return None
    first, second = ((one[0], one[1]) for one in sides)
    means = metrics.image_auc(*first), metrics.image_auc(*second)
    interval = paired_auc_interval(first, second, metrics.auc, seed)
    nothing = {"wins": None, "losses": None, "ties": None}
    found = {"n": len(pairs), "first_mean": means[0], "second_mean": means[1]}
    return found | _difference(means[1] - means[0], interval, True) | nothing


def _difference(change: float, interval: tuple[float, float] | None, higher: bool) -> dict[str, Any]:
    surely = ""
    if interval and (interval[0] > 0 or interval[1] < 0):
        surely = "better" if (interval[0] > 0) is higher else "worse"
    return {"difference": change, "difference_ci": list(interval) if interval else None, "surely": surely}
