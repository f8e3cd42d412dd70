"""The tables of an evaluation: their rows and columns, and the formatting of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imltool.data.accounts import reason_text
from imltool.evaluation.compat import PROTOCOLS
from imltool.evaluation.degradations import DEGRADATIONS
from imltool.evaluation.results import (
    IMAGE_METRICS,
    MEANS,
    METRICS,
    PIXEL_METRICS,
    ROBUST_METRICS,
    STRATUM_METRICS,
    Mean,
    Measured,
    ProtocolSetInfo,
    Results,
)
from imltool.tables import Table, number
from imltool.texts import counted
from imltool.versions import versions_text

DEFINITION = (
    "Pixel metrics: tampered pictures only, map strictly above 0.5, original resolution, averaged over pictures; "
    "pooled: from summed counts. FP area: mean share of pixels above 0.5 on authentic pictures. "
    "F1 oracle: at the one threshold that is best for the set as a whole, an upper bound that needs the truth. "
    "In brackets: 95 % bootstrap interval over pictures."
)
"""Definition of the headline's metrics, which accompanies them wherever they are written."""


def metric_text(measured: Measured, key: str, interval: bool = False) -> str:
    """A metric with three decimals, `–` if it does not exist, with its interval in brackets if requested."""
    return number(measured.value(key), measured.interval(key) if interval else None)


def _cells(measured: Measured, keys: Iterable[str], bracketed: Sequence[str] = ("pixel_f1",)) -> list[str]:
    return [metric_text(measured, key, interval=key in bracketed) for key in keys]


def _headings(keys: Iterable[str]) -> list[str]:
    return [METRICS[key].heading for key in keys]


def main_tables(results: Results) -> list[Table]:
    """The headline: pixels of tampered pictures, then whole pictures."""
    pixels, pictures = [], []
    for name, method, found in results.rows():
        start = [name, found.role.upper(), method.label]
        pixels.append([*start, str(found.n_tampered), *_cells(found, PIXEL_METRICS)])
        pictures.append([*start, str(found.n_tampered), str(found.n_authentic), *_cells(found, IMAGE_METRICS)])
    start = ["set", "role", "method", "tampered"]
    return [
        Table("Pixels of tampered pictures", [*start, *_headings(PIXEL_METRICS)], pixels, 3),
        Table("Pictures", [*start, "authentic", *_headings(IMAGE_METRICS)], pictures, 3),
    ]


def protocol_table(results: Results) -> list[Table]:
    """The sets of the protocol, including missing ones; none without a protocol."""
    protocol = results.protocol
    if protocol is None:
        return []
    rows = []
    for name, one in protocol.sets.items():
        conflict = name in results.data and bool(results.data[name].conflict)
        marks = {"missing": one.found is None, "other number": one.differs, "conflict": conflict}
        state = ", ".join(mark for mark, holds in marks.items() if holds) or "found"
        counts = [(one.found or {}).get("tampered"), one.published["tampered"]]
        counts += [(one.found or {}).get("authentic"), one.published["authentic"]]
        rows.append([name, one.role.upper(), state, *("–" if count is None else str(count) for count in counts)])
    heads = ["set", "role", "", "tampered", "published", "authentic", "published"]
    return [Table(f"Protocol {protocol.name}: {protocol.says}", heads, rows, 3)]


def mean_rows(results: Results) -> list[tuple[str, str, Mean]]:
    """(role or `all`, label of the method, mean) for means over two or more sets, or over a protocol's groups."""
    rows = [
        (role, method.label, mean)
        for method in results.methods
        for role, mean in method.mean.items()
        if len(mean.sets) > 1 or results.protocol
    ]
    return sorted(rows, key=lambda row: MEANS.index(row[0]))


def mean_table(results: Results) -> list[Table]:
    """Means over sets; none if no role has two sets and there is no protocol."""
    roles = [one.role for one in results.protocol.sets.values()] if results.protocol else []
    rows = []
    for role, label, mean in mean_rows(results):
        wanted = len(roles) if role == "all" else len([one for one in roles if one == role])
        count = f"{len(mean.sets)} of {wanted}" if results.protocol else str(len(mean.sets))
        rows.append([role.upper(), label, count, *_cells(mean, PIXEL_METRICS)])
    heads = ["role", "method", "sets", *_headings(PIXEL_METRICS)]
    return [Table("Means over sets, each counting once", heads, rows, 2)] if rows else []


def headline_tables(results: Results) -> list[Table]:
    """Tables at the top of the report: the protocol if there is one, pixels, means over sets, pictures."""
    pixels, pictures = main_tables(results)
    return [*protocol_table(results), pixels, *mean_table(results), pictures]


def strata_tables(results: Results) -> list[Table]:
    """One table by size of the edit and one by kind; none without data."""
    tables = []
    for key, title, head in (("area", "By size of the edit", "fifth"), ("kind", "By kind", "kind")):
        rows = []
        for name, method, found in results.rows():
            for stratum in found.strata.area if key == "area" else found.strata.kind:
                span = f"{100 * stratum.area[0]:.1f}–{100 * stratum.area[1]:.1f} %"
                cells = [name, method.label, stratum.stratum, span, str(stratum.n)]
                rows.append(cells + _cells(stratum, STRATUM_METRICS))
        if rows:
            heads = ["set", "method", head, "edited area", "tampered", *_headings(STRATUM_METRICS)]
            tables.append(Table(title, heads, rows, 3))
    return tables


def compat_tables(results: Results) -> list[Table]:
    """One table for each requested protocol of another code, with its meaning in the title."""
    tables = []
    for name in results.compat:
        columns = PROTOCOLS[name].columns
        rows = [
            [set_name, method.label, *_cells(found.compat[name], columns, ("f1", "f1_best", "f1_fixed"))]
            for set_name, method, found in results.rows()
        ]
        if rows:
            title = f"Measured as {name} does: {PROTOCOLS[name].says}"
            tables.append(Table(title, ["set", "method", *columns.values()], rows, 2))
    return tables


