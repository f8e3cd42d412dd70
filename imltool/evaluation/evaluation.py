"""Run an evaluation: `for event in Evaluation(settings, out).run()`, then read `results`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imltool.data.accounts import ACCOUNTS, Account, write_accounts
from imltool.data.sets import NamedSet
from imltool.device import choose_device
from imltool.errors import DataError
from imltool.evaluation import compat
from imltool.evaluation.curves import PooledCurve, pooled_curve
from imltool.evaluation.events import Event, Said, Scored, Started
from imltool.evaluation.gallery import preview_path, remove_previews, write_preview
from imltool.evaluation.inputs import (
    EvaluationSettings,
    count_usable,
    find_overlaps,
    open_maps,
    open_sets,
    set_warnings,
)
from imltool.evaluation.methods import (
    Method,
    baseline_method,
    checkpoint_method,
    maps_method,
    refuse_doubled,
    refuse_other_weights,
)
from imltool.evaluation.page import PAGE_NAME, write_page
from imltool.evaluation.protocols import ProtocolRun
from imltool.evaluation.report import (
    CSV_NAME,
    CURVES_NAME,
    JOURNAL_NAME,
    RESULTS_NAME,
    TABLE_NAME,
    describe_checkpoint,
    describe_maps,
    describe_set,
    write_files,
)
from imltool.evaluation.results import MethodResult, Options, Results
from imltool.evaluation.robust import JOURNAL_NAME as ROBUST_NAME
from imltool.evaluation.robust import RobustRun
from imltool.evaluation.roles import Overlap
from imltool.evaluation.rows import Counting, ImageRow, open_rows
from imltool.evaluation.runner import evaluate_set
from imltool.evaluation.saved_maps import MapFolder, looks_inverted
from imltool.evaluation.summary import mean_by_role, summarize_set
from imltool.evaluation.tables import DEFINITION
from imltool.journal import Journal, holds_run, output_folder
from imltool.pictures.images import Map
from imltool.texts import counted
from imltool.versions import installed_versions

if TYPE_CHECKING:
    from imltool.data.folder import Sample
    from imltool.inference.localizer import Localizer

PARAMETERS_NAME = "eval_parameters.json"
KIND = "evaluation"
WRITTEN = (RESULTS_NAME, JOURNAL_NAME, CSV_NAME, CURVES_NAME, TABLE_NAME, ROBUST_NAME, PAGE_NAME, ACCOUNTS)
"""Files that an evaluation writes in addition to its parameters and previews."""


@dataclass(frozen=True)
class Failure:
    """A picture that at least one method could not score."""

    set: str
    image: str
    reason: str


class Evaluation:
    """Measure methods on labelled sets.

    With a folder, every picture scored by a method is a line of `per_image.jsonl` in it, from which a stopped
    evaluation resumes; tables are written after every set and the report at the end. Without a folder, `results` and
    `rows` are the only output.

    Args:
        settings: the settings of the evaluation.
        out: folder for the results: new, empty, or of an evaluation with the same settings.
        restart: discard the files of an earlier evaluation in it.
        command: the command line, for the record.
        sets: data sets instead of those in `settings`; hashed ones are not hashed again.
        localizer: the checkpoint instead of the one in `settings`.

    Attributes:
        results: the content of `results.json`, available from the first picture on.
        rows: (set, label of the method) → rows in the set's order.
        sets: the data sets.
        missing: names of sets of the protocol that were not found.
        accounts: number of used pictures of each set, and the reasons for leaving out others.
    """

    results: Results

    def __init__(
        self,
        settings: EvaluationSettings,
        out: Path | None = None,
        *,
        restart: bool = False,
        command: str = "",
        sets: Sequence[NamedSet] = (),
        localizer: Localizer | None = None,
    ) -> None:
        settings.check()
        self.settings, self.out, self.command = settings, out, command
        self.sets = list(sets)
        self.rows: dict[tuple[str, str], list[ImageRow]] = {}
        self.missing: list[str] = []
        self.accounts: list[Account] = []
        self._restart, self._localizer = restart, localizer
        self._curves: dict[str, dict[str, PooledCurve]] = {}
        self._overlaps: dict[str, Overlap] = {}
        self._methods: list[Method] = []
        self._protocol: ProtocolRun | None = None

    @property
    def failures(self) -> list[Failure]:
        """Every picture that at least one method could not score, with the first reason."""
        found: dict[tuple[str, str], Failure] = {}
        for (name, _), rows in self.rows.items():
            for row in rows:
                if not row.ok:
                    found.setdefault((name, row.name), Failure(name, row.name, row.reason))
        return list(found.values())

    def run(self) -> Iterator[Event]:
        """Measure all pictures that have not been measured yet.

        Raises `UsageError`, `DataError`, `WeightsError` or `ResumeError` before the first picture for unusable sets,
        methods or folders; `DataError` when no method can score a picture of any set; `OutputError`.
        """
        if self.out is not None:
            holds_run(self.out, PARAMETERS_NAME, KIND)  # before the pictures are hashed
        if not self.sets:
            self.sets, self._protocol = open_sets(self.settings)
            yield from set_warnings(self.sets, self._protocol)
        run = self._protocol
        self.missing = [one.name for one in run.missing] if run else []
        folders: list[MapFolder] = []
        yield from open_maps(self.settings, self.sets, folders)
        device = choose_device(self.settings.device)
        if self.settings.checkpoint and self._localizer is None:
            self._localizer = self._load(device)
        refuse = self.settings.ood and not self.settings.allow_overlap
        roles = run.roles if run else None
        yield from find_overlaps(self.sets, self._localizer, self._overlaps, refuse=refuse, roles=roles)
        self._choose_methods(folders, device)
        predicts = bool(self._localizer or self.settings.baselines)
        yield from count_usable(self.sets, folders, self.accounts, decoding=predicts, most=self.settings.max_left_out)
        protocols = tuple(dict.fromkeys([*(run.settings.compat if run else ()), *self.settings.compat]))
        own = self._localizer.header.input_size if self._localizer else compat.DEFAULT_SIDE
        counting = Counting(protocols, self.settings.compat_size or own, min_max=self.settings.min_max)
        with ExitStack() as held:
            if self.out is not None:
                held.enter_context(self._folder(self.out, folders, counting))
                write_accounts(self.out, self.accounts)
            self._begin(counting)
            known: list[tuple[str, str, ImageRow]] = []
            journal = None
            if self.out is not None:
                header = {"versions": self.results.versions, "definition": DEFINITION}
                journal, known, why = open_rows(self.out / JOURNAL_NAME, header, _read_row)
                held.enter_context(journal)
                kept = counted(len(known), "row is", "rows are")
                if known or why:
                    yield Said(
                        f"the rows in {self.out} {why}: measured again"
                        if why
                        else f"resuming: {kept} in {self.out} (--restart measures them again)"
                    )
            for one in self.sets:
                yield from self._measure(one, counting, known, journal)
            self._refuse_empty()
            if self.out is not None:
                yield from self._degrade(self.out)
            self.results.complete = True
            self._write()
            if self.out is not None:
                samples = {(one.name, sample.name): sample for one in self.sets for sample in one.samples}
                write_page(self.out, self.results, self.rows, self._curves, samples)

    def _load(self, device: Any) -> Localizer:
        from imltool.inference.localizer import Localizer

        path = Path(self.settings.weights) if self.settings.weights else None
        if path is not None:
            refuse_other_weights(path)
        return Localizer.load(path, device, self.settings.engine, self.settings.precision)  # type: ignore[arg-type]

    @contextmanager
    def _folder(self, out: Path, folders: Sequence[MapFolder], counting: Counting) -> Iterator[None]:
        localizer, settings = self._localizer, self.settings
        parameters = {
            "weights": localizer.sha256 if localizer else None,
            # a key per set, so that a refusal names the set that differs
            **{f"files of {one.name}": one.digest for one in self.sets},
            "baselines": list(settings.baselines),
            **{f"maps of {one.name}": one.digest for one in folders},
            "protocol": self._protocol.sha256 if self._protocol else None,
            "compat": {one: counting.side if one == "imdlbenco" else "original size" for one in counting.protocols},
            "min_max": settings.min_max,
            "tiles": settings.tiles,
            "engine": localizer.network.engine if localizer else None,
            "precision": localizer.network.compute if localizer else None,
            "ood": settings.ood,
            "seed": settings.seed,
        }
        restart = self._restart or not _holds_rows(out)  # without rows there is nothing to keep
        with output_folder(out, parameters, PARAMETERS_NAME, KIND, written=WRITTEN, restart=restart) as resumed:
            if not resumed:
                remove_previews(out)
            yield

    def _choose_methods(self, folders: Sequence[MapFolder], device: Any) -> None:
        if self._localizer is not None:
            self._methods.append(checkpoint_method(self._localizer, self.settings.tiles))
        for name in self.settings.baselines:
            self._methods.append(baseline_method(name, self._localizer, device, self.settings.seed))
        self._methods += [maps_method(one) for one in folders]
        refuse_doubled(self._methods)

    def _begin(self, counting: Counting) -> None:
        roles = self._protocol.roles if self._protocol else None
        self.results = Results(
            definition=DEFINITION,
            checkpoint=describe_checkpoint(self._localizer) if self._localizer else None,
            methods=[
                MethodResult(
                    label=one.label,
                    kind=one.kind,
                    score_threshold=one.score_threshold,
                    maps=describe_maps(one.maps) if one.maps else None,
                    mean=mean_by_role({}, roles),
                )
                for one in self._methods
            ],
            protocol=self._protocol.describe() if self._protocol else None,
            compat=list(counting.protocols),
            options=Options(min_max=counting.min_max, compat_size=counting.side, tiles=self.settings.tiles),
            command=self.command,
            versions=installed_versions(),
        )

    def _measure(
        self, one: NamedSet, counting: Counting, known: Sequence[tuple[str, str, ImageRow]], journal: Journal | None
    ) -> Iterator[Event]:
        """Score every picture of a set with every method, and add the set's results."""
        rows = {(label, row.name): row for set_name, label, row in known if set_name == one.name}
        yield Started(f"measuring {one.name}", len(one.samples) * len(self._methods) - len(rows))

        def keep(method: Method, sample: Sample, values: Map) -> None:
            if self.out is not None:
                write_preview(preview_path(self.out, method.label, one.name, sample.name), values)

        scored = evaluate_set(
            one.samples,
            self._methods,
            set_name=one.name,
            batch=self.settings.batch,
            counting=counting,
            on_map=keep,
            done=lambda method, sample: (method.label, sample.name) in rows,
        )
        fresh: list[tuple[str, ImageRow]] = []
        for method, row in scored:
            if journal is not None:
                journal.append({"set": one.name, "method": method.label, **row.as_line()})
            fresh.append((method.label, row))
            yield Scored(method.label, one.name, row)
        rows |= {(label, row.name): row for label, row in fresh}
        self.results.data[one.name] = describe_set(one, self._overlaps[one.name])
        for method in self._methods:
            found = [rows[method.label, sample.name] for sample in one.samples]
            yield from self._file(one, method, found)
            # curves are not needed after summarising, and those of a large set would fill the memory
            self.rows[one.name, method.label] = [replace(row, curve=None) for row in found]
        self._write()

    def _file(self, one: NamedSet, method: Method, rows: Sequence[ImageRow]) -> Iterator[Event]:
        if not any(row.ok for row in rows):
            reason = next((row.reason for row in rows), "it holds no picture")
            self.results.unusable.setdefault(one.name, {})[method.label] = reason
            yield Said(f"{method.label} has no metrics on {one.name}: {reason}", warning=True)
            return
        block = next(found for found in self.results.methods if found.label == method.label)
        block.sets[one.name] = summarize_set(
            one.name,
            rows,
            self._overlaps[one.name],
            score_threshold=method.score_threshold,
            seed=self.settings.seed,
            protocols=self.results.compat,
            list_file=one.list_file,
        )
        block.mean = mean_by_role(block.sets, self._protocol.roles if self._protocol else None)
        if curve := pooled_curve(rows):
            self._curves.setdefault(method.label, {})[one.name] = curve
        if method.maps and (auc := looks_inverted(rows)) is not None:
            remedy = "leave out --invert" if method.maps.invert else "give --invert"
            text = f"the maps of {method.label} look inverted on {one.name} (mean pixel AUC {auc:.2f})"
            yield Said(f"{text}; if low values mean tampered, {remedy}", warning=True)

    def _degrade(self, out: Path) -> Iterator[Event]:
        """Measure degraded pictures with every method that predicts, and summarise them with those measured earlier."""
        predicting = [method for method in self._methods if method.predict]
        if not (self.settings.robust or (out / ROBUST_NAME).exists()):
            return
        run = RobustRun(out, self.settings.robust, self.settings.seed)
        try:
            for one in self.sets:
                usable = [
                    method for method in predicting if method.label not in self.results.unusable.get(one.name, {})
                ]
                if total := run.todo(usable, one):
                    yield Started(f"measuring degraded {one.name}", total)
                    for row in run.run(usable, one, self.settings.batch):
                        yield Scored(row.method, row.set, ImageRow(row.image, row.tampered, row.reason))
            if run.rows:
                self.results.robust = run.summary(predicting, self.rows)
            if run.unfinished:
                names = ",".join(run.unfinished)
                text = (
                    f"levels of {names} without all pictures are not in the tables: --robust {names} measures the rest"
                )
                yield Said(text, warning=True)
        finally:
            run.close()

    def _refuse_empty(self) -> None:
        if not self.results.rows():
            name, reasons = next(iter(self.results.unusable.items()))
            reason = next(iter(reasons.values()))
            raise DataError(f"data set {name} has no usable picture: {reason}", "check the folder and its masks")

    def _write(self) -> None:
        if self.out is not None and self.results.rows():
            write_files(self.out, self.results, self.rows, self._curves)


def _read_row(line: dict[str, Any]) -> tuple[str, str, ImageRow]:
    return str(line["set"]), str(line["method"]), ImageRow.from_line(line)


def _holds_rows(out: Path) -> bool:
    """Whether the folder has the row of a scored picture; the first line is the journal's header."""
    path = out / JOURNAL_NAME
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return len(list(islice(handle, 2))) > 1
