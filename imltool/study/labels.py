"""Make pseudo-masks for a study's own rows, and measure the quality of a row's pseudo-masks."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imltool.config import save_settings
from imltool.data.box_formats import BoxedImage
from imltool.data.boxes import MatchedImage, match_boxes
from imltool.data.folder import pair_by_stem
from imltool.data.layouts.coarse import JITTER, boxes_from_masks, boxes_root
from imltool.data.layouts.orientation import settle_manifest
from imltool.data.manifest import Manifest, Record
from imltool.errors import DataError
from imltool.evaluation.events import Advanced, Said, Started
from imltool.files import sha256_file, sha256_text
from imltool.journal import dump_json, output_folder
from imltool.pictures.images import RGB
from imltool.study.results import LabelQuality
from imltool.study.reuse import LabelParameters, find_labels, take_over
from imltool.study.settings import LABELS, LabelSettings
from imltool.study.studies import sibling_masks
from imltool.teacher.audit import audit_rows, figures
from imltool.teacher.pseudo import PseudoSettings, write_pseudo_masks
from imltool.teacher.pseudo_rows import FailedPicture, read_pseudo
from imltool.teacher.registry import load_teacher, teacher_weights
from imltool.teacher.teacher import BoxMask, Teacher
from imltool.training.settings import SourceSettings, TrainSettings
from imltool.training.sources import read_source

PARTS = ("train", "validation", "calibration")


@dataclass
class Forgeries:
    """Labelled forgeries of one folder, used by any number of sources.

    Attributes:
        images: the folder.
        masks: folder of their true masks, or None.
        pseudo: folders of the configured pseudo-masks; empty if the sources have pixel masks.
        names: the pictures in use, relative to `images`.
    """

    images: Path
    masks: Path | None
    pseudo: list[Path] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


class OneEmbedding:
    """A teacher that embeds a picture only once for several requests in a row."""

    def __init__(self, teacher: Teacher) -> None:
        self.name, self.engine, self.embeddings = teacher.name, teacher.engine, teacher.embeddings
        self.weights, self.device = teacher.weights, teacher.device
        self._teacher = teacher
        self._held: tuple[RGB, Any] | None = None

    def embed(self, rgb: RGB) -> Any:
        if self._held is None or not np.array_equal(self._held[0], rgb):
            self._held = rgb, self._teacher.embed(rgb)
        return self._held[1]

    def decode(self, embedding: Any, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        return self._teacher.decode(embedding, boxes, multimask)


def _labelled_sources(settings: TrainSettings) -> Iterator[tuple[str, SourceSettings]]:
    """Dotted key and source of everything with masks that is used to train, validate or calibrate."""
    for part in PARTS:
        for index, source in enumerate(getattr(settings.data, part)):
            if source.kind in ("pseudo", "masks") and (source.weight or part != "train"):
                yield f"data.{part}.{index}", source


def find_forgeries(settings: TrainSettings) -> list[Forgeries]:
    """The labelled forgeries of a configuration by folder, in the configuration's order. Raises `DataError`."""
    root = settings.data.root
    found: dict[Path, Forgeries] = {}
    for _, source in _labelled_sources(settings):
        if source.images is None:
            raise DataError(
                f"source {source.name} is a manifest, for which a study makes no pseudo-masks",
                "give its folder as images, with the true masks in masks/ beside it",
            )
        images = root / source.images
        if images not in found:
            masks = sibling_masks(settings, source)
            found[images] = Forgeries(images, root / masks if masks else None)
        if source.kind == "pseudo" and source.pseudo is not None and root / source.pseudo not in found[images].pseudo:
            found[images].pseudo.append(root / source.pseudo)
        labelled = read_source(settings.data, source).samples
        found[images].names |= {item.image.relative_to(images).as_posix() for item in labelled}
    if not found:
        raise DataError("no source has forgeries to make pseudo-masks for", "list one of kind pseudo or masks")
    return list(found.values())


def label_overrides(settings: TrainSettings, labels: LabelSettings, out: Path) -> list[str]:
    """Overrides that replace the configured labels by a row's own pseudo-masks in the study's folder `out`."""
    folders = [one.images for one in find_forgeries(settings)]
    overrides = []
    for key, source in _labelled_sources(settings):
        assert source.images is not None
        number = folders.index(settings.data.root / source.images)
        # absolute, because a relative folder of labels would start at data.root
        folder = os.path.abspath(_folder(out, labels, number))
        overrides += [f"{key}.kind=pseudo", f"{key}.pseudo={json.dumps(folder)}"]
    return overrides


def _folder(out: Path, labels: LabelSettings, number: int) -> Path:
    return out / LABELS / labels.folder / str(number)


