"""Statistics of annotation: seconds and boxes per picture, and agreement between annotators."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, median

import numpy as np

from imltool.annotate.records import Content, History, Records, State, journal_folder
from imltool.data.rle import decode_mask
from imltool.errors import DataError
from imltool.pictures.images import Mask
from imltool.teacher.audit import iou
from imltool.teacher.non_learned import fill_box


@dataclass(frozen=True)
class AnnotatorStats:
    """The work of one annotator: numbers of pictures by verdict, and means; None without a picture or box for them.

    Attributes:
        masks_accepted: share of the boxes of tampered pictures whose accepted label is the teacher's mask.
        boxes_suggested: number of these boxes that started as a suggestion.
        with_suggestions: number of judged pictures for which suggestions were shown.
    """

    annotator: str
    judged: int
    tampered: int
    authentic: int
    unsure: int
    skipped: int
    seconds_median: float | None
    seconds_mean: float | None
    boxes_mean: float | None
    masks_accepted: float | None
    boxes_suggested: int
    with_suggestions: int


@dataclass(frozen=True)
class Agreement:
    """How far two annotators agree on the `pictures` that both called tampered or authentic; None without any.

    Attributes:
        same_verdict: share of these pictures.
        both_tampered: number of pictures that both call tampered.
        box_iou: mean IoU, over those, of the unions of boxes.
        label_iou: the same of the labels for training: accepted masks, else filled boxes.
    """

    annotators: tuple[str, str]
    pictures: int
    same_verdict: float | None
    both_tampered: int
    box_iou: float | None
    label_iou: float | None


@dataclass(frozen=True)
class AnnotationStats:
    """The statistics of a boxes file; `pairs` are those annotators who judged the same pictures."""

    annotators: list[AnnotatorStats]
    pairs: list[Agreement]


def read_records(boxes: Path) -> Records:
    """The journals of a boxes file. Raises `DataError` when there is none."""
    records = Records(boxes)
    if not journal_folder(boxes).is_dir():
        raise DataError(f"{boxes} has no journals beside it", "give the --out of imltool annotate")
    records.refresh()
    return records


def annotation_stats(boxes: Path) -> AnnotationStats:
    """Annotation times of a boxes file and agreement of annotators. Raises `DataError`."""
    records = read_records(boxes)
    names = sorted({annotator for annotator, _ in records.histories})
    mine = {
        name: {image: history for (who, image), history in records.histories.items() if who == name and history.present}
        for name in names
    }
    rows = [_row(name, mine[name]) for name in names]
    pairs = [_pair(one, other, mine[one], mine[other]) for one, other in combinations(names, 2)]
    return AnnotationStats(rows, [pair for pair in pairs if pair.pictures])


def _row(name: str, histories: dict[str, History]) -> AnnotatorStats:
    judged = [history for history in histories.values() if history.judged]
    verdicts = Counter(history.content.verdict for history in histories.values())
    seconds = [history.seconds for history in judged if history.seconds]
    boxes = [len(history.content.boxes) for history in judged if history.content.verdict == "tampered"]
    drawn = [box for history in judged if history.content.verdict == "tampered" for box in history.content.boxes]
    return AnnotatorStats(
        annotator=name,
        judged=len(judged),
        tampered=verdicts["tampered"],
        authentic=verdicts["authentic"],
        unsure=verdicts["unsure"],
        skipped=verdicts["skipped"],
        seconds_median=round(median(seconds), 1) if seconds else None,
        seconds_mean=round(fmean(seconds), 1) if seconds else None,
        boxes_mean=fmean(boxes) if boxes else None,
        masks_accepted=fmean(box.accepted == "mask" for box in drawn) if drawn else None,
        boxes_suggested=sum(box.origin == "suggested" for box in drawn),
        with_suggestions=sum(bool(history.present and history.present.suggested) for history in judged),
    )


def _pair(one: str, other: str, first: dict[str, History], second: dict[str, History]) -> Agreement:
    states = [(first[image].present, second[image].present) for image in sorted(first.keys() & second.keys())]
    both = [(a, b) for a, b in states if a and b and a.sha256 == b.sha256 and _decided(a) and _decided(b)]
    tampered = [(a, b) for a, b in both if a.content.verdict == b.content.verdict == "tampered"]
    ious = [(_iou(a, b, False), _iou(a, b, True)) for a, b in tampered]
    return Agreement(
        annotators=(one, other),
        pictures=len(both),
        same_verdict=fmean(a.content.verdict == b.content.verdict for a, b in both) if both else None,
        both_tampered=len(tampered),
        box_iou=fmean(box for box, _ in ious) if ious else None,
        label_iou=fmean(label for _, label in ious) if ious else None,
    )


def _decided(state: State) -> bool:
    return state.content.verdict in ("tampered", "authentic")


def _iou(first: State, second: State, labels: bool) -> float:
    one, other = (_union(state.content, (state.height, state.width), labels) for state in (first, second))
    return iou(one, other)


def _union(content: Content, size: tuple[int, int], labels: bool) -> Mask:
    """Area marked by an annotator, bool [H,W]: the boxes, or with `labels` accepted masks instead of their boxes."""
    union = np.zeros(size, dtype=bool)
    for box in content.boxes:
        marked = decode_mask(box.mask) if labels and box.mask is not None else fill_box(size, np.array(box.box))
        union |= marked
    return union
