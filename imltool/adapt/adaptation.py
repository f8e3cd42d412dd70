"""An adaptation from start to end: pseudo-masks, a short training, thresholds, and a comparison of both students."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from imltool.adapt.comparison import Case, Comparison, compare
from imltool.adapt.known import known_cases, make_known
from imltool.adapt.mixing import SHARES, Mixing, keep_known, mixed
from imltool.adapt.parts import Parts, divide
from imltool.adapt.recipe import training_settings
from imltool.adapt.settings import AdaptSettings
from imltool.config import save_settings
from imltool.data.box_formats import read_boxes
from imltool.data.boxes import BoxReport, MatchedImage, Raster, match_boxes
from imltool.data.folder import PLAIN, Sample
from imltool.data.raster import settle_rasters
from imltool.data.sets import read_target
from imltool.data.splits import require_listable
from imltool.data.survey import fault_of, is_decodable
from imltool.device import choose_device
from imltool.errors import DataError
from imltool.files import make_folder, sha256_file, sha256_text, walk_images, write_text
from imltool.inference.localizer import Localizer
from imltool.journal import dump_json, output_folder
from imltool.student.checkpoint import load_checkpoint, save_checkpoint
from imltool.student.header import THRESHOLDS, read_header
from imltool.teacher.pseudo import PseudoSettings, write_pseudo_masks
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.teacher.registry import load_teacher
from imltool.training.loop import Training
from imltool.training.settings import DataSettings
from imltool.training.validation import Validation
from imltool.weights import ADAPTED, student_file

PSEUDO, TRAINING, WATCH, CHECK, LISTS = "pseudo", "training", "watch", "check", "lists"
MIXING = "mixing.json"
RESULTS = "adapt.json"


@dataclass(frozen=True)
class Progress:
    """What is being done: `done` of `total` steps of a stage, and a line worth keeping, "" for none."""

    stage: str
    done: int = 0
    total: int = 0
    message: str = ""


class Adaptation:
    """A student adapted to the kind of forgery that boxes show: `for progress in Adaptation(...).run()`.

    Files in `out`: `pseudo/`, `lists/` (which pictures taught, calibrated, measured), `training/`, `watch/` and
    `check/` (forgeries of known kinds, to choose the share of the new weights and to measure), `mixing.json` (that
    choice, see `Mixing`), `adapted.safetensors`, `adapt.json` (the `Comparison` and what it was made of).

    Args:
        photos: folder of the pictures that have boxes.
        boxes: annotation file or folder, see `read_boxes`.
        authentic: folder of authentic pictures like those in casework; None leaves the thresholds as they
            are, and known kinds unchecked.
        masks: folder of true masks of the photos, by name, to measure with; None measures with the pseudo-masks.
        known: data set (see `read_target`) of forgeries of kinds that the student finds, to measure what is lost;
            None measures it on forgeries made from the authentic pictures.
        weights: the student to start from; None takes the default one.
        box_format, categories: see `read_boxes`.
        boxes_of: see `match_boxes`.

    Raises `DataError` (see `parts.divide`, for a held-out picture without its true mask, and for a known forgery that
    cannot be read or is among the other pictures), `WeightsError`, `ResumeError` and `UsageError` before anything is
    learned.
    """

    def __init__(
        self,
        photos: Path,
        boxes: Path,
        out: Path,
        *,
        authentic: Path | None = None,
        masks: Path | None = None,
        known: Path | None = None,
        weights: Path | None = None,
        settings: AdaptSettings | None = None,
        device: str = "auto",
        box_format: str | None = None,
        categories: Sequence[str] = (),
        boxes_of: Raster | None = None,
    ) -> None:
        for folder in filter(None, (photos, authentic, masks)):
            if not folder.is_dir():
                raise DataError(f"{folder} is not a folder of pictures")
        # the folders alone are resolved: pictures in them may be links to elsewhere
        self.photos, self.authentic = photos.resolve(), authentic.resolve() if authentic else None
        for root in filter(None, (self.photos, self.authentic)):
            require_listable(root)
        self.out, self.device = out.resolve(), choose_device(device)
        self.settings = settings or AdaptSettings()
        self.start = student_file(weights)
        self.header = read_header(self.start)
        annotated = read_boxes(boxes, box_format, categories)
        self.report: BoxReport = match_boxes(self.photos, annotated, boxes_of)
        if not self.report.matched:
            first = f": {self.report.faults[0].message}" if self.report.faults else ""
            raise DataError(f"no box of {boxes} fits a picture in {photos}{first}", "check the names and the folder")
        self.parts: Parts = divide(self.report.matched, self.authentic, self.settings)
        self._true_masks = self._find_masks(masks) if masks else {}
        self._known = self._read_known(known) if known else []
        self.comparison: Comparison | None = None
        self._parameters = {
            "command": "adapt",
            "start_sha256": sha256_file(self.start),
            "settings": self.settings.model_dump(mode="json", exclude={"workers"}),
            "boxes_sha256": sha256_text(dump_json([_identity(one) for one in self.report.matched])),
            "authentic": [path.name for path in (*self.parts.authentic, *self.parts.calibrating, *self.parts.checking)],
        }

    def run(self) -> Iterator[Progress]:
        """Do all of it; a stopped run resumes. `comparison` is set at the end."""
        with output_folder(self.out, self._parameters):
            save_settings(self.settings, self.out / "config.yaml")
            yield from self._label()
            yield from self._train()
            if self.parts.checking and not self._known:
                yield from self._forge(CHECK, self.parts.checking)
            yield from self._compare()

    @property
    def checkpoint(self) -> Path:
        """The adapted student's file."""
        return self.out / ADAPTED

    def _label(self) -> Iterator[Progress]:
        teacher = load_teacher(self.settings.teacher, device=self.device, engine="auto")
        total, folder = len(self.report.matched), self.out / PSEUDO
        with output_folder(folder, {"command": "pseudo", "teacher": self.settings.teacher}):
            for done, row in enumerate(write_pseudo_masks(self.report.matched, teacher, PseudoSettings(), folder), 1):
                if row.status == "failed":
                    raise DataError(f"{row.image}: {row.reason}", "repair the picture or remove its boxes")
                yield Progress("pseudo-masks", done, total)

    def _train(self) -> Iterator[Progress]:
        if self.checkpoint.is_file():
            return
        settings = training_settings(
            self.start,
            self.header,
            self.photos,
            self.authentic,
            self.parts,
            self.out / PSEUDO,
            make_folder(self.out / LISTS),
            self.settings,
        )
        folder = self.out / TRAINING
        training = Training(settings, folder, self.device, resume=folder.is_dir())
        for event in training.run():
            if event["event"] == "train":
                text = f"step {event['step']}: loss {event['loss']:.3f}, {event['images_per_second']:.1f} images/s"
                yield Progress("training", event["step"], settings.optim.steps, text)
        yield from self._mix(settings.data)

    def _mix(self, data: DataSettings) -> Iterator[Progress]:
        """Keep as much of what was learned as the known kinds allow, and fit the thresholds of that student."""
        student, header = load_checkpoint(self.out / TRAINING / "last.safetensors")
        before = load_checkpoint(self.start)[0].state_dict()
        if self.authentic is None:
            mixing = Mixing(share=SHARES[0])
            student.load_state_dict(mixed(before, student.state_dict(), mixing.share))
            kept = {name: getattr(self.header, name) for name in THRESHOLDS}  # nothing to fit others to
            header = header.model_copy(update=kept)
        else:
            yield from self._forge(WATCH, self.parts.calibrating)
            localizer, mixing = keep_known(before, student, header, known_cases(self.out / WATCH), self.device)
            _, thresholds = Validation(data, data.calibration).run(localizer)  # the run has fitted those of its end
            header = thresholds.into(header, header.figures)
        write_text(self.out / MIXING, dump_json(mixing.model_dump(mode="json")) + "\n")
        save_checkpoint(self.checkpoint, student.state_dict(), header)
        yield Progress("mixing", message=f"{mixing.share:.0%} of what was learned is kept")

    def _forge(self, name: str, photos: tuple[Path, ...]) -> Iterator[Progress]:
        count = self.settings.check_count
        for done in make_known(photos, count, self.out / name):
            yield Progress("forgeries of known kinds", done, count)

    def _compare(self) -> Iterator[Progress]:
        before = Localizer.load(self.start, self.device)
        after = Localizer.load(self.checkpoint, self.device)
        new = self._held_out()
        known = self._known or (known_cases(self.out / CHECK) if self.parts.checking else [])
        clean = [Case(path, None) for path in self.parts.checking]
        total = len(new) + len(known) + len(clean)
        for done, one in enumerate(compare(before, after, new, known, clean), 1):
            if isinstance(one, Comparison):
                self.comparison = one
            else:
                yield Progress("comparing", done, total)
        assert self.comparison is not None
        write_text(self.out / RESULTS, dump_json(self.results()) + "\n")

    def results(self) -> dict[str, Any]:
        """What `adapt.json` holds: the comparison, its conclusion, the numbers of pictures and both students."""
        assert self.comparison is not None
        return {
            "comparison": self.comparison.model_dump(mode="json"),
            "recommended": self.comparison.recommended,
            "conclusion": self.comparison.conclusion(),
            "measured_with": "masks" if self._true_masks else "pseudo-masks",
            "known_kinds": "data set" if self._known else "generated" if self.parts.checking else None,
            "pictures": {name: len(files) for name, files in vars(self.parts).items()},
            "mixing": json.loads((self.out / MIXING).read_text(encoding="utf-8")),
            "boxes": sum(len(item.boxes) for item in self.report.matched),
            "start": {"name": self.header.name, "sha256": self._parameters["start_sha256"]},
            "adapted": {"file": ADAPTED, "sha256": sha256_file(self.checkpoint)},
        }

    def _held_out(self) -> list[Case]:
        made = {row.image: self.out / PSEUDO / row.mask for row in read_pseudo(self.out / PSEUDO)}
        cases = []
        for path in self.parts.held_out:
            truth = self._true_masks.get(path)
            mask = truth.mask if truth else made[path.relative_to(self.photos).as_posix()]
            cases.append(Case(path, mask, truth.rule if truth else PLAIN))
        return cases

    def _read_known(self, known: Path) -> list[Case]:
        """The forgeries of a data set, none of which either student has learned from."""
        found = read_target("known", str(known))
        samples = [sample for sample in found.samples if sample.tampered]
        if not samples:
            raise DataError(f"{known} holds no forgery with a mask", "it needs the folders tampered and masks")
        seen = {digest for one in self.header.training_sets for digest in one.files}
        others = {sha256_file(path): path for part in vars(self.parts).values() for path in part}
        for sample in samples:
            if fault := fault_of(sample, is_decodable):
                raise DataError(f"{sample.name} of {known}: {fault}", "repair it, or take it out")
            digest = sha256_file(sample.image)
            if digest in seen or digest in others:
                where = f"is also {others[digest]}" if digest in others else f"was learned by {self.header.name}"
                raise DataError(f"{sample.name} of {known} {where}", "it cannot show what is lost: take it out")
        self.report.notes += [*found.notes, *found.warnings]
        self.report.notes += [
            f"{known}: left out, {reason}: {', '.join(names)}" for reason, names in found.left_out.items()
        ]
        return [Case(sample.image, sample.mask, sample.rule) for sample in samples]

    def _find_masks(self, masks: Path) -> dict[Path, Sample]:
        """Held-out picture → it with its true mask, which has its path below the folder, or else its file name alone.

        Raises `DataError` unless each has one that can be read.
        """
        boxed = [PurePosixPath(item.name).with_suffix("") for item in self.report.matched]
        paths, names = Counter(boxed), Counter(one.name for one in boxed)
        by_path: dict[PurePosixPath, list[Path]] = defaultdict(list)
        by_name: dict[str, list[Path]] = defaultdict(list)
        for mask in walk_images(masks):
            by_path[PurePosixPath(mask.relative_to(masks).with_suffix("").as_posix())].append(mask)
            by_name[mask.stem].append(mask)
        samples = []
        for path in self.parts.held_out:
            name = path.relative_to(self.photos).as_posix()
            own = PurePosixPath(name).with_suffix("")
            fitting = by_path[own] or (by_name[own.name] if names[own.name] == 1 else [])
            if len(fitting) != 1 or paths[own] > 1:
                raise DataError(f"{name} has {len(fitting)} masks in {masks}", "one mask of its own name is wanted")
            samples.append(Sample(name, path, fitting[0]))
        settled = settle_rasters(samples)
        for sample in settled.samples:
            if fault := fault_of(sample):
                raise DataError(f"{sample.name}, {sample.mask}: {fault}", "repair it, or leave --masks out")
        self.report.notes += settled.notes()
        return {sample.image: sample for sample in settled.samples}


def _identity(one: MatchedImage) -> list[Any]:
    """The annotation of a picture as JSON values."""
    labels = [[label and [label.mask] for label in one.accepted]] if any(one.accepted) else []
    return [one.name, one.boxes.tolist(), *labels]
