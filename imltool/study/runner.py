"""A study as it runs: every row with every seed trained, then measured on every set, each once."""

from __future__ import annotations

import gc
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from imltool.config import save_settings
from imltool.data.folder import require_plain
from imltool.data.sets import NamedSet
from imltool.device import choose_device
from imltool.errors import DataError, ResumeError, TrainingError
from imltool.evaluation import metrics
from imltool.evaluation.methods import choose_methods
from imltool.evaluation.roles import find_overlap
from imltool.evaluation.runner import CALIBRATED, HALF, ImageRow, evaluate_set
from imltool.evaluation.summary import summarize_set
from imltool.files import sha256_text, write_text
from imltool.inference.localizer import Localizer
from imltool.journal import Journal, dump_json, keep_parameters, output_folder, read_rows
from imltool.study.labels import label_overrides, label_quality, make_labels
from imltool.study.results import SET_FIGURES
from imltool.study.reuse import DATA_NAME, find_run, is_trained, known_figures, refuse_no_study, take_over
from imltool.study.settings import JOURNAL, Row, StudySettings
from imltool.training.loop import Training
from imltool.training.run_folder import STATE
from imltool.training.settings import SourceSettings, TrainSettings
from imltool.training.sources import build_pool, read_source

Event = dict[str, Any]
ROW_NAME = "row.json"
QUALITY_NAME = "labels.json"


class Study:
    """A study in its folder: `for event in Study(...).run()` trains and measures what is missing.

    The folder is locked until `close`.

    Files: `parameters.json` and `base.yaml` (the configuration that is studied), `study.jsonl` (one line for each row,
    seed, set and checkpoint that is measured), a folder ROW/seed-N for every run, `labels/` where rows make their own
    pseudo-masks. A run that is measured never changes again; its states to resume from are deleted.

    Args:
        only: names of the rows to train and measure; all of them when empty.
        reuse: folders of other studies, whose finished runs are taken over where settings and data are the same, and
            their pseudo-masks where teacher and boxes are.

    Raises `ResumeError` when `out` holds another study or figures of other sets, `ConfigError` or `DataError` when a
    row cannot be trained as it stands; all of that before the first step.
    """

    def __init__(
        self,
        settings: StudySettings,
        sets: Sequence[NamedSet],
        out: Path,
        device: str = "auto",
        only: Sequence[str] = (),
        reuse: Sequence[Path] = (),
    ) -> None:
        refuse_no_study(reuse)
        require_plain(out)  # rows name the pseudo-masks in it
        self.settings, self.sets, self.out, self.device, self.reuse = settings, sets, out, device, reuse
        self.rows = [row for row in settings.rows if not only or row.name in only]
        self.failed: list[Event] = []
        for row in settings.rows:
            settings.training(row, settings.seeds[0])
        unnamed = {"name", "seed"}
        base = settings.base
        parameters = {
            "command": "study",
            "study": settings.study,
            "base": base.model_dump(mode="json", exclude=unnamed),
        }
        self._held = ExitStack()
        self._held.enter_context(output_folder(out, parameters))
        save_settings(base, out / "base.yaml")
        for row in self.rows:
            keep_parameters(out / row.name / ROW_NAME, {"row": row.model_dump(mode="json")})
        self._refuse_other_sets()

    def close(self) -> None:
        """Let other commands have the folder."""
        self._held.close()

    def run(self) -> Iterator[Event]:
        """Train and measure. Yields `label`, `reused`, `run`, the events of training (with `row`, `seed`), `measure`,
        `measured` and `failed`. Seeds come one after another, so that a table of all rows is there after the first.
        """
        yield from self._prepare()
        for seed in self.settings.seeds:
            for row in self.rows:
                try:
                    yield from self._run(row, seed)
                except TrainingError as error:  # a row that diverges or needs too much memory costs no other
                    failure = {"event": "failed", "row": row.name, "seed": seed, "reason": str(error)}
                    self.failed.append(failure)
                    yield failure
                    _free_memory()

    def measurements(self) -> list[dict[str, Any]]:
        """Every line of the journal for the study's checkpoint, the newest of each row, seed and set."""
        chosen = [line for line in self._journal() if line["checkpoint"] == self.settings.checkpoint]
        return list({(line["row"], line["seed"], line["set"]): line for line in chosen}.values())

    def _journal(self) -> list[dict[str, Any]]:
        path = self.out / JOURNAL
        return read_rows(path) if path.exists() else []

    def qualities(self) -> dict[str, dict[str, Any] | None]:
        """Row → how good its pseudo-masks are (see `label_quality`), for the rows where that was measured."""
        files = {row.name: self.out / row.name / QUALITY_NAME for row in self.settings.rows}
        return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.exists()}

    def _refuse_other_sets(self) -> None:
        known = {line["set"]: line["files"] for line in self._journal()}
        for one in self.sets:
            if known.get(one.name, one.digest) != one.digest:
                raise ResumeError(
                    f"{self.out} holds figures of other pictures or masks under the name {one.name}",
                    "give the set another NAME, or choose another --out",
                )

    def _trained(self, row: Row, seed: int) -> bool:
        return is_trained(self._folder(row, seed), self.settings.training(row, seed).optim.steps)

    def _data(self, row: Row) -> dict[str, Any]:
        return dict(json.loads((self.out / row.name / DATA_NAME).read_text(encoding="utf-8")))

    def _take_figures(self, run: Path, here: Event) -> None:
        """Take over what is known of a reused run, as far as it was measured on the very same pictures and masks."""
        wanted = {one.name: one.digest for one in self.sets}
        with Journal(self.out / JOURNAL) as journal:
            for line in known_figures(run):
                if wanted.get(line["set"]) == line["files"]:
                    journal.append({**line, **here})

    def _folder(self, row: Row, seed: int) -> Path:
        return self.out / row.name / f"seed-{seed}"

    def _more(self, row: Row) -> list[str]:
        return label_overrides(self.settings.base, row.labels, self.out) if row.labels else []

    def _prepare(self) -> Iterator[Event]:
        """Make the pseudo-masks of rows with something left to train, and look at the data of these rows."""
        waiting = [row for row in self.rows if not all(self._trained(row, seed) for seed in self.settings.seeds)]
        wanted = list({row.labels.folder: row.labels for row in waiting if row.labels}.values())
        if wanted:
            yield from make_labels(self.settings.base, wanted, self.out, self.device, self.reuse)
        about_labels = any(row.labels for row in self.settings.rows)
        for row in waiting:
            training = self.settings.training(row, self.settings.seeds[0], *self._more(row))
            seen = {"pictures and labels of this row": data_digest(training)}
            keep_parameters(self.out / row.name / DATA_NAME, seen)
            if about_labels:
                quality = label_quality(training)
                write_text(self.out / row.name / QUALITY_NAME, dump_json(quality) + "\n")

    def _run(self, row: Row, seed: int) -> Iterator[Event]:
        folder, here = self._folder(row, seed), {"row": row.name, "seed": seed}
        if not self._trained(row, seed):
            settings = self.settings.training(row, seed, *self._more(row))
            run = None if folder.exists() else find_run(self.reuse, settings, self._data(row))
            if run is not None:
                take_over(run, folder)
                self._take_figures(run, here)
                yield {"event": "reused", **here, "run": str(run)}
            else:
                yield {"event": "run", **here, "steps": settings.optim.steps}
                training = Training(settings, folder, self.device, resume=True)
                for event in training.run():
                    yield {**event, **here}
                del training  # before the checkpoint is loaded
        for state in (*folder.glob(f"{STATE}*"), *folder.glob(f".{STATE}*")):
            shutil.rmtree(state, ignore_errors=True)
        done = {line["set"] for line in self.measurements() if (line["row"], line["seed"]) == (row.name, seed)}
        missing = [one for one in self.sets if one.name not in done]
        if not missing:
            return
        localizer = Localizer.load(folder / f"{self.settings.checkpoint}.safetensors", choose_device(self.device))
        for one in missing:
            yield {"event": "measure", **here, "set": one.name, "images": len(one.samples)}
            measured = measure(localizer, one)
            with Journal(self.out / JOURNAL) as journal:
                journal.append({**here, "checkpoint": self.settings.checkpoint, **measured})
            yield {"event": "measured", **here, **{key: measured[key] for key in ("set", "role", "figures")}}
        del localizer
        _free_memory()


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def data_digest(settings: TrainSettings) -> str:
    """SHA-256 over names and sizes of every picture and label file that a run may use. Raises `DataError`."""
    data = settings.data
    if not data.train:
        raise DataError("no training source", "give a --config that lists them under data.train")
    parts = [[source for source in data.train if source.weight], data.validation, data.calibration]
    return sha256_text(dump_json([[_source_files(settings, source) for source in part] for part in parts]))


