"""The files of an evaluation for readers: `results.json`, `per_image.csv`, `curves.json` and `table.md`.

They are made from the rows, which are stored in `per_image.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.data.sets import NamedSet
from imltool.evaluation.page import Curves, MethodRows
from imltool.evaluation.results import CheckpointInfo, DataInfo, ListFile, MapsInfo, Results, Seen
from imltool.evaluation.roles import Overlap
from imltool.evaluation.rows import HALF, ImageRow
from imltool.evaluation.saved_maps import MapFolder
from imltool.evaluation.tables import markdown_table
from imltool.files import write_text
from imltool.tables import csv_text
from imltool.texts import readable

if TYPE_CHECKING:
    from imltool.inference.localizer import Localizer

RESULTS_NAME = "results.json"
JOURNAL_NAME = "per_image.jsonl"
CSV_NAME = "per_image.csv"
TABLE_NAME = "table.md"
CURVES_NAME = "curves.json"

PICTURE_METRICS = ("f1", "f1_calibrated", "iou", "mcc", "precision", "recall", "auc", "ap", "flagged_area")
CSV_COLUMNS = (
    *("method", "set", "role", "image", "tampered", "status", "reason", "width", "height", "score"),
    *("tp", "fp", "fn", "tn", *PICTURE_METRICS, "area", "kind"),
    # per picture and protocol; empty unless requested
    *("imdlbenco_f1", "imdlbenco_f1_permuted", "imdlbenco_iou", "imdlbenco_auc"),
    *("imdlbenco-padded_f1", "imdlbenco-padded_f1_permuted", "imdlbenco-padded_iou", "imdlbenco-padded_auc"),
    *("trufor_f1_best", "trufor_f1_fixed", "mvss_f1", "mvss_score"),
)


def describe_checkpoint(localizer: Localizer) -> CheckpointInfo:
    """The `checkpoint` block of `results.json`."""
    header = localizer.header
    return CheckpointInfo(
        name=header.name,
        path=readable(str(localizer.path)),
        sha256=localizer.sha256,
        threshold=header.pixel_threshold,
        score_threshold=header.score_threshold,
        input_size=header.input_size,
        engine=localizer.engine,
        precision=localizer.network.compute,
        architecture=f"boxpromptiml-{header.architecture.backbone_name}",
        architecture_settings=header.architecture.model_dump(mode="json"),
        training_sets=[one.name for one in header.training_sets],
        validation_sets=[one.name for one in header.validation_sets],
        tool_version=header.tool_version,
    )


def describe_maps(maps: MapFolder) -> MapsInfo:
    """The `maps` block of `results.json` for a folder of saved maps."""
    return MapsInfo(
        folder=str(maps.folder),
        sha256=maps.digest,
        n_maps=len(maps.files),
        n_unused=maps.unused,
        inverted=maps.invert,
        resized=maps.resize,
    )


def describe_set(one: NamedSet, overlap: Overlap) -> DataInfo:
    """The `data` block of `results.json` for a data set: location, hash, and pictures that were seen before."""
    return DataInfo(
        role=overlap.role,
        root=str(one.root),
        target=one.target,
        sha256=one.digest,
        n=len(one.samples),
        list=ListFile.model_validate(one.list_file) if one.list_file else None,
        seen=Seen(n=overlap.n_seen, source=overlap.source_set, first=overlap.first),
        similar=Seen(n=overlap.n_similar, source=overlap.similar_source, first=overlap.similar_first),
        conflict=overlap.conflict,
        used=one.account.used if one.account else len(one.samples),
        left_out={reason: tuple(names) for reason, names in one.account.left_out.items()} if one.account else {},
    )


def csv_row(method: str, set_name: str, role: str, row: ImageRow) -> dict[str, object]:
    """A line of `per_image.csv`; cells of metrics that do not exist for the picture are empty."""
    cells: dict[str, object] = {"method": method, "set": set_name, "role": role, "image": row.name}
    cells |= {"tampered": int(row.tampered), "status": "ok" if row.ok else "failed", "reason": row.reason}
    if not row.ok:
        return cells
    # nine digits distinguish any two float32, which ranking scores close to 0 and 1 requires
    cells |= {"width": row.width, "height": row.height, "score": float(f"{row.score:.9g}")}
    half = row.counts[HALF]
    cells |= {"tp": int(half.tp), "fp": int(half.fp), "fn": int(half.fn), "tn": int(half.tn)}
    numbers = {name: row.metric(name) for name in PICTURE_METRICS}
    for protocol, found in row.compat.items():
        numbers |= {f"{protocol}_{key}": value for key, value in found.items()}
    if row.tampered:
        numbers["area"] = row.edit_area()
        cells["kind"] = row.kind
    # a NaN is not equal to itself
    known = {key: value for key, value in numbers.items() if value is not None and value == value}
    return cells | {key: round(value, 6) for key, value in known.items()}


def write_files(out: Path, results: Results, rows: MethodRows, curves: Curves) -> None:
    """Write the files, each atomically; `results.json` comes last. Raises `OutputError`."""
    write_text(out / CSV_NAME, csv_text(CSV_COLUMNS, _csv_rows(results, rows)))
    drawn = {label: {name: curve.as_json() for name, curve in sets.items()} for label, sets in curves.items()}
    write_text(out / CURVES_NAME, json.dumps(drawn, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(out / TABLE_NAME, markdown_table(results))
    write_text(out / RESULTS_NAME, results.text() + "\n")


def _csv_rows(results: Results, rows: MethodRows) -> Iterator[dict[str, object]]:
    for (set_name, label), found in rows.items():
        yield from (csv_row(label, set_name, results.data[set_name].role, row) for row in found)
