"""`report.html` of an evaluation: one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from imltool.data.folder import Sample
from imltool.evaluation import plots
from imltool.evaluation.folder import PAGE_NAME
from imltool.evaluation.gallery import galleries
from imltool.evaluation.tables import (
    compat_tables,
    headline_tables,
    methods_of,
    notes,
    reproduction,
    robust_tables,
    strata_tables,
    table_rows,
)
from imltool.files import write_text


def write_page(
    out: Path,
    results: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Any]],
    samples: Mapping[tuple[str, str], Sample],
) -> Path:
    """Write the report of a finished evaluation and return its path. Atomic.

    Args:
        results: the content of `results.json`.
        lines: rows of `per_image.csv`.
        curves: the content of `curves.json`.
        samples: (set, name) → sample, whose pictures are shown.

    Raises `OutputError`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imltool.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = galleries(out, lines, samples)
    names = list(dict.fromkeys(name for name, _, _ in table_rows(results)))
    page = environment.get_template("report.html.j2").render(
        methods=list(methods_of(results)),
        headline=headline_tables(results),
        notes=notes(results),
        sets=[
            {
                "name": name,
                "figures": _figures(name, results, lines, curves),
                "galleries": [one for one in shown if one.set_name == name],
            }
            for name in names
        ],
        strata=strata_tables(results),
        compat=compat_tables(results),
        robust=[(table, _robust(name, results)) for name, table in robust_tables(results).items()],
        reproduction=[(head, text.replace("`", "")) for head, text in reproduction(results)],
    )
    write_text(out / PAGE_NAME, page)
    return out / PAGE_NAME


def _figures(
    name: str,
    results: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, str]]:
    """(what it shows, data URI) of one set's figures."""
    scores: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        if line["set"] == name and line["status"] == "ok":
            sides = scores.setdefault(line["method"], ([], []))
            sides[0 if str(line["tampered"]) == "1" else 1].append(float(line["score"]))
    groups = {
        label: sets[name].get("reliability", {}).get("groups", [])
        for label, sets in methods_of(results).items()
        if name in sets
    }
    pixels = plots.pixel_curves({label: sets[name] for label, sets in curves.items() if name in sets})
    drawn = [
        ("ROC of the image score", plots.image_roc(scores)),
        ("Precision and recall of the image score", plots.image_pr(scores)),
        ("Reliability of the image score", plots.reliability_figure(groups)),
        *([("ROC of all pixels", pixels[0]), ("Precision and recall of all pixels", pixels[1])] if pixels else []),
    ]
    return [(what, uri) for what, uri in drawn if uri]


def _robust(name: str, results: Mapping[str, Any]) -> str:
    tables = {
        f"{label} on {set_name}": found[name]
        for label, sets in results["robust"]["methods"].items()
        for set_name, found in sets.items()
        if name in found
    }
    return plots.robust_figure(name, tables)
