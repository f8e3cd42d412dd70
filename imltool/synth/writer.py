"""Write synthetic forgeries one by one as a labelled set in the `folder` layout; resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import PlainSerializer, TypeAdapter

from imltool.config import Frozen
from imltool.data.box_formats import BoxedImage
from imltool.data.box_writers import write_coco
from imltool.errors import DataError, ImageError
from imltool.files import write_bytes
from imltool.journal import Journal, read_rows, typed_rows
from imltool.pictures.images import encode_png, read_mask, read_rgb, write_mask
from imltool.pictures.sheet import TRUTH, contact_sheet, draw_boxes, draw_contours
from imltool.synth.forge import Forge, Forgery, sample_rng
from imltool.synth.records import Record
from imltool.synth.sources import SourcePool

JOURNAL = "synth.jsonl"
BOXES = "boxes.json"
SHEET = "sheet.png"
_RECORD = TypeAdapter(Record)


def sources_digest(pool: SourcePool) -> str:
    """SHA-256 over names and sizes of all source files, in order, because other sources would give other samples.

    Raises `DataError` when a file is missing, for instance because of a broken link.
    """
    digest = hashlib.sha256()
    for path in [*pool.hosts, *(mask for _, mask in pool.objects)]:
        try:
            digest.update(f"{path.name}\0{path.stat().st_size}\n".encode())
        except OSError as error:
            raise DataError(f"source {path} cannot be read: {error.strerror}", "remove or repair the link") from error
    return digest.hexdigest()


class Row(Frozen):
    """A finished sample, a line of `synth.jsonl`.

    Attributes:
        index, seed: from which the sample can be made again, with the same settings and sources.
        image, mask: files below the output folder; mask is None for an authentic picture.
        boxes: coarse boxes, XYXY in pixels.
        sha256: of the picture's file.
        record: every drawn parameter, and the names of the sources.
    """

    index: int
    seed: int
    status: Literal["ok"] = "ok"
    kind: str
    image: str
    mask: str | None
    width: int
    height: int
    boxes: tuple[tuple[float, float, float, float], ...]
    sha256: str
    record: Annotated[Record, PlainSerializer(partial(_RECORD.dump_python, mode="json", exclude_defaults=True))]

    def complete(self, out: Path) -> bool:
        """Whether the files of the sample are in the output folder."""
        return (out / self.image).is_file() and (self.mask is None or (out / self.mask).is_file())


class Failure(Frozen):
    """A sample that could not be made, and why."""

    index: int
    status: Literal["failed"] = "failed"
    reason: str


def write_forgeries(forge: Forge, count: int, seed: int, out: Path) -> Iterator[Row | Failure]:
    """Make those of the samples 0 … count-1 that are missing in `out`, and yield a row for each one made or failed.

    Sample `index` is a function of (seed, index), the settings and the sources alone, so an interrupted run and a run
    with a larger `count` continue with the same samples. Writes `tampered/`, `masks/`, `authentic/` and, at the end,
    `boxes.json` (coarse boxes of the tampered pictures).

    Each finished row is a line of `synth.jsonl`. A sample with an unreadable source, or without a region of the wanted
    size, yields a `Failure`; it is not journalled, so the next run tries it again. Raises `OutputError` when a file
    cannot be written; journalled rows stay valid.
    """
    with Journal(out / JOURNAL) as journal:
        rows = _newest(out, journal.rows)
        for index in range(count):
            if index in rows and rows[index].complete(out):
                continue
            try:
                forgery = forge.make(sample_rng(seed, index))
            except (ImageError, DataError) as error:
                yield Failure(index=index, reason=error.message)
                continue
            rows[index] = _write(forgery, index, seed, out)
            journal.append(rows[index].model_dump(mode="json"))
            yield rows[index]
    tampered = [row for _, row in sorted(rows.items()) if row.mask is not None]
    write_coco(out / BOXES, [BoxedImage(Path(row.image).name, row.boxes, (row.width, row.height)) for row in tampered])


def _write(forgery: Forgery, index: int, seed: int, out: Path) -> Row:
    tampered = bool(forgery.mask.any())
    stem = f"{index:06d}_{forgery.kind}"
    image = f"{'tampered' if tampered else 'authentic'}/{stem}.{'png' if forgery.file is None else 'jpg'}"
    mask = f"masks/{stem}.png" if tampered else None
    data = encode_png(forgery.image) if forgery.file is None else forgery.file
    if mask is not None:
        write_mask(out / mask, forgery.mask)
    write_bytes(out / image, data)
    return Row(
        index=index,
        seed=seed,
        kind=forgery.kind,
        image=image,
        mask=mask,
        width=forgery.image.shape[1],
        height=forgery.image.shape[0],
        boxes=tuple(forgery.boxes),
        sha256=hashlib.sha256(data).hexdigest(),
        record=forgery.record,
    )


def _newest(out: Path, rows: Sequence[object]) -> dict[int, Row]:
    return {row.index: row for row in typed_rows(out / JOURNAL, rows, Row.model_validate)}


def read_forgeries(out: Path) -> list[Row]:
    """Rows of a finished or running `synth` output by index, the newest for each.

    Raises `DataError` when the output is missing or damaged.
    """
    return [row for _, row in sorted(_newest(out, read_rows(out / JOURNAL)).items())]


def write_sheet(out: Path, limit: int = 48) -> Path:
    """Draw the first `limit` samples with mask outline and coarse boxes on `sheet.png`; returns its path."""
    tiles = []
    for row in read_forgeries(out)[:limit]:
        rgb = read_rgb(out / row.image)
        if row.mask is not None:
            rgb = draw_contours(rgb, read_mask(out / row.mask, (row.width, row.height)), TRUTH)
            rgb = draw_boxes(rgb, row.boxes, (255, 255, 255), 1)
        record, final = row.record, row.record.final
        saved = f"JPEG {final.quality}" if final.format == "JPEG" else "PNG"
        tiles.append((rgb, f"{row.index} {row.kind}, {record.area or 0:.1%}\n{saved} {record.host[:24]}"))
    contact_sheet(out / SHEET, tiles, title=f"{len(tiles)} synthetic samples: true outline, coarse boxes")
    return out / SHEET
