"""Results as tables: which method on which set comes where, and how a figure is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imltool.evaluation.compat import PROTOCOLS
from imltool.evaluation.degradations import GRID
from imltool.evaluation.methods import checkpoint_label
from imltool.evaluation.robust import FIGURES as ROBUST_FIGURES

PIXEL_COLUMNS: dict[str, str] = {
    "pixel_f1": "F1",
    "pixel_f1_calibrated": "F1 calibrated",
    "pixel_f1_pooled": "F1 pooled",
    "pixel_f1_oracle": "F1 oracle",
    "pixel_iou": "IoU",
    "pixel_mcc": "MCC",
    "pixel_precision": "precision",
    "pixel_recall": "recall",
    "pixel_auc": "AUC",
    "pixel_ap": "AP",
}
IMAGE_COLUMNS: dict[str, str] = {
    "image_auc": "image AUC",
    "image_balanced_accuracy": "balanced accuracy",
    "image_f1": "image F1",
    "image_tpr": "image TPR",
    "image_fpr": "image FPR",
    "image_tpr_at_5fpr": "image TPR at 5 % FPR",
    "fp_area": "FP area",
}
TABLE_COLUMNS: dict[str, str] = PIXEL_COLUMNS | IMAGE_COLUMNS
"""Figure → heading, in table order."""

STRATUM_COLUMNS: dict[str, str] = {
    "pixel_f1": "F1",
    "pixel_iou": "IoU",
    "pixel_precision": "precision",
    "pixel_recall": "recall",
}

DEFINITION = (
    "Pixel figures: tampered pictures only, map strictly above 0.5, original resolution, averaged over pictures; "
    "pooled: from summed counts. FP area: mean share of pixels above 0.5 on authentic pictures. "
    "F1 oracle: at the one threshold that is best for the set as a whole, an upper bound that needs the truth. "
    "In brackets: 95 % bootstrap interval over pictures."
)
"""What the headline's figures mean; it goes with them wherever they are written."""

MEANS = ("ind", "ood", "all")
"""Order of the means over sets."""

Table = tuple[str, list[str], list[list[str]], int]
"""Title, headings, rows, and how many leading columns hold text."""


