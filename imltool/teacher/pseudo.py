"""Make pseudo-masks: each annotated picture is embedded once, its boxes are decoded, and the union is written."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imltool.config import Settings
from imltool.data.box_formats import Accepted
from imltool.data.boxes import MatchedImage
from imltool.data.coco_masks import write_masks
from imltool.data.rle import decode_mask
from imltool.errors import DataError, ImageError
from imltool.files import sha256_file, sha256_text, what_happened, write_bytes, writing
from imltool.journal import Journal, dump_json
from imltool.pictures.images import RGB, Mask, mask_png, read_rgb
from imltool.teacher.non_learned import fill_box
from imltool.teacher.pseudo_rows import (
    ANNOTATOR,
    JOURNAL,
    BoxlessPicture,
    BoxRecord,
    FailedPicture,
    PseudoRow,
    WithdrawnPicture,
    newest_rows,
    read_pseudo,
)
from imltool.teacher.teacher import BoxMask, Teacher

MASKS = "masks"
COCO = "pseudo.coco.json"
NOTHING: Mapping[str, str] = {}


class PseudoSettings(Settings):
    """Settings for masks from boxes. The paper states only a box prompt and a binary mask; the rest is our choice."""

    multimask: bool = Field(False, description="take the best-rated of SAM's three masks instead of its single mask")
    grow: float = Field(0.0, ge=-0.4, le=1.0, description="move each box side outwards by this share of the box side")
    clip: bool = Field(False, description="cut the mask off outside the (grown) box")
    min_island: float = Field(0.0, ge=0.0, lt=1.0, description="drop islands smaller than this share of the box area")
    min_hole: float = Field(0.0, ge=0.0, lt=1.0, description="fill holes smaller than this share of the box area")
    min_predicted_iou: float = Field(0.0, ge=0.0, le=1.0, description="below it the filled box is the mask")
    min_coverage: float = Field(
        0.05, ge=0.0, le=1.0, description="share of the box that the mask covers; below it the filled box is the mask"
    )


@dataclass(frozen=True)
class PseudoMask:
    """A pseudo-mask, the union over boxes as bool [H,W], and how the mask of each box was made."""

    mask: Mask
    boxes: tuple[BoxRecord, ...]


def grow_boxes(boxes: NDArray[np.float32], grow: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """Move every side of XYXY boxes [n,4] outwards by `grow` times the box's width or height, clipped to (H, W)."""
    width, height = (boxes[:, 2] - boxes[:, 0]) * grow, (boxes[:, 3] - boxes[:, 1]) * grow
    grown = boxes + np.stack([-width, -height, width, height], axis=1)
    limit = np.array([size[1], size[0], size[1], size[0]], dtype=np.float32)
    return np.clip(grown, 0.0, limit).astype(np.float32)


def clean_mask(mask: Mask, min_island: int, min_hole: int) -> Mask:
    """Drop islands of fewer than `min_island` pixels and fill holes of fewer than `min_hole` (8-connected).

    The largest island is always kept, so that cleaning never empties a mask.
    """
    if min_hole > 0:
        _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] < min_hole
        small[0] = False
        mask = mask | small[labels]
    if min_island > 0 and mask.any():
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        keep = areas >= min_island
        keep[areas.argmax()] = True
        keep[0] = False
        mask = keep[labels]
    return mask


def make_pseudo_mask(
    rgb: RGB,
    boxes: NDArray[np.float32],
    teacher: Teacher,
    settings: PseudoSettings,
    accepted: Sequence[Accepted | None] = (),
) -> PseudoMask:
    """Make the pseudo-mask of a uint8 RGB picture from its boxes, float32 [n,4] XYXY pixels.

    Args:
        accepted: for every box, the label a person accepted, which is used unchanged, or None to ask the teacher. Empty
            if no label was accepted.

    Raises `DataError` when an accepted mask is damaged.
    """
    size = rgb.shape[:2]
    labels = accepted or (None,) * len(boxes)
    open_ = [index for index, label in enumerate(labels) if label is None]
    prompts = grow_boxes(boxes, settings.grow, size)
    answers = teacher.decode(teacher.embed(rgb), prompts[open_], settings.multimask) if open_ else []
    chosen = {
        index: _choose(boxes[index], prompts[index], answer, teacher.name, settings)
        for index, answer in zip(open_, answers, strict=True)
    }
    chosen |= {index: _accept(boxes[index], label, size) for index, label in enumerate(labels) if label is not None}
    united = np.zeros(size, dtype=bool)
    records = []
    for mask, record in (chosen[index] for index in range(len(boxes))):
        united |= mask
        records.append(record)
    return PseudoMask(united, tuple(records))


