"""Cut objects from unlabelled photos with Segment Anything, so that any folder of photos can be a source of splices.

The method is our choice: the photo is embedded once, a coarse grid of points prompts the decoder, and masks are kept
that look like one complete, compact object away from the picture's border.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imltool.config import Frozen, Settings
from imltool.errors import ImageError, UsageError
from imltool.files import IMAGE_SUFFIXES, make_folder, write_bytes, writing
from imltool.journal import Journal, output_folder, read_rows, typed_rows
from imltool.pictures.draw import fit
from imltool.pictures.images import RGB, Mask, encode_jpeg, mask_png, read_mask, read_rgb
from imltool.pictures.pixels import bounds
from imltool.pictures.sheet import TRUTH, contact_sheet, draw_contours
from imltool.scan.inputs import Input
from imltool.synth.records import Box
from imltool.teacher.pseudo import clean_mask, mask_names
from imltool.teacher.registry import WITH_WEIGHTS
from imltool.teacher.sam import SamTeacher
from imltool.teacher.teacher import BoxMask, Teacher

COMMAND = "data objects"
JOURNAL = "objects.jsonl"
PARAMETERS = "parameters.json"
CONFIG = "config.yaml"
SHEET = "sheet.png"
IMAGES, MASKS = "images", "masks"
QUALITY = 95
"""Pillow quality of photos that had to be shrunk, without chroma subsampling (our choice)."""
ROOMY = 0.06
"""Share of the photo above which larger objects are no longer preferred (our choice)."""
SMALL_HOLE = 0.01
"""Holes smaller than this share of the object are filled (our choice)."""


class ObjectSettings(Settings):
    """Criteria for masks that count as objects. All of them are our choice."""

    long_side: int = Field(1024, ge=256, le=4096, description="photos are shrunk to at most this long side, pixels")
    grid: int = Field(6, ge=2, le=16, description="points along each side of the grid that prompts the teacher")
    min_predicted_iou: float = Field(0.85, ge=0.0, le=1.0, description="least IoU that SAM predicts for its mask")
    min_stability: float = Field(0.85, ge=0.0, le=1.0, description="least stability score of a mask")
    min_area: float = Field(0.01, ge=0.0, le=1.0, description="least share of the photo")
    max_area: float = Field(0.45, ge=0.0, le=1.0, description="largest share of the photo")
    min_side: int = Field(48, ge=1, description="least long side of an object, pixels")
    max_border: float = Field(0.05, ge=0.0, le=1.0, description="largest share of the outline at the photo's border")
    min_main_piece: float = Field(0.9, ge=0.0, le=1.0, description="least share of a mask in its largest piece")
    min_solidity: float = Field(0.4, ge=0.0, le=1.0, description="least object area / area of its convex hull")
    min_compactness: float = Field(0.15, ge=0.0, le=1.0, description="least 4π·area / outline length²; a disc has 1")
    min_contrast: float = Field(5.0, ge=0.0, le=128.0, description="least standard deviation inside, grey levels")
    min_score: float = Field(0.65, ge=0.0, le=1.0, description="least score; masks below it are mostly parts and gaps")
    max_overlap: float = Field(0.7, ge=0.0, le=1.0, description="largest shared part of the smaller of two objects")


@dataclass(frozen=True)
class CutObject:
    """One object of a photo.

    Attributes:
        mask: bool [H,W] at the working size: one piece, small holes filled.
        predicted_iou, stability, choice: as in `BoxMask`.
        area: share of the photo.
        border: share of the outline within 1 % of the photo's long side from its border.
        solidity: area / area of the convex hull.
        compactness: 4π·area / outline length².
        score: 0..1, by which the objects of a photo are ranked.
    """

    mask: Mask
    predicted_iou: float
    stability: float
    choice: int
    area: float
    border: float
    solidity: float
    compactness: float

    @property
    def score(self) -> float:
        """Predicted IoU times stability, lowered for small objects and for shapes far from their convex hull."""
        shape: float = self.solidity**0.25 * min(1.0, self.area / ROOMY) ** 0.25
        return min(self.predicted_iou, 1.0) * self.stability * shape


class CutRow(Frozen):
    """An object in the folder: its files, its box, and the figures of `CutObject` with four decimals."""

    image: str
    image_sha256: str
    mask: str
    mask_sha256: str
    box: Box
    choice: int
    predicted_iou: float
    stability: float
    area: float
    border: float
    solidity: float
    compactness: float
    score: float


class PhotoRow(Frozen):
    """A finished photo, a line of `objects.jsonl`.

    Attributes:
        sha256: of the photo.
        width, height: of the written pictures.
        objects: best first; a photo without objects also counts as done.
    """

    photo: str
    status: Literal["ok"] = "ok"
    sha256: str
    teacher: str
    width: int
    height: int
    objects: tuple[CutRow, ...]
    seconds: float


class FailedPhoto(Frozen):
    """A photo that cannot be read. It is not journalled: the next run tries again."""

    photo: str
    status: Literal["failed"] = "failed"
    reason: str


def grid_points(side: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """`side`² points, float32 [n,2] XY, at the centres of equal cells of a picture of (H, W)."""
    steps = (np.arange(side) + 0.5) / side
    columns, rows = np.meshgrid(steps * size[1], steps * size[0])
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def measure(rgb: RGB, answer: BoxMask, settings: ObjectSettings) -> CutObject | None:
    """The object in one of the teacher's masks of a uint8 RGB picture, or None if it is not an object by `settings`."""
    total = int(answer.mask.sum())
    if answer.predicted_iou < settings.min_predicted_iou or answer.stability < settings.min_stability or not total:
        return None
    mask = clean_mask(answer.mask, total, 0)  # only the largest piece
    if mask.sum() < settings.min_main_piece * total:
        return None
    mask = clean_mask(mask, 0, math.ceil(SMALL_HOLE * total))
    pixels = int(mask.sum())
    area = pixels / mask.size
    x1, y1, x2, y2 = bounds(mask)
    if not settings.min_area <= area <= settings.max_area or max(x2 - x1, y2 - y1) < settings.min_side:
        return None
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = max(outlines, key=cv2.contourArea)
    length = sum(cv2.arcLength(outline, True) for outline in outlines)
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(outer), 1)
    found = CutObject(
        mask=mask,
        predicted_iou=answer.predicted_iou,
        stability=answer.stability,
        choice=answer.choice,
        area=area,
        border=_at_border(outer[:, 0], mask.shape),
        solidity=pixels / int(hull.sum()),
        compactness=min(1.0, 4 * math.pi * pixels / max(length, 1.0) ** 2),
    )
    fits = (
        found.border <= settings.max_border
        and found.solidity >= settings.min_solidity
        and found.compactness >= settings.min_compactness
        and found.score >= settings.min_score
        # overexposed sky and flat black have no traces that could reveal a splice
        and rgb[mask].mean(axis=1).std() >= settings.min_contrast
    )
    return found if fits else None