def method_blocks(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Label of each method → what holds its `sets` and `mean`: the checkpoint first, then the baselines, then folders
    of saved maps."""
    first = {checkpoint_label(results["checkpoint"]["name"]): results} if results["checkpoint"] else {}
    return {**first, **results["baselines"], **results.get("maps", {})}


def methods_of(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Label of each method → its `sets`, in the order of `method_blocks`."""
    return {label: block["sets"] for label, block in method_blocks(results).items()}


def table_rows(results: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(set, label of the method, figures), set by set; what is not measured yet has no row."""
    methods = methods_of(results)
    names = list(dict.fromkeys(name for sets in methods.values() for name in sets))
    return [(name, label, sets[name]) for name in names for label, sets in methods.items() if name in sets]


def figure_text(figures: Mapping[str, Any], key: str, interval: bool = False) -> str:
    """A figure with three decimals, `–` where it does not exist, its interval in brackets when asked for."""
    value = figures.get(key)
    if value is None:
        return "–"
    if isinstance(value, int):
        return str(value)
    text = f"{value:.3f}"
    limits = figures.get(f"{key}_ci")
    return f"{text} [{limits[0]:.3f}, {limits[1]:.3f}]" if interval and limits else text


def _cells(figures: Mapping[str, Any], keys: Iterable[str], bracketed: Sequence[str] = ("pixel_f1",)) -> list[str]:
    return [figure_text(figures, key, interval=key in bracketed) for key in keys]


def main_tables(results: Mapping[str, Any]) -> list[Table]:
    """The headline: pixels of tampered pictures, then pictures as a whole."""
    pixels, pictures = [], []
    for name, label, figures in table_rows(results):
        start = [name, figures["role"].upper(), label]
        pixels.append([*start, str(figures["n_tampered"]), *_cells(figures, PIXEL_COLUMNS)])
        counts = [str(figures["n_tampered"]), str(figures["n_authentic"])]
        pictures.append([*start, *counts, *_cells(figures, IMAGE_COLUMNS)])
    start = ["set", "role", "method"]
    return [
        ("Pixels of tampered pictures", [*start, "tampered", *PIXEL_COLUMNS.values()], pixels, 3),
        ("Pictures", [*start, "tampered", "authentic", *IMAGE_COLUMNS.values()], pictures, 3),
    ]


def protocol_table(results: Mapping[str, Any]) -> list[Table]:
    """The sets of the protocol, missing ones too; none without a protocol."""
    protocol = results.get("protocol")
    if not protocol:
        return []
    rows = []
    for name, one in protocol["sets"].items():
        found, published = one["found"] or {}, one["published"]
        conflict = results.get("data", {}).get(name, {}).get("conflict")
        marks = {"missing": one["found"] is None, "other number": one["differs"], "conflict": bool(conflict)}
        state = ", ".join(mark for mark, holds in marks.items() if holds) or "found"
        cells = [
            str(count.get(part, "–")) for part in ("tampered", "authentic") for count in (found, _known(published))
        ]
        rows.append([name, one["role"].upper(), state, *cells])
    heads = ["set", "role", "", "tampered", "published", "authentic", "published"]
    return [(f"Protocol {protocol['name']}: {protocol['says']}", heads, rows, 3)]


def _known(counts: Mapping[str, int | None]) -> dict[str, int]:
    return {part: count for part, count in counts.items() if count is not None}


def mean_rows(results: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(role or `all`, label of the method, figures of the mean) of the means over two sets or more, or of a protocol's
    groups."""
    rows = []
    for label, block in method_blocks(results).items():
        for role, mean in block["mean"].items():
            if len(mean["sets"]) > 1 or results.get("protocol"):
                rows.append((role, label, mean))
    return sorted(rows, key=lambda row: MEANS.index(row[0]))


def mean_table(results: Mapping[str, Any]) -> list[Table]:
    """Means over sets; none where no role has two of them and there is no protocol."""
    protocol = results.get("protocol")
    roles = [one["role"] for one in protocol["sets"].values()] if protocol else []
    rows = []
    for role, label, mean in mean_rows(results):
        wanted = len(roles) if role == "all" else roles.count(role)
        count = f"{len(mean['sets'])} of {wanted}" if protocol else str(len(mean["sets"]))
        rows.append([role.upper(), label, count, *_cells(mean, PIXEL_COLUMNS)])
    title = "Means over sets, each counting once"
    return [(title, ["role", "method", "sets", *PIXEL_COLUMNS.values()], rows, 2)] if rows else []


def headline_tables(results: Mapping[str, Any]) -> list[Table]:
    """What a reader sees first: the protocol if there is one, pixels, means over sets, pictures."""
    pixels, pictures = main_tables(results)
    return [*protocol_table(results), pixels, *mean_table(results), pictures]


def strata_tables(results: Mapping[str, Any]) -> list[Table]:
    """One table by size of the edit and one by kind; none where nothing is known."""
    tables = []
    for key, title, head in (("area", "By size of the edit", "fifth"), ("kind", "By kind", "kind")):
        rows = []
        for name, label, figures in table_rows(results):
            for stratum in figures.get("strata", {}).get(key, []):
                span = f"{100 * stratum['area'][0]:.1f}–{100 * stratum['area'][1]:.1f} %"
                cells = [name, label, stratum["stratum"], span, str(stratum["n"])]
                rows.append(cells + _cells(stratum, STRATUM_COLUMNS))
        if rows:
            heads = ["set", "method", head, "edited area", "tampered", *STRATUM_COLUMNS.values()]
            tables.append((title, heads, rows, 3))
    return tables


def compat_tables(results: Mapping[str, Any]) -> list[Table]:
    """One table for each other code's way of measuring that was asked for, its meaning in the title."""
    tables = []
    for compat in results.get("compat", []):
        columns = PROTOCOLS[compat].columns
        rows = [
            [name, label, *_cells(figures["compat"][compat], columns, ("f1", "f1_best", "f1_fixed"))]
            for name, label, figures in table_rows(results)
            if compat in figures.get("compat", {})
        ]
        if rows:
            title = f"Measured as {compat} does: {PROTOCOLS[compat].says}"
            tables.append((title, ["set", "method", *columns.values()], rows, 2))
    return tables


def robust_tables(results: Mapping[str, Any]) -> dict[str, Table]:
    """Degradation → table."""
    robust = results.get("robust")
    tables: dict[str, Table] = {}
    for name, step in GRID.items():
        rows = [
            [
                *(set_name, label, line["level"], str(line["n_tampered"]), str(line["n_authentic"])),
                *_cells(line, ROBUST_FIGURES, ("pixel_f1", "pixel_f1_change")),
            ]
            for label, sets in (robust["methods"] if robust else {}).items()
            for set_name, found in sets.items()
            for line in found.get(name, [])
        ]
        if rows:
            heads = ["set", "method", step.axis, "tampered", "authentic", *ROBUST_FIGURES.values()]
            tables[name] = (f"Robustness: {step.title}", heads, rows, 3)
    return tables


def markdown(table: Table) -> list[str]:
    """Lines of a Markdown table, without its title."""
    _, heads, rows, text = table
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * text + "---:|" * (len(heads) - text)]
    return lines + ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]


