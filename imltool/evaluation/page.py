"""`report.html` of an evaluation: one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imltool.data.folder import Sample
from imltool.evaluation import plots
from imltool.evaluation.curves import PooledCurve
from imltool.evaluation.gallery import galleries
from imltool.evaluation.results import Results
from imltool.evaluation.rows import ImageRow
from imltool.evaluation.tables import (
    compat_tables,
    headline_tables,
    notes,
    reproduction,
    robust_tables,
    strata_tables,
)
from imltool.files import write_text
from imltool.templates import environment

PAGE_NAME = "report.html"

MethodRows = Mapping[tuple[str, str], Sequence[ImageRow]]
"""(set, label of the method) → rows."""
Curves = Mapping[str, Mapping[str, PooledCurve]]
"""Label of the method → set → curve."""


def write_page(
    out: Path, results: Results, rows: MethodRows, curves: Curves, samples: Mapping[tuple[str, str], Sample]
) -> None:
    """Write the report of a finished evaluation. Atomic.

    Args:
        samples: (set, name) → sample, whose pictures are shown.

    Raises `OutputError`.
    """
    shown = galleries(out, rows, samples)
    page = (
        environment("imltool.evaluation")
        .get_template("report.html.j2")
        .render(
            methods=[method.label for method in results.methods],
            headline=headline_tables(results),
            notes=notes(results),
            sets=[
                {
                    "name": name,
                    "plots": _plots(name, results, rows, curves),
                    "galleries": [one for one in shown if one.set_name == name],
                }
                for name in dict.fromkeys(name for name, _, _ in results.rows())
            ],
            strata=strata_tables(results),
            compat=compat_tables(results),
            robust=[(table, _robust(name, results)) for name, table in robust_tables(results).items()],
            reproduction=[(head, text.replace("`", "")) for head, text in reproduction(results)],
        )
    )
    write_text(out / PAGE_NAME, page)


def _plots(name: str, results: Results, rows: MethodRows, curves: Curves) -> list[tuple[str, str]]:
    """(title, data URI) of a set's plots."""
    scores: dict[str, tuple[list[float], list[float]]] = {}
    for (set_name, label), found in rows.items():
        scored = [row for row in found if row.ok]
        if set_name == name and scored:
            sides = ([row.score for row in scored if row.tampered is side] for side in (True, False))
            scores[label] = (next(sides), next(sides))
    reliability = {method.label: found.reliability for set_name, method, found in results.rows() if set_name == name}
    roc, pr = plots.pixel_curves({label: sets[name] for label, sets in curves.items() if name in sets})
    drawn = [
        ("ROC of the image score", plots.image_roc(scores)),
        ("Precision and recall of the image score", plots.image_pr(scores)),
        ("Reliability of the image score", plots.reliability_plot(reliability)),
        ("ROC of all pixels", roc),
        ("Precision and recall of all pixels", pr),
    ]
    return [(what, uri) for what, uri in drawn if uri]


def _robust(name: str, results: Results) -> str:
    tables = {
        f"{label} on {set_name}": found[name]
        for label, sets in (results.robust.methods if results.robust else {}).items()
        for set_name, found in sets.items()
        if name in found
    }
    return plots.robust_plot(name, tables)
