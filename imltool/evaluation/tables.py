"""Results as tables: which method on which set comes where, and how a figure is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imltool.evaluation.methods import checkpoint_label

TABLE_COLUMNS: dict[str, str] = {
    "pixel_f1": "F1",
    "pixel_f1_calibrated": "F1 calibrated",
    "pixel_f1_pooled": "F1 pooled",
    "pixel_f1_oracle": "F1 oracle",
    "pixel_iou": "IoU",
    "pixel_mcc": "MCC",
    "pixel_auc": "AUC",
    "pixel_ap": "AP",
    "image_auc": "image AUC",
    "image_fpr": "image FPR",
    "image_tpr": "image TPR",
    "image_tpr_at_5fpr": "image TPR at 5 % FPR",
    "fp_area": "FP area",
}
"""Figure → heading, in table order."""


def methods_of(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Label of each method → its `sets`: the checkpoint first, then the baselines."""
    methods = {checkpoint_label(results["checkpoint"]["name"]): results["sets"]} if results["checkpoint"] else {}
    for name, block in results["baselines"].items():
        methods[name] = block["sets"]
    return methods


def table_rows(results: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(set, label of the method, figures), set by set; what is not measured yet has no row."""
    methods = methods_of(results)
    names = list(dict.fromkeys(name for sets in methods.values() for name in sets))
    return [(name, label, sets[name]) for name in names for label, sets in methods.items() if name in sets]


def figure_text(figures: Mapping[str, Any], key: str, interval: bool = False) -> str:
    """A figure with three decimals, `–` where it does not exist, its interval in brackets when asked for."""
    if figures[key] is None:
        return "–"
    text = f"{figures[key]:.3f}"
    limits = figures[f"{key}_ci"]
    return f"{text} [{limits[0]:.3f}, {limits[1]:.3f}]" if interval and limits else text


def markdown_table(results: Mapping[str, Any]) -> str:
    """All figures as a Markdown table with the definitions below it."""
    heads = ["set", "role", "method", "tampered", "authentic", *TABLE_COLUMNS.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * 3 + "---:|" * (len(heads) - 3)]
    for name, label, figures in table_rows(results):
        cells = [name.replace("|", r"\|"), figures["role"].upper(), label.replace("|", r"\|")]
        cells += [str(figures["n_tampered"]), str(figures["n_authentic"])]
        cells += [figure_text(figures, key, interval=key == "pixel_f1") for key in TABLE_COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_notes(results), "", f"Command: `{results['command']}`", ""]
    return "\n".join(lines)


def _notes(results: Mapping[str, Any]) -> list[str]:
    notes = [] if results["complete"] else ["**Not complete: the evaluation was stopped.**"]
    notes += [
        "Pixel figures: tampered pictures only, map strictly above 0.5, original resolution, averaged over pictures; "
        "pooled: from summed counts. FP area: mean share of pixels above 0.5 on authentic pictures. "
        "F1 oracle: at the one threshold that is best for the set as a whole, an upper bound that needs the truth. "
        "In brackets: 95 % bootstrap interval over pictures.",
    ]
    if results["checkpoint"]:
        threshold, score = results["checkpoint"]["threshold"], results["checkpoint"]["score_threshold"]
        notes.append(f"Calibrated threshold {threshold:g}, image operating point: score above {score:g}.")
    if results["baselines"]:
        notes.append(
            "Baselines have no calibrated threshold, compare them by F1 oracle; their image operating point is 0.5."
        )
    return notes