def markdown_table(results: Mapping[str, Any]) -> str:
    """All figures as Markdown tables, ready for a paper, with their definitions and what repeats them."""
    lines = [] if results["complete"] else ["**Not complete: the evaluation was stopped.**", ""]
    for table in headline_tables(results):
        lines += [f"## {table[0]}", "", *markdown(table), ""]
    lines += [*notes(results), ""]
    for table in (*strata_tables(results), *compat_tables(results), *robust_tables(results).values()):
        lines += [f"## {table[0]}", "", *markdown(table), ""]
    lines += ["## To repeat this", "", *(f"- {head}: {text}" for head, text in reproduction(results)), ""]
    return "\n".join(lines)


def notes(results: Mapping[str, Any]) -> list[str]:
    """What the headline's figures mean, a sentence or two a line."""
    found = [DEFINITION]
    if results["checkpoint"]:
        threshold, score = results["checkpoint"]["threshold"], results["checkpoint"]["score_threshold"]
        found.append(f"Calibrated threshold {threshold:g}, image operating point: score above {score:g}.")
    if results["baselines"] or results.get("maps"):
        found.append(
            "Baselines and saved maps have no calibrated threshold, compare them by F1 oracle; their image operating "
            "point is 0.5."
        )
    for name, block in results.get("maps", {}).items():
        if block["inverted"]:
            found.append(f"The maps of {name} were inverted before scoring.")
        if block["resized"]:
            found.append(f"Maps of {name} that had another size than their picture were scaled to it.")
    if results.get("options", {}).get("min_max"):
        found.append("Every map was stretched to 0..1 before scoring, so these figures are not the headline's.")
    found += protocol_notes(results)
    for name, one in results.get("data", {}).items():
        if one["seen"]["n"] or one["similar"]["n"]:
            found.append(
                f"{name}: {one['seen']['n']} pictures the checkpoint has seen"
                + (f" ({one['seen']['source']})" if one["seen"]["n"] else "")
                + (f", {one['similar']['n']} more look like one it has seen" if one["similar"]["n"] is not None else "")
                + (f" ({one['similar']['source']})." if one["similar"]["n"] else ".")
            )
        if one["left_out"]:
            count = "1 file was" if len(one["left_out"]) == 1 else f"{len(one['left_out'])} files were"
            found.append(f"{name}: {count} left out when the set was read, the first: {one['left_out'][0]}.")
    if results["checkpoint"] and any(one["similar"]["n"] is None for one in results.get("data", {}).values()):
        found.append("Near-duplicates of training pictures were not looked for: the checkpoint has no hashes of looks.")
    found += [
        f"{name}: {label} has no figures: {reason}."
        for name, reasons in results.get("unusable", {}).items()
        for label, reason in reasons.items()
    ]
    return found


def protocol_notes(results: Mapping[str, Any]) -> list[str]:
    """What stands between these results and the tables of their protocol, a sentence or two a line."""
    protocol = results.get("protocol")
    if not protocol:
        return []
    found = [f"Protocol {protocol['name']}: {protocol['source']}. Its tables have {PIXEL_COLUMNS[protocol['figure']]}."]
    if protocol["missing"]:
        found.append(
            f"Missing sets: {', '.join(protocol['missing'])}. Means are over the others and not the protocol's own."
        )
    for name, one in protocol["sets"].items():
        if one["differs"]:
            found.append(f"{name}: {count_difference(one)}.")
    found += [f"{name}: {one['conflict']}." for name, one in results.get("data", {}).items() if one.get("conflict")]
    return found


def count_difference(one: Mapping[str, Any]) -> str:
    """How the pictures of a protocol's set, as in its `protocol` block, differ in number from the published ones."""
    parts = [part for part, count in one["published"].items() if count is not None]
    have = " and ".join(f"{one['found'][part]} {part}" for part in parts)
    return f"{have} pictures, the protocol has {' and '.join(str(one['published'][part]) for part in parts)}"


def reproduction(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value) of everything that makes these results again: command, versions, hashes of weights and data."""
    rows = [("Command", f"`{results['command']}`")]
    rows.append(
        ("Versions", ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version))
    )
    if results["checkpoint"]:
        rows.append(("Weights", f"{results['checkpoint']['name']}, SHA-256 `{results['checkpoint']['sha256']}`"))
    for name, block in results.get("maps", {}).items():
        rows.append((f"Maps of {name}", f"{block['n_maps']} files, SHA-256 over them `{block['sha256']}`"))
    if results.get("protocol"):
        protocol = results["protocol"]
        rows.append(("Protocol", f"{protocol['name']}, SHA-256 of its file `{protocol['sha256']}`"))
    for name, one in results.get("data", {}).items():
        text = f"{one['n']} pictures, SHA-256 over them and their masks `{one['sha256']}`"
        if one["list"]:
            text += f", list {one['list']['name']} with SHA-256 `{one['list']['sha256']}`"
        rows.append((f"Set {name}", text))
    if results.get("robust"):
        encoders = results["robust"]["encoders"]
        rows.append(("Encoders", ", ".join(f"{name} {version}" for name, version in encoders.items() if version)))
    return rows