def _accept(box: NDArray[np.float32], label: Accepted, size: tuple[int, int]) -> tuple[Mask, BoxRecord]:
    filled = fill_box(size, box)
    mask = decode_mask(label.mask) if label.mask else filled
    coverage = round(float((mask & filled).sum() / filled.sum()), 4)
    return mask, BoxRecord(
        box=_sides(box), used=ANNOTATOR, predicted_iou=None, stability=None, coverage=coverage, choice=None
    )


def _choose(
    box: NDArray[np.float32], prompt: NDArray[np.float32], answer: BoxMask, teacher: str, settings: PseudoSettings
) -> tuple[Mask, BoxRecord]:
    filled = fill_box(answer.mask.shape, prompt)
    area = int(filled.sum())
    mask = answer.mask & filled if settings.clip else answer.mask
    mask = clean_mask(mask, math.ceil(settings.min_island * area), math.ceil(settings.min_hole * area))
    coverage = float((mask & filled).sum() / area)
    unsure = answer.predicted_iou < settings.min_predicted_iou  # NaN (no estimate) is never lower
    used = "box" if unsure or coverage < settings.min_coverage else teacher
    record = BoxRecord(
        box=_sides(box),
        used=used,
        predicted_iou=_number(answer.predicted_iou),
        stability=_number(answer.stability),
        coverage=round(coverage, 4),
        choice=answer.choice,
    )
    return (filled if used == "box" else mask), record