def make_labels(
    settings: TrainSettings, wanted: list[LabelSettings], out: Path, device: str, reuse: Sequence[Path] = ()
) -> Iterator[Started | Advanced | Said]:
    """Make the pseudo-masks of several rows, each a `pseudo` output in `out`; yields an event per picture and row.

    Existing pseudo-masks are kept, and those that the studies in `reuse` made with the same teacher from the same boxes
    are taken over. Rows with the same teacher are made together, so that a picture is embedded once for all of them.

    Raises `DataError` when a picture or its mask cannot be used, `WeightsError`, `ResumeError` when the boxes of
    finished pseudo-masks have changed, `UsageError` while another command makes them.
    """
    forgeries = find_forgeries(settings)
    for name, group in itertools.groupby(sorted(wanted, key=lambda one: one.teacher), lambda one: one.teacher):
        rows = list(group)
        teacher = OneEmbedding(load_teacher(name, device=device))
        for number, one in enumerate(forgeries):
            with ExitStack() as held:
                streams = []
                for labels in rows:
                    matched, folder = _boxes(one, labels), _folder(out, labels, number)
                    parameters = _parameters(name, matched)
                    known = None if folder.exists() else find_labels(reuse, parameters, len(matched))
                    if known is not None:
                        take_over(known, folder)
                        yield Said(f"{labels.folder}: taken over from {known}")
                    held.enter_context(output_folder(folder, parameters.model_dump(mode="json")))
                    save_settings(PseudoSettings(), folder / "config.yaml")
                    streams.append(write_pseudo_masks(matched, teacher, PseudoSettings(), folder))
                yield Started(f"pseudo-masks by {name}", len(one.names) * len(rows))
                for made in itertools.zip_longest(*streams):
                    for row in made:
                        if row is None:
                            continue
                        if isinstance(row, FailedPicture):
                            raise DataError(
                                f"{one.images / row.image}: {row.reason}", "repair it or remove it from the list"
                            )
                        yield Advanced()


def _parameters(teacher: str, matched: list[MatchedImage]) -> LabelParameters:
    weights = teacher_weights(teacher)
    return LabelParameters(
        teacher=teacher,
        weights_sha256=sha256_file(weights) if weights else None,
        settings=PseudoSettings(),
        boxes_sha256=sha256_text(dump_json([[item.name, item.boxes.tolist(), item.size] for item in matched])),
    )


def _boxes(one: Forgeries, labels: LabelSettings) -> list[MatchedImage]:
    """The boxes of the pictures in use: those of the configured pseudo-masks, or boxes made from the true masks.

    Boxes are made for the pictures of a source with pixel masks too, for which no boxes were given.
    """
    given: dict[str, BoxedImage] = {}
    if labels.jitter is None:
        for row in itertools.chain.from_iterable(map(read_pseudo, one.pseudo)):
            if row.image in one.names:
                boxes, size = tuple(box.box for box in row.boxes), (row.width, row.height)
                given.setdefault(row.image, BoxedImage(row.image, boxes, size))
    share, others = labels.jitter, one.names - given.keys()
    boxed = [*given.values()]
    if others:
        boxed += _made_boxes(one, others, JITTER if share is None else (share, share))
    report = match_boxes(one.images, boxed)
    if report.faults:
        raise DataError(f"{one.images / report.faults[0].image}: {report.faults[0].message}")
    return report.matched


def _made_boxes(one: Forgeries, names: set[str], jitter: tuple[float, float]) -> list[BoxedImage]:
    if one.masks is None:
        raise DataError(f"no true masks to make boxes from for {one.images}", "they are expected in masks/ beside it")
    pairing = pair_by_stem(one.images, one.masks)
    pairs = {image.relative_to(one.images).as_posix(): mask for image, mask in pairing.pairs.items()}
    if unpaired := sorted(names - pairs.keys()):
        raise DataError(f"no true mask of its own for {one.images / unpaired[0]}", "add it, or leave the picture out")
    usable = sorted(one.names & pairs.keys())  # all of them decide the raster of the masks
    records = [Record(image=name, mask=os.path.abspath(pairs[name]), source="study") for name in usable]
    settled, _ = settle_manifest(Manifest(one.images, records))
    manifest = Manifest(one.images, [record for record in settled.records if record.image in names])
    below = boxes_root(manifest).relative_to(os.path.abspath(one.images))
    boxed = []
    for made in boxes_from_masks(manifest, jitter):
        if not isinstance(made, BoxedImage):
            raise DataError(made.message, "repair it or remove it from the list")
        boxed.append(BoxedImage((below / made.name).as_posix(), made.boxes, made.size))
    return boxed


def label_quality(settings: TrainSettings) -> LabelQuality | None:
    """Compare the pseudo-masks used in training with the true masks.

    None if the mix has no pseudo-masks or true masks are missing. The comparison does not affect the student.
    """
    audit = []
    for source in settings.data.train:
        if source.kind != "pseudo" or not source.weight:
            continue
        masks = sibling_masks(settings, source)
        if masks is None:
            return None
        assert source.images is not None and source.pseudo is not None
        images, folder = settings.data.root / source.images, settings.data.root / source.pseudo
        used = {item.image.relative_to(images).as_posix() for item in read_source(settings.data, source).samples}
        rows = [row for row in read_pseudo(folder) if row.image in used]
        audit += list(audit_rows(rows, folder, images, settings.data.root / masks))
    if not audit:
        return None
    return LabelQuality.model_validate(figures(audit), from_attributes=True)