def _at_border(outline: NDArray[Any], size: tuple[int, ...]) -> float:
    """Share of an outline (integer [n,2] XY) near the border: masks of ground or sky often end just before it."""
    height, width = size
    margin = max(2, round(0.01 * max(size)))
    x, y = outline[:, 0], outline[:, 1]
    return float(((x < margin) | (x >= width - margin) | (y < margin) | (y >= height - margin)).mean())


def choose(candidates: list[CutObject], most: int, max_overlap: float) -> list[CutObject]:
    """At most `most` objects, best score first; none overlaps a better one by more than `max_overlap` of the smaller.

    Relative to the smaller object, this drops parts of a kept object and not only duplicates.
    """
    kept: list[CutObject] = []
    for candidate in sorted(candidates, key=lambda found: -found.score):
        if len(kept) == most:
            break
        if all(_overlap(candidate.mask, better.mask) <= max_overlap for better in kept):
            kept.append(candidate)
    return kept


def _overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / min(first.sum(), second.sum()))


def find_objects(rgb: RGB, teacher: SamTeacher, settings: ObjectSettings, most: int) -> list[CutObject]:
    """Find up to `most` objects in a uint8 RGB picture, best first; often there is none."""
    points = grid_points(settings.grid, rgb.shape[:2])
    answers = teacher.decode_points(teacher.embed(rgb), points, settings.min_predicted_iou)
    measured = [measure(rgb, answer, settings) for answer in answers]
    return choose([found for found in measured if found is not None], most, settings.max_overlap)


