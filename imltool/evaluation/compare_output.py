"""The files of a comparison: JSON, CSV, a Markdown table, the pairs, and a sheet of the most different pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from imltool.config import Exact, JsonFile
from imltool.data.folder import Sample
from imltool.evaluation.compare import METRICS, Comparison, Entrant, Pair
from imltool.evaluation.gallery import picture_and_truth, preview_path, read_preview
from imltool.files import write_text
from imltool.journal import holds_run
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB
from imltool.pictures.sheet import TILE, contact_sheet
from imltool.tables import Table, csv_text
from imltool.texts import shortened

JSON_NAME = "compare.json"
CSV_NAME = "compare.csv"
TABLE_NAME = "compare.md"
PAIRS_NAME = "pairs.csv"
SHEET_NAME = "differences.png"
CSV_COLUMNS = (
    *("set", "metric", "first", "second", "n", "first_mean", "second_mean", "difference", "low", "high"),
    *("significant", "wins", "losses", "ties"),
)
HEADS = ("set", "metric", "first", "second", "n", "first", "second", "difference", "95 %", "w/l/t", "significant")


class ComparedMethod(Exact):
    """A compared method: its label in the comparison and in the evaluation, and the evaluation's folder."""

    label: str
    method: str
    folder: str


class ComparisonResults(JsonFile):
    """The content of `compare.json`."""

    methods: list[ComparedMethod]
    rows: list[Comparison]
    notes: list[str]
    command: str

    def table(self) -> Table:
        """The comparison as a table."""
        return Table("Comparison", HEADS, [_cells(row) for row in self.rows], 4)


def refuse_foreign(out: Path) -> None:
    """Raises `UsageError` when `out` is a file, or contains files but no comparison, because they might be replaced."""
    holds_run(out, JSON_NAME, "comparison")


def write_tables(out: Path, results: ComparisonResults, entrants: Sequence[Entrant], pairs: Sequence[Pair]) -> None:
    """Write compare.json, compare.csv, compare.md and pairs.csv. Each atomic; raises `OutputError`."""
    write_text(out / JSON_NAME, results.text() + "\n")
    found = [asdict(row) | dict(zip(("low", "high"), row.difference_ci or (), strict=False)) for row in results.rows]
    write_text(out / CSV_NAME, csv_text(CSV_COLUMNS, found))
    write_text(out / TABLE_NAME, "\n".join(markdown(results)) + "\n")
    columns = ("set", "image", *(one.label for one in entrants))
    rounded = [{label: round(value, 6) for label, value in pair.values.items()} for pair in pairs]
    lines = [values | {"set": pair.set, "image": pair.image} for values, pair in zip(rounded, pairs, strict=True)]
    write_text(out / PAIRS_NAME, csv_text(columns, lines))


def _cells(row: Comparison) -> list[str]:
    limits = row.difference_ci
    return [
        row.set,
        METRICS[row.metric].heading,
        row.first,
        row.second,
        str(row.n),
        f"{row.first_mean:.3f}",
        f"{row.second_mean:.3f}",
        f"{row.difference:+.3f}",
        f"[{limits[0]:+.3f}, {limits[1]:+.3f}]" if limits else "–",
        "–" if row.wins is None else f"{row.wins}/{row.losses}/{row.ties}",
        row.significant or "–",
    ]


def markdown(results: ComparisonResults) -> list[str]:
    """Lines of a Markdown document: the table and its explanation."""
    return [
        *results.table().markdown(),
        "",
        "Difference: second minus first on the same pictures, 95 % paired bootstrap interval over pictures. "
        "w/l/t: pictures on which the second is better, worse, equal. Significant: the interval excludes 0; with "
        "many rows some will do so by chance.",
        *results.notes,
        "",
        f"Command: `{results.command}`",
    ]


def write_sheet(
    path: Path,
    pairs: Sequence[Pair],
    entrants: Sequence[Entrant],
    samples: Mapping[tuple[str, str], Sample],
    heading: str,
) -> None:
    """Draw a row for each picture: the picture, its truth, and every entrant's map. Raises `OutputError`.

    Args:
        pairs: result of `compare.most_different`.
        samples: (set, picture) → files; pictures that no longer exist have an empty tile.
        heading: name of the metric.
    """
    tiles: list[tuple[RGB, str]] = []
    for pair in pairs:
        sample = samples.get((pair.set, pair.image))
        picture, truth = picture_and_truth(sample, TILE) if sample else (None, None)
        name = shortened(f"{pair.set}/{pair.image}")
        tiles.append((_or_blank(picture), name if picture is not None else f"{name}\nnot found"))
        tiles.append((_or_blank(truth), "truth"))
        for one in entrants:
            found = read_preview(preview_path(one.folder, one.method, pair.set, pair.image))
            caption = f"{shortened(one.label)}\n{heading}: {pair.values[one.label]:.3f}"
            tiles.append((_or_blank(None if found is None else fit(found, TILE)), caption))
    contact_sheet(path, tiles, columns=2 + len(entrants), title="Where they differ most")


def _or_blank(rgb: RGB | None) -> RGB:
    return np.full((TILE, TILE, 3), 235, np.uint8) if rgb is None else rgb
