"""Run a study: train every row with every seed, then measure it on every set, each once."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from imltool.config import save_settings
from imltool.data.accounts import MAX_LEFT_OUT, Account, account_lines, write_accounts
from imltool.data.folder import require_plain
from imltool.data.sets import NamedSet
from imltool.device import choose_device
from imltool.errors import DataError, ResumeError, TrainingError
from imltool.evaluation.evaluation import Evaluation
from imltool.evaluation.events import Said, Started
from imltool.evaluation.inputs import EvaluationSettings, count_usable
from imltool.evaluation.results import ListFile
from imltool.evaluation.rows import ImageRow
from imltool.files import sha256_text, write_text
from imltool.inference.localizer import Localizer
from imltool.journal import Journal, dump_json, keep_parameters, output_folder
from imltool.study.events import Event, Measured, Run, Trained
from imltool.study.labels import label_overrides, label_quality, make_labels
from imltool.study.results import SET_METRICS, LabelQuality, Measurement, PictureColumns
from imltool.study.reuse import (
    DATA_NAME,
    find_run,
    is_trained,
    known_measurements,
    read_measurements,
    refuse_no_study,
    take_over,
)
from imltool.study.settings import JOURNAL, StudySettings, Variant
from imltool.training.loop import Training
from imltool.training.run_folder import STATE
from imltool.training.settings import MAX_LEFT_OUT_OPTION, SourceSettings, TrainSettings
from imltool.training.sources import build_pool, read_source

ROW_NAME = "row.json"
QUALITY_NAME = "labels.json"


class Study:
    """A study in its folder: `for event in Study(...).run()` trains and measures everything that is missing.

    The folder is locked until `close`.

    Files: `parameters.json` and `base.yaml` (the studied configuration), `study.jsonl` (a line for each measured row,
    seed, set and checkpoint), a folder ROW/seed-N for every run, and `labels/` if rows make their own pseudo-masks. A
    measured run is never changed; its states to resume from are deleted.

    Args:
        only: names of the rows to train and measure; all if empty.
        reuse: folders of other studies. Their finished runs are taken over if settings and data are the same, and their
            pseudo-masks if teacher and boxes are the same.

    Raises `ResumeError` when `out` contains another study or measurements of other sets, `ConfigError` or `DataError`
    when a row cannot be trained; all of them before the first step.
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
        self.failed: list[Run] = []
        for row in settings.rows:
            settings.training(row, settings.seeds[0])
        unnamed = {"name", "seed"}
        base = settings.base
        # max_left_out is not part of the study, so that after a refusal more can be allowed in the same folder
        studied = base.model_copy(update={"data": base.data.model_copy(update={"max_left_out": MAX_LEFT_OUT})})
        parameters = {
            "command": "study",
            "study": settings.study,
            "base": studied.model_dump(mode="json", exclude=unnamed),
        }
        self._held = ExitStack()
        self._held.enter_context(output_folder(out, parameters))
        save_settings(base, out / "base.yaml")
        for row in self.rows:
            keep_parameters(out / row.name / ROW_NAME, {"row": row.model_dump(mode="json")})
        self._refuse_other_sets()

    def close(self) -> None:
        """Release the folder."""
        self._held.close()

    def run(self) -> Iterator[Event]:
        """Train and measure, one seed for all rows after the other, so that the first seed gives a full table."""
        yield from self._prepare()
        for seed in self.settings.seeds:
            for row in self.rows:
                try:
                    yield from self._run(row, seed)
                except TrainingError as error:  # a row that diverges or runs out of memory does not affect others
                    self.failed.append(Run(row.name, seed))
                    yield Said(f"{self.failed[-1]}: {error}", error=True)
                    _free_memory()

    def measurements(self) -> list[Measurement]:
        """Measurements of the study's checkpoint in the journal, the newest for each row, seed and set."""
        chosen = [line for line in self._journal() if line.checkpoint == self.settings.checkpoint]
        return list({(line.row, line.seed, line.set): line for line in chosen}.values())

    def _journal(self) -> list[Measurement]:
        path = self.out / JOURNAL
        return read_measurements(path) if path.exists() else []

    def qualities(self) -> dict[str, LabelQuality | None]:
        """Row → quality of its pseudo-masks, for rows with a measured quality."""
        files = {row.name: self.out / row.name / QUALITY_NAME for row in self.settings.rows}
        found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.exists()}
        return {name: None if one is None else LabelQuality.model_validate(one) for name, one in found.items()}

    def _refuse_other_sets(self) -> None:
        known = {line.set: line.files for line in self._journal()}
        for one in self.sets:
            if known.get(one.name, one.digest) != one.digest:
                raise ResumeError(
                    f"{self.out} holds measurements of other pictures or masks under the name {one.name}",
                    "give the set another NAME, or choose another --out",
                )

    def _trained(self, row: Variant, seed: int) -> bool:
        return is_trained(self._folder(row, seed), self.settings.training(row, seed))

    def _take_measurements(self, run: Path, here: Run) -> None:
        """Take over a reused run's measurements on the same pictures and masks."""
        wanted = {one.name: one.digest for one in self.sets}
        for line in known_measurements(run):
            if wanted.get(line.set) == line.files:
                self._keep(line.model_copy(update={"row": here.row, "seed": here.seed}))

    def _keep(self, line: Measurement) -> None:
        with Journal(self.out / JOURNAL) as journal:
            journal.append(line.model_dump(mode="json"))

    def _folder(self, row: Variant, seed: int) -> Path:
        return self.out / row.name / f"seed-{seed}"

    def _more(self, row: Variant) -> list[str]:
        return label_overrides(self.settings.base, row.labels, self.out) if row.labels else []

    def _prepare(self) -> Iterator[Event]:
        """Make the pseudo-masks of rows that still need training, and check the data of these rows."""
        accounts: list[Account] = []
        most = self.settings.base.data.max_left_out
        yield from count_usable(self.sets, (), accounts, decoding=True, most=most, option=MAX_LEFT_OUT_OPTION)
        write_accounts(self.out, accounts)
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
                text = dump_json(quality.model_dump(mode="json") if quality else None)
                write_text(self.out / row.name / QUALITY_NAME, text + "\n")

    def _run(self, row: Variant, seed: int) -> Iterator[Event]:
        folder, here = self._folder(row, seed), Run(row.name, seed)
        if not self._trained(row, seed):
            settings = self.settings.training(row, seed, *self._more(row))
            run = None if folder.exists() else find_run(self.reuse, settings, self.out / row.name)
            if run is not None:
                take_over(run, folder)
                self._take_measurements(run, here)
                yield Said(f"{here}: taken over from {run}")
            else:
                yield Started(f"{here}: training", settings.optim.steps)
                training = Training(settings, folder, self.device, resume=True)
                yield from (Said(line) for line in account_lines(training.accounts))
                for event in training.run():
                    yield Trained(here, event)
                del training  # free its memory before the checkpoint is loaded
        for state in (*folder.glob(f"{STATE}*"), *folder.glob(f".{STATE}*")):
            shutil.rmtree(state, ignore_errors=True)
        done = {line.set for line in self.measurements() if (line.row, line.seed) == (row.name, seed)}
        missing = [one for one in self.sets if one.name not in done]
        if missing:
            yield from self._measure(here, folder / f"{self.settings.checkpoint}.safetensors", missing)

    def _measure(self, here: Run, weights: Path, sets: Sequence[NamedSet]) -> Iterator[Event]:
        """Evaluate a checkpoint on sets with their true masks, like `imltool eval`."""
        localizer = Localizer.load(weights, choose_device(self.device))
        for one in sets:
            asked = EvaluationSettings(device=self.device, max_left_out=1.0)  # checked before the first run
            evaluation = Evaluation(asked, sets=[one], localizer=localizer)
            # the sets' relation to the checkpoint is in the journal; its messages would be repeated for every run
            yield from (event for event in evaluation.run() if not isinstance(event, Said))
            (method,) = evaluation.results.methods
            found, rows = method.sets[one.name], evaluation.rows[one.name, method.label]
            self._keep(
                Measurement(
                    row=here.row,
                    seed=here.seed,
                    checkpoint=self.settings.checkpoint,
                    set=one.name,
                    files=one.digest,
                    list=ListFile.model_validate(one.list_file) if one.list_file else None,
                    weights_sha256=localizer.sha256,
                    role=found.role,
                    n_tampered=found.n_tampered,
                    n_authentic=found.n_authentic,
                    n_failed=found.n_failed,
                    n_seen=found.n_seen,
                    first_failure=next((f"{one.image}: {one.reason}" for one in evaluation.failures), None),
                    metrics={key: found.value(key) for key in ("pixel_f1", *SET_METRICS)},
                    images=_columns([row for row in rows if row.ok]),
                )
            )
            yield Measured(here, one.name, found.role, found.value("pixel_f1"))
        del localizer
        _free_memory()


def _columns(rows: Sequence[ImageRow]) -> PictureColumns:
    def column(name: str, tampered: bool = True) -> list[float | None]:
        values = [row.metric(name) if row.tampered is tampered else None for row in rows]
        return [None if value is None else round(value, 6) for value in values]

    return PictureColumns(
        name=[row.name for row in rows],
        tampered=[row.tampered for row in rows],
        pixel_f1=column("f1"),
        pixel_f1_calibrated=column("f1_calibrated"),
        pixel_auc=column("auc"),
        fp_area=column("flagged_area", tampered=False),
    )


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
        files = build_pool(settings.data, source).pool.hosts
    else:
        items = read_source(settings.data, source).samples
        files = [path for item in items for path in (item.image, item.mask) if path is not None]
    try:
        return sorted((path.name, path.stat().st_size) for path in files)
    except OSError as error:
        raise DataError(f"source {source.name}: {error.filename} cannot be read: {error.strerror}") from error