def require_sam(teacher: Teacher) -> SamTeacher:
    """The teacher, if it accepts points. Raises `UsageError` for one without weights."""
    if not isinstance(teacher, SamTeacher):
        raise UsageError(
            f"teacher {teacher.name} finds no objects by itself", f"choose one of {', '.join(WITH_WEIGHTS)}"
        )
    return teacher


def sample(inputs: tuple[Input, ...], limit: int | None, seed: int) -> list[Input]:
    """All inputs, or `limit` of them drawn at random, in input order; a larger limit includes a smaller one's draw."""
    if limit is None or limit >= len(inputs):
        return list(inputs)
    drawn = np.random.default_rng(seed).permutation(len(inputs))[:limit]
    return [inputs[index] for index in sorted(drawn.tolist())]


def object_stems(inputs: tuple[Input, ...]) -> dict[str, str]:
    """For the name of every input, the common path of its objects without `-1`, `-2` …; unique, with suffix if needed.

    Pass all photos rather than a part of them: photos that differ only in their suffix keep it.
    """
    masks = mask_names([item.output for item in inputs])
    return {item.name: PurePosixPath(masks[item.output]).with_suffix("").as_posix() for item in inputs}


@contextmanager
def objects_folder(out: Path, parameters: dict[str, Any], restart: bool = False) -> Iterator[bool]:
    """Lock `out` as the folder of a run with `parameters`; yields True when it resumes an earlier run.

    With `restart`, the files of an earlier run in it are removed, and no others.

    Raises `UsageError` when `out` is a file or contains files but no objects, and `ResumeError` when it contains
    objects cut with other parameters.
    """
    claimed = {"command": COMMAND} | parameters
    written = (IMAGES, MASKS, JOURNAL, CONFIG, SHEET)
    with output_folder(out, claimed, PARAMETERS, "objects", written=written, restart=restart) as resumed:
        for folder in (IMAGES, MASKS):  # photos without objects also make a source, an empty one
            make_folder(out / folder)
        yield resumed


def write_objects(
    photos: list[Input], stems: dict[str, str], teacher: SamTeacher, settings: ObjectSettings, most: int, out: Path
) -> Iterator[PhotoRow | FailedPhoto]:
    """Cut objects from photos that are missing in `out`, and yield a row for every photo done or failed.

    Every object has a picture and a mask with the same stem, `images/NAME-1.jpg` and `masks/NAME-1.png`, as sources of
    synthetic forgeries need them. The picture is a byte-for-byte copy of the photo's file, or a JPEG if the photo is
    larger than `settings.long_side`. Two objects of a photo have two copies, not links: the folder stays complete when
    photos move, and changes in it do not affect them.

    Args:
        stems: from `object_stems`.
        most: greatest number of objects per photo. It must be the same in all runs into one folder.

    Raises `OutputError` when a file cannot be written; journalled rows stay valid.
    """
    with Journal(out / JOURNAL) as journal:
        done = {row.photo: row.sha256 for row in _newest(out, journal.rows) if _complete(row, out)}
        for item in photos:
            try:
                data = _read(item)
                digest = hashlib.sha256(data).hexdigest()
                if done.get(item.name) == digest:
                    continue
                started = time.perf_counter()
                photo = read_rgb(item.file)
            except ImageError as error:
                yield FailedPhoto(photo=item.name, reason=error.message)
                continue
            rgb = fit(photo, settings.long_side)
            suffix = item.file.suffix
            if rgb is not photo or suffix.lower() not in IMAGE_SUFFIXES:
                data, suffix = encode_jpeg(rgb, QUALITY, subsampling=0), ".jpg"
            found = find_objects(rgb, teacher, settings, most)
            _clear(out, stems[item.name], item, most)
            stem = stems[item.name]
            row = PhotoRow(
                photo=item.name,
                sha256=digest,
                teacher=teacher.name,
                width=rgb.shape[1],
                height=rgb.shape[0],
                objects=tuple(
                    _write(out, f"{stem}-{number}", suffix, data, one) for number, one in enumerate(found, 1)
                ),
                seconds=round(time.perf_counter() - started, 3),
            )
            journal.append(row.model_dump(mode="json"))
            yield row


