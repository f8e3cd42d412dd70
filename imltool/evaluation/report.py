"""What an evaluation leaves behind: `results.json`, `per_image.csv`, `curves.json` and `table.md`.

They are written again after every set, so that a kill or a later fault costs the set in work and no other.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imltool.data.sets import NamedSet
from imltool.errors import DataError
from imltool.evaluation import compat, metrics
from imltool.evaluation.curves import calibration_error, pooled_curve, reliability
from imltool.evaluation.methods import Method
from imltool.evaluation.protocols import ProtocolRun
from imltool.evaluation.roles import Overlap
from imltool.evaluation.runner import CALIBRATED, HALF, ImageRow
from imltool.evaluation.strata import area_strata, edit_area, kind_strata
from imltool.evaluation.summary import mean_by_role, summarize_set
from imltool.evaluation.tables import DEFINITION, markdown_table, table_rows
from imltool.files import write_text
from imltool.texts import readable
from imltool.versions import installed_versions

if TYPE_CHECKING:
    from imltool.inference.localizer import Localizer

RESULTS_NAME = "results.json"
CSV_NAME = "per_image.csv"
TABLE_NAME = "table.md"
CURVES_NAME = "curves.json"

CSV_COLUMNS = (
    *("method", "set", "role", "image", "tampered", "status", "reason", "width", "height", "score"),
    *("tp", "fp", "fn", "tn", "f1", "f1_calibrated", "iou", "mcc", "precision", "recall", "auc", "ap", "flagged_area"),
    *("area", "kind"),
    # per picture and protocol; empty unless it was asked for
    *("imdlbenco_f1", "imdlbenco_iou", "trufor_f1_best", "trufor_f1_fixed", "mvss_f1", "mvss_score"),
)


def describe_checkpoint(localizer: Localizer) -> dict[str, Any]:
    """The `checkpoint` block of `results.json`."""
    header = localizer.header
    return {
        "name": header.name,
        "path": readable(str(localizer.path)),
        "sha256": localizer.sha256,
        "threshold": header.pixel_threshold,
        "score_threshold": header.score_threshold,
        "input_size": header.input_size,
        "engine": localizer.engine,
        "compute": localizer.network.compute,
        "architecture": f"boxpromptiml-{header.architecture.backbone_name}",
        "architecture_settings": header.architecture.model_dump(mode="json"),
        "training_sets": [one.name for one in header.training_sets],
        "validation_sets": [one.name for one in header.validation_sets],
        "tool_version": header.tool_version,
    }


def _number(value: float) -> float | str:
    return "" if math.isnan(value) else round(float(value), 6)


def _score(value: float) -> float:
    """A score with the digits that tell two float32 apart: its order is what counts, also next to 0 and 1."""
    return float(f"{value:.9g}")


def csv_row(method: str, set_name: str, role: str, row: ImageRow) -> dict[str, Any]:
    """One line of `per_image.csv`; cells of figures that do not exist for the picture stay empty."""
    cells: dict[str, Any] = {
        "method": method,
        "set": set_name,
        "role": role,
        "image": row.name,
        "tampered": int(row.tampered),
        "status": "ok" if row.ok else "failed",
        "reason": row.reason,
    }
    if not row.ok:
        return cells
    half = row.counts[HALF]
    cells |= {"width": row.width, "height": row.height, "score": _score(row.score)}
    cells |= {"tp": int(half.tp), "fp": int(half.fp), "fn": int(half.fn), "tn": int(half.tn)}
    cells["flagged_area"] = _number(float(metrics.flagged_area(half)))
    for protocol, figures in row.compat.items():
        cells |= {f"{protocol}_{key}": _number(value) for key, value in figures.items()}
    if row.tampered:
        cells |= {"area": _number(float(edit_area(half))), "kind": row.kind or ""}
        cells |= {"auc": _number(row.pixel_auc), "ap": _number(row.pixel_ap)}
        for name in ("f1", "iou", "mcc", "precision", "recall"):
            cells[name] = _number(float(getattr(metrics, name)(half)))
        if CALIBRATED in row.counts:
            cells["f1_calibrated"] = _number(float(metrics.f1(row.counts[CALIBRATED])))
    return cells


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `csv_row` rows, UTF-8. Atomic."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def describe_maps(method: Method) -> dict[str, Any]:
    """What `results.json` says of a folder of saved maps, beside its figures."""
    maps = method.maps
    assert maps is not None
    return {
        "folder": str(maps.folder),
        "sha256": maps.digest,
        "n_maps": len(maps.files),
        "n_unused": maps.unused,
        "inverted": maps.invert,
        "resized": maps.resize,
    }


def describe_set(one: NamedSet, overlap: Overlap) -> dict[str, Any]:
    """What `results.json` says of a data set itself: where it was, its hash, and what of it was seen before."""
    return {
        "root": str(one.root),
        "target": one.target,
        "sha256": one.digest,
        "n": len(one.samples),
        "list": one.list_file,
        "seen": {"n": overlap.n_seen, "source": overlap.source_set, "first": overlap.first},
        "similar": {"n": overlap.n_similar, "source": overlap.similar_source, "first": overlap.similar_first},
        "conflict": overlap.conflict,
        "left_out": one.notes,
    }


def results_text(results: Mapping[str, Any]) -> str:
    """The content of `results.json`; NaN never gets in (ValueError)."""
    return json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)


class Report:
    """The results of an evaluation while it grows, and the files in `out`.

    Attributes:
        results: the content of `results.json`.
        lines: the rows of `per_image.csv`.
        curves: the content of `curves.json`: method → set → `curves.pooled_curve`.
    """

    def __init__(
        self,
        out: Path,
        localizer: Localizer | None,
        methods: Sequence[Method],
        command: str,
        compat_names: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        protocol: ProtocolRun | None = None,
    ) -> None:
        self._groups = protocol.roles if protocol else None
        nothing = mean_by_role({}, self._groups)
        self.out = out
        self.results: dict[str, Any] = {
            "checkpoint": describe_checkpoint(localizer) if localizer else None,
            "complete": False,
            "definition": DEFINITION,
            "sets": {},
            "mean": nothing,
            "baselines": {
                one.baseline: {"sets": {}, "mean": nothing, "score_threshold": one.score_threshold}
                for one in methods
                if one.baseline
            },
            "maps": {
                one.label: {"sets": {}, "mean": nothing, "score_threshold": one.score_threshold, **describe_maps(one)}
                for one in methods
                if one.maps
            },
            "data": {},
            "unusable": {},
            "protocol": protocol.describe() if protocol else None,
            "compat": list(compat_names),
            "options": dict(options or {}),
            "robust": None,
            "command": command,
            "versions": installed_versions(),
        }
        self.lines: list[dict[str, Any]] = []
        self.curves: dict[str, dict[str, Any]] = {}

    def _block(self, method: Method) -> dict[str, Any]:
        if method.maps:
            block: dict[str, Any] = self.results["maps"][method.label]
        else:
            block = self.results["baselines"][method.baseline] if method.baseline else self.results
        return block

    def add(self, one: NamedSet, overlap: Overlap, method: Method, rows: Sequence[ImageRow], seed: int) -> str:
        """File the rows of one method on one set; why there are no figures when none of them was scored, else ""."""
        block = self._block(method)
        self.results["data"][one.name] = describe_set(one, overlap)
        self.lines += [csv_row(method.label, one.name, overlap.role, row) for row in rows]
        scored = [row for row in rows if row.ok]
        if not scored:
            reason = next((row.reason for row in rows), "it holds no picture")
            self.results["unusable"].setdefault(one.name, {})[method.label] = reason
            return reason
        summary = summarize_set(one.name, rows, overlap, score_threshold=method.score_threshold, seed=seed)
        groups = reliability(*([row.score for row in scored if row.tampered is side] for side in (True, False)))
        block["sets"][one.name] = summary | {
            "list": one.list_file,
            "strata": {"area": area_strata(rows, seed), "kind": kind_strata(rows, seed)},
            "reliability": {"groups": groups, "error": calibration_error(groups)},
            "compat": {
                name: compat.summarize(
                    name,
                    [compat.PictureFigures(row.tampered, row.score, row.compat.get(name, {})) for row in scored],
                    seed,
                )
                for name in self.results["compat"]
            },
        }
        block["mean"] = mean_by_role(block["sets"], self._groups)
        curve = pooled_curve(rows)
        if curve:
            self.curves.setdefault(method.label, {})[one.name] = curve
        return ""

    def refuse_empty(self) -> None:
        """Raises `DataError` when no method has figures on any set."""
        if not table_rows(self.results):
            name, reasons = next(iter(self.results["unusable"].items()))
            reason = next(iter(reasons.values()))
            raise DataError(f"data set {name} has no usable picture: {reason}", "check the folder and its masks")

    def has(self, one: NamedSet, method: Method) -> bool:
        """Whether this method is already measured on this set."""
        return one.name in self._block(method)["sets"]

    def resume(self) -> bool:
        """Take over the finished sets and the robustness of an earlier run in `out`; True when there are any.

        The caller makes sure that it had the same parameters. Results that cannot be read, or were made with other
        versions, are made again.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
            found = json.loads((self.out / RESULTS_NAME).read_text(encoding="utf-8"))
            with (self.out / CSV_NAME).open(encoding="utf-8", newline="") as handle:
                lines = list(csv.DictReader(handle))
            curves = json.loads((self.out / CURVES_NAME).read_text(encoding="utf-8"))
            if any(found[part] != self.results[part] for part in ("versions", "definition")):
                return False
            if any(found[part].keys() != self.results[part].keys() for part in ("baselines", "maps")):
                return False
            kept = ("sets", "mean", "baselines", "maps", "data", "robust")
            results = self.results | {key: found[key] for key in kept}
            # the CSV is written first, so it may hold a set that results.json does not
            known = {(name, label) for name, label, _ in table_rows(results)}
            self.results, self.curves = results, curves
            self.lines = [line for line in lines if (line["set"], line["method"]) in known]
            return bool(known)
        return False

    def write(self, complete: bool = False) -> None:
        """Write the files, each atomically."""
        self.results["complete"] = complete
        write_csv(self.out / CSV_NAME, self.lines)
        write_text(self.out / CURVES_NAME, json.dumps(self.curves, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(self.out / TABLE_NAME, markdown_table(self.results))
        write_text(self.out / RESULTS_NAME, results_text(self.results) + "\n")

    def failures(self) -> list[dict[str, Any]]:
        """The first line of every picture that some method could not score."""
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for line in self.lines:
            if line["status"] == "failed":
                first.setdefault((line["set"], line["image"]), line)
        return list(first.values())