def _source_files(settings: TrainSettings, source: SourceSettings) -> list[tuple[str, int]]:
    if source.kind == "synth":
        files = build_pool(settings.data, source).pool.files()
    else:
        items = read_source(settings.data, source).samples
        files = [path for item in items for path in (item.image, item.mask) if path is not None]
    try:
        return sorted((path.name, path.stat().st_size) for path in files)
    except OSError as error:
        raise DataError(f"source {source.name}: {error.filename} cannot be read: {error.strerror}") from error


def measure(localizer: Localizer, one: NamedSet) -> dict[str, Any]:
    """A checkpoint on a set with its true masks, as a line of the journal.

    `figures` are those of `imltool eval`; `images` has columns of equal length, one entry for each picture that was
    scored: `name`, `tampered`, and the figures of single pictures (None where one does not exist).
    Raises `DataError` when no picture can be scored.
    """
    (method,) = choose_methods(localizer, [], localizer.device, 0)
    header = localizer.header
    overlap = find_overlap(one.name, one.pictures, header.training_sets, header.validation_sets)
    rows = list(evaluate_set(one.samples, method.predict, method.thresholds))
    summary = summarize_set(one.name, rows, overlap, score_threshold=method.score_threshold, seed=0)
    images = [_image_figures(row) for row in rows if row.ok]
    return {
        "set": one.name,
        "files": one.digest,
        "list": one.list_file,
        "weights_sha256": localizer.sha256,
        **{key: summary[key] for key in ("role", "n_tampered", "n_authentic", "n_failed", "n_seen")},
        "first_failure": next((f"{row.name}: {row.reason}" for row in rows if not row.ok), None),
        "figures": {key: summary[key] for key in ("pixel_f1", *SET_FIGURES)},
        "images": {key: [image[key] for image in images] for key in images[0]},
    }


def _image_figures(row: ImageRow) -> dict[str, Any]:
    half = row.counts[HALF]
    figures = dict.fromkeys(("pixel_f1", "pixel_f1_calibrated", "pixel_auc", "fp_area"), math.nan)
    if row.tampered:
        figures["pixel_f1"] = float(metrics.f1(half))
        figures["pixel_f1_calibrated"] = float(metrics.f1(row.counts[CALIBRATED]))
        figures["pixel_auc"] = row.pixel_auc
    else:
        figures["fp_area"] = float(metrics.flagged_area(half))
    known = {key: None if math.isnan(value) else round(value, 6) for key, value in figures.items()}
    return {"name": row.name, "tampered": row.tampered, **known}