def _read(item: Input) -> bytes:
    if item.fault:
        raise ImageError(f"{item.file}: {item.fault}")
    try:
        return item.file.read_bytes()
    except OSError as error:
        raise ImageError(f"{item.file}: {error.strerror or type(error).__name__}") from error


def _complete(row: PhotoRow, out: Path) -> bool:
    return all((out / name).is_file() for found in row.objects for name in (found.image, found.mask))


def _clear(out: Path, stem: str, item: Input, most: int) -> None:
    """Remove files that a killed run, or a run before the photo changed, wrote for it: it may have had more objects."""
    with writing(out):
        for number in range(1, most + 1):
            for suffix in (item.file.suffix, ".jpg"):
                (out / IMAGES / f"{stem}-{number}{suffix}").unlink(missing_ok=True)
            (out / MASKS / f"{stem}-{number}.png").unlink(missing_ok=True)


def _write(out: Path, stem: str, suffix: str, picture: bytes, found: CutObject) -> CutRow:
    data, image, mask = mask_png(found.mask), f"{IMAGES}/{stem}{suffix}", f"{MASKS}/{stem}.png"
    write_bytes(out / mask, data)
    write_bytes(out / image, picture)
    figures = ("predicted_iou", "stability", "area", "border", "solidity", "compactness", "score")
    return CutRow(
        image=image,
        image_sha256=hashlib.sha256(picture).hexdigest(),
        mask=mask,
        mask_sha256=hashlib.sha256(data).hexdigest(),
        box=bounds(found.mask),
        choice=found.choice,
        **{name: round(float(getattr(found, name)), 4) for name in figures},
    )


def _newest(out: Path, rows: Sequence[object]) -> list[PhotoRow]:
    return list({row.photo: row for row in typed_rows(out / JOURNAL, rows, PhotoRow.model_validate)}.values())


def read_objects(out: Path) -> list[PhotoRow]:
    """Rows of a finished or running output, the newest for each photo.

    Raises `DataError` when the output is missing or damaged.
    """
    return _newest(out, read_rows(out / JOURNAL))


def write_sheet(out: Path, limit: int = 96) -> Path:
    """Draw the first `limit` objects, with the rest of their photos faded, on `sheet.png`; returns its path."""
    tiles: list[tuple[RGB, str]] = []
    for row in read_objects(out):
        for found in row.objects[: limit - len(tiles)]:
            rgb, mask = read_rgb(out / found.image), read_mask(out / found.mask, (row.width, row.height))
            faded = np.where(mask[..., None], rgb, rgb // 3 + 160).astype(np.uint8)
            tiles.append((draw_contours(faded, mask, TRUTH), _caption(found)))
    contact_sheet(out / SHEET, tiles, title=f"{len(tiles)} objects cut from photos")
    return out / SHEET


def _caption(found: CutRow) -> str:
    name = Path(found.image).name
    return f"{found.score:.2f}: IoU {found.predicted_iou:.2f}, stability {found.stability:.2f}\n{name[:38]}"