def _sides(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    return x1, y1, x2, y2


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def mask_names(names: list[str]) -> dict[str, str]:
    """Path of every picture's mask under `masks/`: the picture's own path as `.png`.

    Pictures that differ only in their suffix keep it (`a.jpg.png`, `a.tif.png`) to avoid collisions.
    """
    stems = {name: PurePosixPath(name).with_suffix(".png").as_posix() for name in names}
    taken = Counter(stem.casefold() for stem in stems.values())
    chosen = {name: stem if taken[stem.casefold()] == 1 else f"{name}.png" for name, stem in stems.items()}
    # `a.jpg.tif` beside `a.jpg` and `a.tif` would collide with the name made for `a.jpg`
    if len({path.casefold() for path in chosen.values()}) < len(names):
        return {name: f"{name}.png" for name in names}
    return chosen


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """A picture without its pseudo-mask.

    Attributes:
        item: the picture and its boxes.
        mask: path of the mask relative to the output folder, with forward slashes.
    """

    item: MatchedImage
    mask: str

    def absolute(self) -> Unlabelled:
        """The same with absolute paths, for a process in another working folder."""
        return replace(self, item=replace(self.item, image=Path(os.path.abspath(self.item.image))))


def label_picture(
    one: Unlabelled, teacher: Teacher, settings: PseudoSettings
) -> tuple[PseudoRow | FailedPicture, dict[str, bytes]]:
    """Make a picture's row and its file as path → content.

    Nothing is written. There is no file if it failed.
    """
    item = one.item
    started = time.perf_counter()
    try:
        rgb = read_rgb(item.image)
        made = make_pseudo_mask(rgb, item.boxes, teacher, settings, item.accepted)
        sha256 = sha256_file(item.image)
    except (ImageError, DataError) as error:
        reason = error.message.removeprefix(f"{item.image}: ")
        return FailedPicture(image=item.name, reason=reason), {}
    mask = mask_png(made.mask)
    row = PseudoRow(
        image=item.name,
        teacher=teacher.name,
        engine=teacher.engine,
        width=rgb.shape[1],
        height=rgb.shape[0],
        sha256=sha256,
        annotation_sha256=annotation_digest(item),
        boxes=made.boxes,
        mask=one.mask,
        mask_sha256=hashlib.sha256(mask).hexdigest(),
        mask_area=round(float(made.mask.mean()), 6),
        seconds=round(time.perf_counter() - started, 3),
    )
    return row, {one.mask: mask}


class LabelWorkers(Protocol):
    """Workers that make pseudo-masks in other processes. Their methods raise `OutputError` and `ClusterError`."""

    def label(
        self, todo: Sequence[Unlabelled], teacher: Teacher, settings: PseudoSettings, out: Path
    ) -> Iterator[PseudoRow | FailedPicture]:
        """Like the function `label`: yield rows in the order of `todo`, each after its mask is on disk."""
        ...


def label(
    todo: Sequence[Unlabelled], teacher: Teacher, settings: PseudoSettings, out: Path
) -> Iterator[PseudoRow | FailedPicture]:
    """Yield rows in the order of `todo`, each after its mask is written below `out`. Raises `OutputError`."""
    for one in todo:
        row, files = label_picture(one, teacher, settings)
        for name, data in files.items():
            write_bytes(out / name, data)
        yield row


def annotation_digest(item: MatchedImage) -> str:
    """SHA-256 over a picture's boxes and their accepted labels: when it changes, the pseudo-mask is made again."""
    labels = [label and [label.mask] for label in item.accepted]
    return sha256_text(dump_json([[[float(side) for side in box] for box in item.boxes], labels]))


def write_pseudo_masks(
    matched: list[MatchedImage],
    teacher: Teacher,
    settings: PseudoSettings,
    out: Path,
    cluster: LabelWorkers | None = None,
    withdrawn: Sequence[str] = (),
    boxless: Mapping[str, str] = NOTHING,
) -> Generator[PseudoRow | FailedPicture | WithdrawnPicture, None, None]:
    """Make the pseudo-masks missing in `out` and yield a row for every picture made, failed or withdrawn.

    A mask is kept as long as its picture, its boxes and their accepted labels stay the same. When more pictures are
    annotated, only their masks are made.

    Each finished row is a line of `pseudo.jsonl`; failures are not journalled.

    Args:
        cluster: workers that make the masks, see `imltool.cluster`; None for this process. It affects only
            `seconds`.
        withdrawn: pictures without a usable box in the present annotation. A mask made earlier is removed, which is
            recorded by a `WithdrawnPicture`.
        boxless: pictures that the annotation lists without a box → the verdict, as `BoxReport.empty`. They are also
            withdrawn. In addition, a `BoxlessPicture` is journalled, which is not yielded.

    The caller must have locked `out`, see `journal.output_folder`. Raises `OutputError` when a file cannot be written,
    and `ClusterError`; journalled rows stay valid.
    """
    with Journal(out / JOURNAL) as journal:
        newest = newest_rows(journal.path, journal.rows)
        rows = {name: row for name, row in newest.items() if isinstance(row, PseudoRow)}
        for name in sorted(rows.keys() & {*withdrawn, *boxless}):
            _remove_mask(out, rows.pop(name), rows)
            newest[name] = gone = WithdrawnPicture(image=name)
            journal.append(gone.model_dump())
            yield gone
        for name, verdict in boxless.items():
            judged = BoxlessPicture(image=name, verdict=verdict)
            if newest.get(name) != judged:
                journal.append(judged.model_dump())
        targets = mask_names(sorted(rows.keys() | {item.name for item in matched}))
        todo = [
            Unlabelled(item, f"{MASKS}/{targets[item.name]}")
            for item in matched
            if not _is_done(item, rows.get(item.name), out)
        ]
        make = cluster.label if cluster else label
        for row in make(todo, teacher, settings, out):
            if isinstance(row, PseudoRow):
                journal.append(row.model_dump())
                before = rows.get(row.image)
                rows[row.image] = row
                if before and before.mask != row.mask:
                    _remove_mask(out, before, rows)
            yield row


def _is_done(item: MatchedImage, row: PseudoRow | None, out: Path) -> bool:
    return (
        row is not None
        and row.annotation_sha256 == annotation_digest(item)
        and (out / row.mask).is_file()
        and not what_happened(item.image, row.sha256)
    )


def _remove_mask(out: Path, row: PseudoRow, rows: dict[str, PseudoRow]) -> None:
    """Remove a mask that no other row refers to."""
    if all(other.mask != row.mask for other in rows.values()):
        with writing(out / row.mask):
            (out / row.mask).unlink(missing_ok=True)


def write_coco_masks(out: Path) -> int:
    """Write `pseudo.coco.json` into a `pseudo` output: each picture's mask as a COCO annotation; returns their number.

    Raises whatever `read_pseudo` and `write_masks` raise.
    """
    rows = sorted(read_pseudo(out), key=lambda row: PurePosixPath(row.image).parts)
    return write_masks(out / COCO, [(row.image, out / row.mask) for row in rows], "pseudo-masks")
