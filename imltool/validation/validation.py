"""The run of a validation: scans the laboratory's pictures as in casework and counts the verdicts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from imltool.config import Settings
from imltool.data.accounts import MAX_LEFT_OUT, account_lines, require_used
from imltool.data.folder import Sample, name_below, pair_by_stem
from imltool.data.raster import settle_rasters
from imltool.data.sets import NamedSet
from imltool.data.survey import has_header
from imltool.errors import DataError, UsageError
from imltool.evaluation import metrics
from imltool.evaluation.bootstrap import estimate, resampled_levels
from imltool.evaluation.evaluation import Evaluation
from imltool.evaluation.events import Advanced, Said, Scored, Started
from imltool.evaluation.inputs import MAX_LEFT_OUT_OPTION, EvaluationSettings
from imltool.evidence.programs import names_program
from imltool.files import sha256_file, sha256_text
from imltool.journal import output_folder
from imltool.scan.inputs import plan_inputs
from imltool.scan.verdicts import INCONCLUSIVE, INDICATION, Sensitivity, Word, choose_verdicts
from imltool.scanner import Scanner
from imltool.student.header import read_header
from imltool.texts import counted
from imltool.validation.rates import Rate
from imltool.validation.report import (
    JSON_NAME,
    PAGE_NAME,
    PDF_NAME,
    PICTURES_NAME,
    both_text,
    camera_text,
    repeated_text,
    write_report,
)
from imltool.validation.results import Conditions, Group, Localization, Material, ValidationResults
from imltool.weights import student_file

if TYPE_CHECKING:
    from imltool.scan.results import ScanResult

AUTHENTIC, TAMPERED = "authentic", "tampered"
WRITTEN = (JSON_NAME, PAGE_NAME, PDF_NAME, PICTURES_NAME)
Event = Started | Advanced | Scored | Said


class ValidationSettings(Settings):
    """The options of `imltool validate`."""

    authentic: Path = Field(description="folder of authentic pictures")
    tampered: Path | None = Field(None, description="folder of edited pictures")
    masks: Path | None = Field(None, description="folder of their true masks, named like the pictures")
    weights: Path | None = Field(None, description="checkpoint file or name; null: the bundled student")
    sensitivity: Sensitivity = "medium"
    tiles: bool = False
    device: str = "auto"
    engine: str = "auto"
    max_left_out: float = Field(MAX_LEFT_OUT, ge=0, le=1, description="share of edited pictures without a usable mask")
    examiner: str | None = None
    notes: str | None = None
    pdf: bool = Field(True, description="also write the report as PDF, if WeasyPrint is available")

    def check(self) -> None:
        """Raise `UsageError` for options that exclude each other or lack another one."""
        if self.masks is not None and self.tampered is None:
            raise UsageError("--masks are masks of edited pictures", "give --tampered DIR too")

    def check_folders(self, out: Path) -> None:
        """Raise `UsageError` when one of the folders and `out` is in another: its files would be counted there too."""
        given = {"--authentic": self.authentic, "--tampered": self.tampered, "--masks": self.masks, "--out": out}
        folders = {option: folder for option, folder in given.items() if folder is not None}
        places = {option: Path(os.path.realpath(folder)) for option, folder in folders.items()}
        for inner, outer in permutations(folders, 2):
            if places[inner].is_relative_to(places[outer]):
                raise UsageError(
                    f"{inner} {folders[inner]} is in {outer} {folders[outer]}",
                    "give folders that do not hold each other: files would be counted twice",
                )


@dataclass
class Side:
    """The scanned pictures of one folder, and the output folder of their scan."""

    folder: Path
    out: Path
    rows: list[ScanResult] = field(default_factory=list)

    @property
    def ok(self) -> list[ScanResult]:
        return [row for row in self.rows if row.status == "ok"]

    def material(self, seen: set[str]) -> Material:
        listed = "".join(f"{row.path}\t{row.sha256}\n" for row in sorted(self.rows, key=lambda row: row.path))
        return Material(
            folder=str(self.folder),
            n=len(self.rows),
            sha256=sha256_text(listed),
            failed={row.path: row.reason or "" for row in self.rows if row.status != "ok"},
            seen=[row.path for row in self.rows if row.sha256 in seen],
            repeated=_repeated(self.ok),
        )


class Validation:
    """Runs a validation: iterate over `Validation(settings, out).run()`, then read `results`.

    The scans are in OUT/authentic and OUT/tampered, in the form of `imltool scan`, so that every picture can be
    inspected. A stopped validation resumes with the missing pictures.

    Attributes:
        results: the content of `validation.json`.
    """

    results: ValidationResults

    def __init__(self, settings: ValidationSettings, out: Path, *, restart: bool = False, command: str = "") -> None:
        settings.check()
        settings.check_folders(out)
        self.settings, self.out, self.command, self._restart = settings, out, command, restart

    def run(self) -> Iterator[Event]:
        """Scan, count, write the report.

        Raises `UsageError`, `DataError`, `WeightsError`, `ResumeError` or `OutputError`.
        """
        settings = self.settings
        header = read_header(student_file(settings.weights))
        sides = {AUTHENTIC: Side(settings.authentic, self.out / AUTHENTIC)}
        if settings.tampered is not None:
            sides[TAMPERED] = Side(settings.tampered, self.out / TAMPERED)
        counts = {name: _count_pictures(side) for name, side in sides.items()}
        truth = yield from self._truth()
        parameters = {
            "command": "validate",
            "weights_sha256": sha256_file(student_file(settings.weights)),
            **settings.model_dump(mode="json", include={"authentic", "tampered", "masks", "sensitivity", "tiles"}),
        }
        with output_folder(self.out, parameters, written=WRITTEN, restart=self._restart):
            scanner = Scanner(
                settings.weights,
                settings.device,
                engine=settings.engine,
                sensitivity=settings.sensitivity,
                tiles=settings.tiles,
            )
            for name, side in sides.items():
                yield Started(f"scanning {name} pictures", counts[name])
                for row in scanner.scan(side.folder, side.out, restart=self._restart):
                    side.rows.append(row)
                    yield Advanced()
                if not side.ok:
                    raise DataError(
                        f"no picture in {side.folder} could be analysed", "see the reasons in its errors.csv"
                    )
            localization = None
            if truth is not None:
                localization = yield from self._localize(truth, sides[TAMPERED].out)
            seen = {digest for one in (*header.training_sets, *header.validation_sets) for digest in one.files}
            self.results = self._count(sides, seen, localization)
            yield from self._warnings()
            yield from write_report(
                self.out, self.results, {name: side.rows for name, side in sides.items()}, settings.pdf
            )

    def _truth(self) -> Generator[Event, None, NamedSet | None]:
        """The edited pictures with their masks. Raises before the scans when too many have no usable mask."""
        images, masks = self.settings.tampered, self.settings.masks
        if images is None or masks is None:
            return None
        pairing = pair_by_stem(images, masks)
        samples = [Sample(name_below(images, image), image, mask) for image, mask in pairing.pairs.items()]
        settled = settle_rasters(samples)
        truth = NamedSet(TAMPERED, images, settled.samples, str(images.absolute()))
        for image, reason in pairing.left_out.items():
            truth.left_out.setdefault(reason, []).append(name_below(images, image))
        account = truth.survey(has_header)
        yield from (Said(f"{TAMPERED}: {note}", warning=True) for note in (*pairing.notes(), *settled.notes()))
        yield from (Said(line) for line in account_lines([account]))
        require_used([account], self.settings.max_left_out, MAX_LEFT_OUT_OPTION)
        return truth

    def _localize(self, truth: NamedSet, scanned: Path) -> Generator[Event, None, Localization]:
        """Compare the maps of the scan with the true masks."""
        evaluation = Evaluation(
            EvaluationSettings(maps=(scanned / "maps",), names=("scan",), max_left_out=1.0), sets=[truth]
        )
        try:
            for event in evaluation.run():
                if not isinstance(event, Said):
                    yield event
        except DataError as error:
            return Localization(n=0, reason=error.message)
        found = evaluation.results.methods[0].sets[TAMPERED]
        failures = evaluation.failures
        return Localization(
            n=found.n_tampered,
            pixel_f1=found.value("pixel_f1"),
            pixel_f1_ci=found.interval("pixel_f1"),
            pixel_iou=found.value("pixel_iou"),
            pixel_iou_ci=found.interval("pixel_iou"),
            reason=f"{failures[0].image}: {failures[0].reason}" if failures else _left_out(truth),
        )

    def _count(self, sides: dict[str, Side], seen: set[str], localization: Localization | None) -> ValidationResults:
        authentic, tampered = sides[AUTHENTIC], sides.get(TAMPERED)
        edited = tampered.ok if tampered else []
        untouched = {row.sha256 for row in authentic.ok}
        scores = [[row.score for row in rows if row.score is not None] for rows in (edited, authentic.ok)]
        levels = resampled_levels(*scores)
        auc, limits = estimate(lambda *drawn: metrics.auc(*levels(*drawn)), [len(side) for side in scores], 0)
        return ValidationResults(
            conditions=self._conditions(authentic.out),
            authentic=authentic.material(seen),
            tampered=tampered.material(seen) if tampered else None,
            on_both_sides=[row.path for row in edited if row.sha256 in untouched],
            false_alarms=_rate(authentic.ok, INDICATION),
            inconclusive=_rate(authentic.ok, INCONCLUSIVE),
            detections=_rate(edited, INDICATION),
            detections_inconclusive=_rate(edited, INCONCLUSIVE),
            image_auc=auc if all(scores) else None,
            image_auc_ci=limits,
            quantiles={
                f"{share}": float(np.quantile(scores[1], share / 100, method="higher")) for share in (50, 80, 95, 99)
            },
            groups={what: _groups(authentic.ok, edited, names) for what, names in GROUPS.items()},
            localization=localization,
        )

    def _conditions(self, scanned: Path) -> Conditions:
        header = read_header(student_file(self.settings.weights))
        verdicts = choose_verdicts(header, self.settings.sensitivity)
        record = json.loads((scanned / "run.json").read_text(encoding="utf-8"))
        return Conditions(
            date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            examiner=self.settings.examiner,
            notes=self.settings.notes,
            command=self.command,
            versions=record["libraries"],
            platform=record["platform"],
            checkpoint=header.name,
            checkpoint_sha256=sha256_file(student_file(self.settings.weights)),
            engine=record["model"]["engine"],
            sensitivity=self.settings.sensitivity,
            tiles=self.settings.tiles,
            indication_threshold=verdicts.indication.threshold if verdicts.indication else None,
            inconclusive_threshold=verdicts.inconclusive.threshold if verdicts.inconclusive else None,
        )

    def _warnings(self) -> Iterator[Event]:
        results = self.results
        for name, material in ((AUTHENTIC, results.authentic), (TAMPERED, results.tampered)):
            if material and material.seen:
                count = counted(len(material.seen), "picture was", "pictures were")
                text = f"{name}: {count} part of the checkpoint's training, validation or calibration"
                yield Said(f"{text}, the first is {material.seen[0]}: the rates do not hold for new pictures", True)
            if material and material.repeated:
                yield Said(f"{name}: {repeated_text(material.repeated)}", True)
            if material and material.failed:
                first, reason = next(iter(material.failed.items()))
                count = counted(len(material.failed), "picture")
                yield Said(f"{name}: {count} could not be analysed, the first: {first}: {reason}", True)
        if results.on_both_sides:
            yield Said(both_text(results.on_both_sides), True)
        if results.localization and results.localization.reason:
            yield Said(f"not all masks could be compared: {results.localization.reason}", True)


def _repeated(rows: Sequence[ScanResult]) -> list[str]:
    """The names of pictures with the same bytes as an earlier one."""
    first: dict[str | None, str] = {}
    return [row.path for row in rows if first.setdefault(row.sha256, row.path) != row.path]


def _left_out(truth: NamedSet) -> str | None:
    """The first picture without a usable mask, and the reason; None if there is none."""
    reason, names = next(iter(truth.left_out.items()), (None, [""]))
    return f"{names[0]}: {reason}" if reason else None


def _count_pictures(side: Side) -> int:
    """The number of pictures that the scan of a side will analyse. Raises `DataError` when there are none."""
    if not side.folder.is_dir():
        raise DataError(f"{side.folder} is not a folder", "give a folder of pictures")
    found = plan_inputs([side.folder], side.out).inputs
    if not found:
        raise DataError(f"{side.folder} holds no picture", "give a folder of pictures")
    return len(found)


def _camera(row: ScanResult) -> list[str]:
    return [camera_text(row) or "no camera named"]


def _program(row: ScanResult) -> list[str]:
    programs = row.context.software if row.context else ()
    return [next((trace.text for trace in programs if names_program(trace)), "no program named")]


def _coding(row: ScanResult) -> list[str]:
    context = row.context
    if context is None or context.format is None:
        return ["unknown"]
    quality = context.jpeg.quality if context.jpeg else None
    if quality is None:
        return [context.format]
    band = next(f"{low} to {high}" for low, high in ((95, 100), (85, 94), (75, 84), (0, 74)) if quality >= low)
    return [f"{context.format}, quality {band}"]


def _remarks(row: ScanResult) -> list[str]:
    return sorted({remark.id for remark in row.remarks}) or ["no remark"]


GROUPS: dict[str, Callable[[ScanResult], list[str]]] = {
    "camera": _camera,
    "program": _program,
    "coding": _coding,
    "remark": _remarks,
}
"""Property by which the rates are broken down → function that returns the groups of a picture."""


def _groups(
    authentic: Sequence[ScanResult], tampered: Sequence[ScanResult], names: Callable[[ScanResult], list[str]]
) -> list[Group]:
    """The groups with their rates, sorted from the most pictures to the fewest."""
    members: dict[str, tuple[list[ScanResult], list[ScanResult]]] = {}
    for side, rows in enumerate((authentic, tampered)):
        for row in rows:
            for name in names(row):
                members.setdefault(name, ([], []))[side].append(row)
    ranked = sorted(members.items(), key=lambda one: (-len(one[1][0]) - len(one[1][1]), one[0]))
    return [
        Group(name=name, false_alarms=_rate(clean, INDICATION), detections=_rate(edited, INDICATION))
        for name, (clean, edited) in ranked
    ]


def _rate(rows: Sequence[ScanResult], word: Word) -> Rate:
    """The rate of pictures with the verdict `word`."""
    return Rate.of(sum(row.verdict == word for row in rows), len(rows))
