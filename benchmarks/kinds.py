"""Metrics of a student by kind of picture, from one or two results of `imltool eval` on the same sets.

    python benchmarks/kinds.py BEFORE [AFTER] [--json FILE]

Each is a folder, or several as FOLDER,FOLDER whose pictures are united: those of a student and of its twin, each
measured on the pictures that it was not trained on.

For every set: pixel F1 at 0.5 and pixel AUC of its forgeries, share of forgeries and of authentic pictures above the
score threshold of the checkpoint, and with two results the paired difference in F1 with its 95 % interval.
`all kinds` is the mean over sets, each resampled separately, so that a large set does not dominate.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROUNDS = 4000
Row = dict[str, str]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """Metrics of a set: arrays over its forgeries in the order of their names, and shares in 0..1."""

    f1: Floats
    calibrated: Floats
    auc: Floats
    flagged: float | None
    false_alarms: float | None
    authentic: int
    names: tuple[str, ...]


def united(folders: str) -> dict[str, Kind]:
    """The sets of one or several results, FOLDER,FOLDER; pictures of a set that is in several are joined."""
    kinds: dict[str, Kind] = {}
    for found in (read(Path(folder)) for folder in folders.split(",")):
        for name, kind in found.items():
            kinds[name] = joined(kinds[name], kind) if name in kinds else kind
    return kinds


def joined(one: Kind, other: Kind) -> Kind:
    """The pictures of two parts of a set; shares are weighted by their numbers of pictures."""

    def mean(a: float | None, b: float | None, weights: tuple[int, int]) -> float | None:
        known = [(share, weight) for share, weight in zip((a, b), weights, strict=True) if share is not None]
        total = sum(weight for _, weight in known)
        return sum(share * weight for share, weight in known) / total if total else None

    return Kind(
        f1=np.concatenate([one.f1, other.f1]),
        calibrated=np.concatenate([one.calibrated, other.calibrated]),
        auc=np.concatenate([one.auc, other.auc]),
        flagged=mean(one.flagged, other.flagged, (len(one.f1), len(other.f1))),
        false_alarms=mean(one.false_alarms, other.false_alarms, (one.authentic, other.authentic)),
        authentic=one.authentic + other.authentic,
        names=one.names + other.names,
    )


def read(folder: Path) -> dict[str, Kind]:
    """The sets of a result of `imltool eval`, in its order; rows of the checkpoint only, without baselines."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    with (folder / "per_image.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    method = rows[0]["method"]
    kinds = {}
    for name, metrics in results["sets"].items():
        mine = [row for row in rows if row["set"] == name and row["method"] == method and row["status"] == "ok"]
        forged = sorted((row for row in mine if row["tampered"] == "1"), key=lambda row: row["image"])
        f1, calibrated, auc = (np.array([float(row[key]) for row in forged]) for key in ("f1", "f1_calibrated", "auc"))
        kinds[name] = Kind(
            f1,
            calibrated,
            auc,
            flagged=metrics.get("image_tpr"),
            false_alarms=metrics.get("image_fpr"),
            authentic=len(mine) - len(forged),
            names=tuple(row["image"] for row in forged),
        )
    return kinds


def interval(parts: list[Floats], rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean over parts of their means, with its 95 % bootstrap interval; each part is resampled separately."""
    drawn = [part[rng.integers(0, len(part), (ROUNDS, len(part)))].mean(axis=1) for part in parts]
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(np.mean([part.mean() for part in parts])), float(low), float(high)


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def shown(values: tuple[float, float, float], sign: str = "") -> str:
    return "{:{s}.3f} [{:{s}.3f}, {:{s}.3f}]".format(*values, s=sign)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = [united(folders) for folders in arguments.results[:2]]
    rng = np.random.default_rng(0)
    record: dict[str, dict[str, object]] = {}
    heads = ["set", "forged + authentic"]
    for number in range(len(runs)):
        when = ("before", "after")[number] if len(runs) > 1 else ""
        heads += [f"{what} {when}".strip() for what in ("F1", "AUC", "forgeries flagged", "authentic flagged")]
    lines = [[*heads, *(["difference in F1"] if len(runs) > 1 else [])]]
    for name, first in runs[0].items():
        line = [name, f"{len(first.f1)} + {first.authentic}"]
        record[name] = {"forged": len(first.f1), "authentic": first.authentic}
        for run, when in zip(runs, ("before", "after"), strict=False):
            kind = run[name]
            metrics: dict[str, object] = {"flagged": kind.flagged, "false_alarms": kind.false_alarms}
            line += [f"{kind.f1.mean():.3f}", f"{kind.auc.mean():.3f}"] if len(kind.f1) else ["–", "–"]
            line += [share(kind.flagged), share(kind.false_alarms)]
            if len(kind.f1):
                metrics |= {"f1": shown(interval([kind.f1], rng)), "auc": round(float(kind.auc.mean()), 4)}
                metrics["f1_calibrated"] = round(float(kind.calibrated.mean()), 4)
            record[name][when] = metrics
        if len(runs) > 1:
            if first.names != runs[1][name].names:
                raise SystemExit(f"{name}: the two results are of different pictures")
            paired = shown(interval([runs[1][name].f1 - first.f1], rng), "+") if len(first.f1) else "–"
            line.append(paired)
            record[name]["difference"] = paired
        lines.append(line)
    forged = [name for name, kind in runs[0].items() if len(kind.f1)]
    line = ["**all kinds**", f"{len(forged)} sets"]
    for run in runs:
        line += [shown(interval([run[name].f1 for name in forged], rng))]
        line += [f"{np.mean([run[name].auc.mean() for name in forged]):.3f}"]
        line += [share(float(np.mean([run[name].flagged or 0.0 for name in forged])))]
        alarms = [kind.false_alarms for kind in run.values() if kind.false_alarms is not None]
        line += [f"worst {max(alarms):.0%}" if alarms else "–"]
    if len(runs) > 1:
        line.append(shown(interval([runs[1][name].f1 - runs[0][name].f1 for name in forged], rng), "+"))
    record["all kinds"] = dict(zip(lines[0][2:], line[2:], strict=True))
    lines.append(line)
    lines.insert(1, ["---"] * len(lines[0]))
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
