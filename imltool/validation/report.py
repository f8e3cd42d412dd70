"""The files of a validation: `validation.json`, `pictures.csv`, `report.html` and `report.pdf`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imltool.errors import UsageError
from imltool.evaluation.events import Said
from imltool.evidence.facts import camera_name
from imltool.files import write_text
from imltool.scan.pdf import lay_out
from imltool.student.operating_points import SCORE_DIGITS
from imltool.tables import Table, csv_text, number
from imltool.templates import environment
from imltool.texts import counted
from imltool.validation.rates import FEW, Rate
from imltool.validation.results import Localization, Material, ValidationResults
from imltool.versions import versions_text

if TYPE_CHECKING:
    from imltool.scan.results import ScanResult

JSON_NAME = "validation.json"
PICTURES_NAME = "pictures.csv"
PAGE_NAME = "report.html"
PDF_NAME = "report.pdf"
COLUMNS = ("side", "path", "sha256", "status", "reason", "score", "verdict", "camera", "format", "width", "height")

LIMITS = (
    "The rates hold for pictures like those listed here: from the same sources, coded and processed alike. They say "
    "nothing about other cameras, messengers or kinds of editing.",
    "They hold for this version, checkpoint, engine and sensitivity. Another one needs its own validation.",
    "A detection rate depends on what was edited, how, and in what size. The rate for pictures edited for a test may "
    "differ from that in casework.",
    "An indication is a reason to look, not a finding; no indication does not show that a picture is authentic.",
    "The intervals are exact (Clopper-Pearson, 95 %) and assume that the pictures were chosen independently. Several "
    "pictures of one scene or series count for less than their number.",
)
GROUP_TITLES = {
    "camera": "By camera named in the file",
    "program": "By the first program named in the file",
    "coding": "By format and JPEG quality",
    "remark": "By remark on the file (a picture can have several)",
}


def write_report(
    out: Path, results: ValidationResults, rows: Mapping[str, Sequence[ScanResult]], pdf: bool
) -> Iterator[Said]:
    """Write all files, each atomically. Yields why a requested PDF could not be made. Raises `OutputError`."""
    write_text(out / PICTURES_NAME, csv_text(COLUMNS, _picture_rows(rows)))
    page = render(results)
    write_text(out / PAGE_NAME, page)
    if pdf:
        try:
            lay_out(page, out / PDF_NAME)
        except UsageError as error:
            yield Said(f"no {PDF_NAME}: {error.message} ({error.remedy})")
    write_text(out / JSON_NAME, results.text() + "\n")


def render(results: ValidationResults) -> str:
    """The page: one file that opens offline and can be printed completely."""
    conditions = results.conditions

    facts = [
        ("Date", conditions.date),
        ("Examiner", conditions.examiner or "–"),
        ("Notes", conditions.notes or "–"),
        ("Checkpoint", f"{conditions.checkpoint}, SHA-256 {conditions.checkpoint_sha256}"),
        ("Engine", conditions.engine),
        ("Sensitivity", f"{conditions.sensitivity}{', with tiles' if conditions.tiles else ''}"),
        ("Indication above a score of", _number(conditions.indication_threshold)),
        ("Inconclusive above a score of", _number(conditions.inconclusive_threshold)),
    ]
    repeat = [
        ("Command", conditions.command),
        ("Versions", versions_text(conditions.versions)),
        ("System", conditions.platform),
    ]
    for name, material in (("Authentic pictures", results.authentic), ("Edited pictures", results.tampered)):
        if material:
            files = f"{counted(material.n, 'file')} in {material.folder}"
            repeat.append((name, f"{files}, SHA-256 over their names and hashes {material.sha256}"))
    return (
        environment("imltool.validation", "imltool.evaluation")
        .get_template("validation.html.j2")
        .render(
            facts=facts,
            rates=rate_table(results),
            notes=notes(results),
            groups=[table for table in group_tables(results) if len(table.rows) > 1],
            quantiles=_quantile_table(results),
            limits=LIMITS,
            reproduction=repeat,
        )
    )


def rate_table(results: ValidationResults) -> Table:
    """The main table: false alarms and detections with their intervals."""
    rows = [
        ["false alarms: authentic pictures with an indication", *_cells(results.false_alarms)],
        ["authentic pictures that are inconclusive", *_cells(results.inconclusive)],
    ]
    if results.tampered:
        rows += [
            ["detections: edited pictures with an indication", *_cells(results.detections)],
            ["edited pictures that are inconclusive", *_cells(results.detections_inconclusive)],
        ]
    return Table("Rates", ["", "pictures", "share", "95 % interval"], rows, 1)


def _cells(rate: Rate) -> list[str]:
    if rate.share is None:
        return ["0 of 0", "–", "–"]
    return [f"{rate.k} of {rate.n}", _percent(rate.share), f"{_percent(rate.low)} to {_percent(rate.high)}"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.{SCORE_DIGITS}f}"


def group_tables(results: ValidationResults) -> list[Table]:
    """The rates by camera, program, coding and remark."""
    tables = []
    for what, groups in results.groups.items():
        heads = [what, "authentic", "false alarms", "95 % interval"]
        heads += ["edited", "detections", "95 % interval"] if results.tampered else []
        rows = []
        for group in groups:
            cells = [group.name]
            for rate in (group.false_alarms, group.detections) if results.tampered else (group.false_alarms,):
                limits = f"{_percent(rate.low)} to {_percent(rate.high)}" if rate.n else "–"
                share = f"{rate.k} ({_percent(rate.share)})" if rate.share is not None else "–"
                cells += [str(rate.n), share, limits]
            rows.append(cells)
        tables.append(Table(GROUP_TITLES[what], heads, rows, 1))
    return tables


def _quantile_table(results: ValidationResults) -> Table:
    rows = [[f"{share} %", f"{score:.4f}"] for share, score in results.quantiles.items()]
    return Table("Scores of the authentic pictures", ["share of them at or below", "score"], rows, 1)


def notes(results: ValidationResults) -> list[str]:
    """What a reader has to know besides the rates: one or two sentences per item."""
    found: list[str] = []
    for name, material in (("authentic", results.authentic), ("edited", results.tampered)):
        if material:
            found += _material_notes(name, material)
    if results.on_both_sides:
        found.append(f"Warning: {both_text(results.on_both_sides)}.")
    if results.false_alarms.n and not results.false_alarms.k:
        high = _percent(results.false_alarms.high)
        found.append(f"No false alarm occurred; the true rate may still be as high as {high}.")
    if results.image_auc is not None:
        found.append(f"Area under the ROC of the score: {number(results.image_auc, results.image_auc_ci)}.")
    if results.localization:
        found.append(_localization_note(results.localization))
    if any(group.false_alarms.n < FEW for groups in results.groups.values() for group in groups):
        found.append(f"Rates of groups with fewer than {FEW} pictures are uncertain: see their intervals.")
    return found


def _material_notes(name: str, material: Material) -> Iterator[str]:
    if material.failed:
        first, reason = next(iter(material.failed.items()))
        count = counted(len(material.failed), "picture")
        yield f"{count} of the {name} ones could not be analysed and count in no rate, the first: {first}: {reason}."
    if material.seen:
        count = counted(len(material.seen), "picture was", "pictures were")
        yield (
            f"Warning: {count} part of the checkpoint's training, validation or calibration among the {name} ones "
            f"({material.seen[0]}). The rates do not hold for new pictures: validate without these."
        )
    if material.repeated:
        yield f"Warning: among the {name} ones, {repeated_text(material.repeated)}."


def repeated_text(names: Sequence[str]) -> str:
    """A clause on pictures with the same bytes as another one."""
    count = counted(len(names), "picture has", "pictures have")
    return f"{count} the same bytes as another one ({names[0]}): the intervals count each as a picture of its own"


def both_text(names: Sequence[str]) -> str:
    """A clause on edited pictures that are among the authentic ones too."""
    count = counted(len(names), "edited picture is", "edited pictures are")
    return f"{count} also among the authentic ones ({names[0]}): one of the rates is wrong"


def _localization_note(one: Localization) -> str:
    if one.pixel_f1 is None:
        return f"Maps could not be compared with masks: {one.reason}."
    text = f"Maps against true masks on {one.n} edited pictures: pixel F1 {number(one.pixel_f1, one.pixel_f1_ci)}"
    text += f", IoU {number(one.pixel_iou, one.pixel_iou_ci)} (map above 0.5, mean over pictures, bootstrap)."
    return text + (f" Not all could be compared, the first: {one.reason}." if one.reason else "")


def camera_text(row: ScanResult) -> str:
    """The camera that the file names; "" for none."""
    return camera_name(row.context.camera) if row.context else ""


def _picture_rows(rows: Mapping[str, Sequence[ScanResult]]) -> Iterator[dict[str, object]]:
    for side, found in rows.items():
        for row in found:
            yield {
                "side": side,
                "path": row.path,
                "sha256": row.sha256,
                "status": row.status,
                "reason": row.reason,
                "score": row.score,
                "verdict": row.verdict,
                "width": row.width,
                "height": row.height,
                "camera": camera_text(row),
                "format": row.context.format if row.context else None,
            }
