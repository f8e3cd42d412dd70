"""What a comparison leaves behind: JSON, CSV, a Markdown table, the pairs, and a sheet of the pictures that differ."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imltool.data.folder import Sample
from imltool.evaluation.compare import FIGURES, Entrant
from imltool.evaluation.gallery import picture_and_truth
from imltool.evaluation.previews import preview_path, read_preview
from imltool.files import write_text
from imltool.journal import holds_run
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB
from imltool.pictures.sheet import TILE, contact_sheet

JSON_NAME = "compare.json"
CSV_NAME = "compare.csv"
TABLE_NAME = "compare.md"
PAIRS_NAME = "pairs.csv"
SHEET_NAME = "differences.png"
CSV_COLUMNS = (
    *("set", "figure", "first", "second", "n", "first_mean", "second_mean", "difference", "low", "high"),
    *("surely", "wins", "losses", "ties"),
)


def open_output(out: Path) -> None:
    """Raises `UsageError` when `out` is a file, or holds files but no comparison: they might be replaced."""
    holds_run(out, JSON_NAME, "comparison")


def write_tables(
    out: Path, results: Mapping[str, Any], entrants: Sequence[Entrant], pairs: Sequence[Mapping[str, Any]]
) -> None:
    """Write compare.json, compare.csv, compare.md and pairs.csv. Each atomic; raises `OutputError`."""
    write_text(out / JSON_NAME, json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in results["rows"]:
        low, high = row["difference_ci"] or ("", "")
        writer.writerow(row | {"low": low, "high": high})
    write_text(out / CSV_NAME, text.getvalue())
    write_text(out / TABLE_NAME, "\n".join(markdown(results)) + "\n")
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    plain.writerow(["set", "image", *(one.label for one in entrants)])
    plain.writerows([row["set"], row["image"], *row["figures"].values()] for row in pairs)
    write_text(out / PAIRS_NAME, text.getvalue())


def table_cells(row: Mapping[str, Any]) -> list[str]:
    """One row of a comparison as text, in the order of `TABLE_HEADS`."""
    interval = row["difference_ci"]
    limits = f"[{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else "–"
    score = "–" if row["wins"] is None else f"{row['wins']}/{row['losses']}/{row['ties']}"
    return [
        row["set"],
        FIGURES[row["figure"]].heading,
        row["first"],
        row["second"],
        str(row["n"]),
        f"{row['first_mean']:.3f}",
        f"{row['second_mean']:.3f}",
        f"{row['difference']:+.3f}",
        limits,
        score,
        row["surely"] or "–",
    ]


TABLE_HEADS = ("set", "figure", "first", "second", "n", "first", "second", "difference", "95 %", "w/l/t", "surely")
TEXT_COLUMNS = 4


def markdown(results: Mapping[str, Any]) -> list[str]:
    """Lines of a Markdown document: the table and what it means."""
    lines = ["| " + " | ".join(TABLE_HEADS) + " |"]
    lines.append("|" + "---|" * TEXT_COLUMNS + "---:|" * (len(TABLE_HEADS) - TEXT_COLUMNS))
    for row in results["rows"]:
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in table_cells(row)) + " |")
    lines += [
        "",
        "Difference: second minus first on the same pictures, 95 % paired bootstrap interval over pictures. "
        "w/l/t: pictures on which the second is better, worse, equal. Surely: the interval leaves 0 out; with many "
        "rows some will by chance.",
        *results["notes"],
        "",
        f"Command: `{results['command']}`",
    ]
    return lines


def write_sheet(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    entrants: Sequence[Entrant],
    samples: Mapping[tuple[str, str], Sample],
    heading: str,
) -> None:
    """A line for each picture: the picture, its truth, and every entrant's map. Raises `OutputError`.

    Args:
        rows: of `compare.most_different`.
        samples: (set, picture) → files; pictures that are no longer there have an empty tile.
        heading: name of the figure.
    """
    tiles: list[tuple[RGB, str]] = []
    for row in rows:
        sample = samples.get((row["set"], row["image"]))
        picture, truth = picture_and_truth(sample, TILE) if sample else (None, None)
        name = _short(f"{row['set']}/{row['image']}")
        tiles.append((_or_blank(picture), name if picture is not None else f"{name}\nnot found"))
        tiles.append((_or_blank(truth), "truth"))
        for one in entrants:
            found = read_preview(preview_path(one.folder, one.method, row["set"], row["image"]))
            caption = f"{_short(one.label)}\n{heading}: {row['figures'][one.label]:.3f}"
            tiles.append((_or_blank(None if found is None else fit(found, TILE)), caption))
    contact_sheet(path, tiles, columns=2 + len(entrants), title="Where they differ most")


def _or_blank(rgb: RGB | None) -> RGB:
    return np.full((TILE, TILE, 3), 235, np.uint8) if rgb is None else rgb


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"…{text[-39:]}"