def robust_tables(results: Results) -> dict[str, Table]:
    """Degradation → table."""
    tables: dict[str, Table] = {}
    for name, step in DEGRADATIONS.items():
        rows = [
            [
                *(set_name, label, line.level, str(line.n_tampered), str(line.n_authentic)),
                *_cells(line, ROBUST_METRICS, ("pixel_f1", "pixel_f1_change")),
            ]
            for label, sets in (results.robust.methods if results.robust else {}).items()
            for set_name, found in sets.items()
            for line in found.get(name, [])
        ]
        if rows:
            heads = ["set", "method", step.axis, "tampered", "authentic", *ROBUST_METRICS.values()]
            tables[name] = Table(f"Robustness: {step.title}", heads, rows, 3)
    return tables


def markdown_table(results: Results) -> str:
    """All metrics as Markdown tables for use in a paper, with their definitions and how to reproduce them."""
    lines = [] if results.complete else ["**Not complete: the evaluation was stopped.**", ""]
    for table in headline_tables(results):
        lines += [f"## {table.title}", "", *table.markdown(), ""]
    lines += [*notes(results), ""]
    for table in (*strata_tables(results), *compat_tables(results), *robust_tables(results).values()):
        lines += [f"## {table.title}", "", *table.markdown(), ""]
    lines += ["## To repeat this", "", *(f"- {head}: {text}" for head, text in reproduction(results)), ""]
    return "\n".join(lines)


def notes(results: Results) -> list[str]:
    """Explanations of the headline's metrics, a sentence or two per line."""
    found = [DEFINITION]
    if results.checkpoint:
        threshold, score = results.checkpoint.threshold, results.checkpoint.score_threshold
        found.append(f"Calibrated threshold {threshold:g}, image operating point: score above {score:g}.")
    if any(method.kind != "checkpoint" for method in results.methods):
        found.append(
            "Baselines and saved maps have no calibrated threshold, compare them by F1 oracle; their image operating "
            "point is 0.5."
        )
    for method in results.methods:
        if method.maps and method.maps.inverted:
            found.append(f"The maps of {method.label} were inverted before scoring.")
        if method.maps and method.maps.resized:
            found.append(f"Maps of {method.label} with another size than their picture were scaled to it.")
    if results.options.min_max:
        found.append("Every map was stretched to 0..1 before scoring, so these metrics are not the headline's.")
    found += protocol_notes(results)
    for name, one in results.data.items():
        if one.seen.n or one.similar.n:
            found.append(
                f"{name}: {counted(one.seen.n or 0, 'picture')} the checkpoint has seen"
                + (f" ({one.seen.source})" if one.seen.n else "")
                + (f", {one.similar.n} more look like one it has seen" if one.similar.n is not None else "")
                + (f" ({one.similar.source})." if one.similar.n else ".")
            )
        if one.left_out:
            reasons = "; ".join(reason_text(reason, names) for reason, names in one.left_out.items())
            found.append(f"{name}: pictures left out: {reasons}.")
    if results.checkpoint and any(one.similar.n is None for one in results.data.values()):
        found.append(
            "Near-duplicates of training pictures were not searched for: the checkpoint has no perceptual hashes."
        )
    return found + [
        f"{name}: {label} has no metrics: {reason}."
        for name, reasons in results.unusable.items()
        for label, reason in reasons.items()
    ]


def protocol_notes(results: Results) -> list[str]:
    """Differences of these results from the tables of their protocol, a sentence or two per line."""
    protocol = results.protocol
    if protocol is None:
        return []
    found = [f"Protocol {protocol.name}: {protocol.source}. Its tables have {METRICS[protocol.metric].heading}."]
    if protocol.missing:
        found.append(
            f"Missing sets: {', '.join(protocol.missing)}. Means are over the other sets and not those of the protocol."
        )
    found += [f"{name}: {count_difference(one)}." for name, one in protocol.sets.items() if one.differs]
    return found + [f"{name}: {one.conflict}." for name, one in results.data.items() if one.conflict]


def count_difference(one: ProtocolSetInfo) -> str:
    """Difference between the numbers of pictures of a protocol's set and the published ones."""
    parts = [part for part, count in one.published.items() if count is not None]
    have = " and ".join(f"{(one.found or {})[part]} {part}" for part in parts)
    return f"{have} pictures, the protocol has {' and '.join(str(one.published[part]) for part in parts)}"


def reproduction(results: Results) -> list[tuple[str, str]]:
    """(name, value) of everything needed to reproduce these results: command, versions, hashes of weights and data."""
    rows = [("Command", f"`{results.command}`"), ("Versions", versions_text(results.versions))]
    if results.checkpoint:
        rows.append(("Weights", f"{results.checkpoint.name}, SHA-256 `{results.checkpoint.sha256}`"))
    for method in results.methods:
        if method.maps:
            text = f"{counted(method.maps.n_maps, 'file')}, SHA-256 over them `{method.maps.sha256}`"
            rows.append((f"Maps of {method.label}", text))
    if results.protocol:
        rows.append(("Protocol", f"{results.protocol.name}, SHA-256 of its file `{results.protocol.sha256}`"))
    for name, one in results.data.items():
        text = f"{counted(one.n, 'picture')}, SHA-256 over them and their masks `{one.sha256}`"
        if one.list:
            text += f", list {one.list.name} with SHA-256 `{one.list.sha256}`"
        rows.append((f"Set {name}", text))
    if results.robust:
        rows.append(("Encoders", versions_text(results.robust.encoders)))
    return rows
