"""Quality of pseudo-masks, by comparison with ground truth, which is never used to make them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from imltool.config import Frozen
from imltool.data.folder import Sample, masks_by_stem
from imltool.data.raster import settle_rasters
from imltool.data.samples import read_sample_mask
from imltool.errors import DataError
from imltool.files import write_text
from imltool.pictures.images import Mask, read_mask, read_rgb
from imltool.pictures.sheet import INK, PREDICTED, TRUTH, contact_sheet, draw_boxes, draw_contours
from imltool.teacher.non_learned import fill_box
from imltool.teacher.pseudo_rows import ANNOTATOR, PseudoRow, read_pseudo
from imltool.texts import shortened

BOUNDARY_PIXELS = 2
STRATA = ((0.0, 0.01), (0.01, 0.05), (0.05, 0.20), (0.20, 1.01))
"""Box-size strata: ranges of the share of the picture inside its boxes."""


@dataclass(frozen=True)
class AuditRow:
    """The comparison of a pseudo-mask with its ground truth.

    Attributes:
        box_area: share of the picture inside its boxes.
        fallbacks: number of boxes used instead of the teacher's mask.
        seconds: that it took to make the pseudo-mask.
    """

    image: str
    iou: float
    boundary_f: float
    box_area: float
    fallbacks: int
    seconds: float


class Figures(Frozen):
    """Means over pictures, None without any: IoU, its median, boundary F, and seconds.

    Attributes:
        under_half: share of pictures below IoU 0.5.
        fallback: share of pictures with a box as fallback.
    """

    images: int
    iou_mean: float | None = None
    iou_median: float | None = None
    boundary_f: float | None = None
    under_half: float | None = None
    fallback: float | None = None
    seconds: float | None = None


class AuditSummary(Figures):
    """The content of `audit.json`: figures overall and per box-size stratum; those without pictures have no means."""

    strata: dict[str, Figures]


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two bool masks; 1 when both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 1.0


def _boundary(mask: Mask) -> Mask:
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8))
    return np.asarray(padded > inner)[1:-1, 1:-1]


def boundary_f(predicted: Mask, truth: Mask) -> float:
    """F-measure of two outlines: a boundary pixel counts when the other outline is within `BOUNDARY_PIXELS`.

    1 when both masks are empty, 0 when one is.
    """
    ours, theirs = _boundary(predicted), _boundary(truth)
    if not ours.any() or not theirs.any():
        return float(not ours.any() and not theirs.any())

    def near(points: Mask, outline: Mask) -> float:
        distance = cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return float((distance[points] <= BOUNDARY_PIXELS).mean())

    precision, recall = near(ours, theirs), near(theirs, ours)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def find_truths(names: list[str], images: Path, truths: Path) -> dict[str, Sample]:
    """Find the ground-truth mask of every named picture: the same relative path apart from the suffix.

    The masks' rasters are those of the set, as in an evaluation.

    Raises `DataError` when a picture has no mask or more than one.
    """
    if not truths.is_dir():
        raise DataError(f"ground truth {truths} is not a folder of masks")
    by_stem = masks_by_stem(truths)
    found = []
    for name in names:
        masks = by_stem.get(PurePosixPath(name).with_suffix("").as_posix(), [])
        if len(masks) != 1:
            raise DataError(f"{truths} has {len(masks) or 'no'} masks for {name}", "masks have their picture's name")
        found.append(Sample(name, images / name, masks[0]))
    return {one.name: one for one in settle_rasters(found).samples}


def audit_rows(rows: Sequence[PseudoRow], out: Path, images: Path, truths: Path) -> Iterator[AuditRow]:
    """Compare every pseudo-mask with its ground truth.

    Args:
        rows: rows of `pseudo.jsonl`.
        images: folder of the pictures.
        truths: folder of ground-truth masks, paired with the pictures by stem.

    Raises `DataError` when a mask is missing or of another size.
    """
    pairs = find_truths([row.image for row in rows], images, truths)
    for row in rows:
        predicted = read_mask(out / row.mask, (row.width, row.height))
        truth = read_sample_mask(pairs[row.image])
        covered = np.zeros(truth.shape, dtype=bool)
        for record in row.boxes:
            covered |= fill_box(truth.shape, np.array(record.box, dtype=np.float32))
        yield AuditRow(
            image=row.image,
            iou=iou(predicted, truth),
            boundary_f=boundary_f(predicted, truth),
            box_area=float(covered.mean()),
            fallbacks=sum(record.used not in (row.teacher, ANNOTATOR) for record in row.boxes),
            seconds=row.seconds,
        )


def summarise(audit: Sequence[AuditRow]) -> AuditSummary:
    """Figures overall and per box-size stratum."""
    strata = {
        f"{low:.0%}-{min(high, 1.0):.0%}": figures([row for row in audit if low <= row.box_area < high])
        for low, high in STRATA
    }
    return AuditSummary(**figures(audit).model_dump(), strata=strata)


def figures(audit: Sequence[AuditRow]) -> Figures:
    """Figures over pictures."""
    if not audit:
        return Figures(images=0)
    ious = np.array([row.iou for row in audit])
    return Figures(
        images=len(audit),
        iou_mean=float(ious.mean()),
        iou_median=float(np.median(ious)),
        boundary_f=float(np.mean([row.boundary_f for row in audit])),
        under_half=float((ious < 0.5).mean()),
        fallback=float(np.mean([row.fallbacks > 0 for row in audit])),
        seconds=float(np.mean([row.seconds for row in audit])),
    )


def draw_audit(
    path: Path,
    audit: Sequence[AuditRow],
    rows: Sequence[PseudoRow],
    out: Path,
    images: Path,
    truths: Path,
    seed: int,
) -> None:
    """Contact sheet: the 12 worst pictures, then 12 drawn at random. Truth blue, pseudo-mask orange, boxes black."""
    worst = sorted(audit, key=lambda row: row.iou)[:12]
    others = [row for row in audit if row not in worst]
    picks = np.random.default_rng(seed).permutation(len(others))[:12]
    pairs = find_truths([row.image for row in rows], images, truths)
    by_name = {row.image: row for row in rows}
    tiles = []
    for label, row in [("worst", row) for row in worst] + [("random", others[index]) for index in picks]:
        source = by_name[row.image]
        drawn = draw_contours(read_rgb(images / row.image), read_sample_mask(pairs[row.image]), TRUTH)
        drawn = draw_contours(drawn, read_mask(out / source.mask), PREDICTED)
        drawn = draw_boxes(drawn, [record.box for record in source.boxes], INK, 1)
        words = f"{label}: IoU {row.iou:.2f}, boundary F {row.boundary_f:.2f}\n{shortened(row.image, 38)}"
        tiles.append((drawn, words))
    contact_sheet(path, tiles, title="Pseudo-masks (orange) against ground truth (blue), boxes black")


def write_audit(
    out: Path, images: Path, truths: Path, seed: int = 0, advance: Callable[[], None] = lambda: None
) -> AuditSummary:
    """Audit a `pseudo` output: writes audit.json, audit.csv and audit.png into it and returns the summary.

    Args:
        advance: called after every picture.

    Raises `DataError` when a ground-truth mask is missing or of another size.
    """
    rows = read_pseudo(out)
    audit = []
    for row in audit_rows(rows, out, images, truths):
        audit.append(row)
        advance()
    summary = summarise(audit)
    write_text(out / "audit.json", json.dumps(summary.model_dump(exclude_none=True), indent=2) + "\n")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [one.name for one in fields(AuditRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in audit)
    write_text(out / "audit.csv", buffer.getvalue())
    draw_audit(out / "audit.png", audit, rows, out, images, truths, seed)
    return summary
