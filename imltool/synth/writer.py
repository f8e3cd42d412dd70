"""Write synthetic forgeries one by one as a labelled set in the `folder` layout; resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imltool.data.box_formats import BoxedImage
from imltool.data.box_writers import write_coco
from imltool.errors import DataError, ImageError
from imltool.files import write_bytes
from imltool.journal import Journal, read_rows
from imltool.pictures.images import encode_png, read_mask, read_rgb, write_mask
from imltool.pictures.sheet import TRUTH, contact_sheet, draw_boxes, draw_contours
from imltool.synth.forge import Forge, Forgery, sample_rng
from imltool.synth.sources import SourcePool

JOURNAL = "synth.jsonl"
BOXES = "boxes.json"
SHEET = "sheet.png"


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


def write_forgeries(forge: Forge, count: int, seed: int, out: Path) -> Iterator[dict[str, Any]]:
    """Make those of the samples 0 … count-1 that are missing in `out`, and yield a row for each one made or failed.

    Sample `index` is a function of (seed, index), the settings and the sources alone, so an interrupted run and a run
    with a larger `count` continue with the same samples. Writes `tampered/`, `masks/`, `authentic/` and, at the end,
    `boxes.json` (coarse boxes of the tampered pictures).

    Each finished row is a line of `synth.jsonl`: index, seed, status `ok`, kind, image, mask (None when authentic),
    width, height, boxes (XYXY), sha256 of the picture, and `record` (every drawn parameter, source names). A sample
    with an unreadable source, or without a region of the wanted size, yields status `failed` with a reason; it is not
    journalled, so the next run tries it again. Raises `OutputError` when a file cannot be written; journalled rows stay
    valid.
    """
    with Journal(out / JOURNAL) as journal:
        done = {row["index"] for row in journal.rows if _complete(row, out)}
        for index in range(count):
            if index in done:
                continue
            try:
                forgery = forge.make(sample_rng(seed, index))
            except (ImageError, DataError) as error:
                yield {"index": index, "status": "failed", "reason": error.message}
                continue
            row = {"index": index, "seed": seed, "status": "ok"} | _write(forgery, index, out)
            journal.append(row)
            yield row
        rows = sorted(_newest(journal.rows), key=lambda row: int(row["index"]))
    write_coco(out / BOXES, [_boxed(row) for row in rows if row["mask"] is not None])


def _boxed(row: dict[str, Any]) -> BoxedImage:
    boxes = tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in row["boxes"])
    return BoxedImage(Path(row["image"]).name, boxes, (row["width"], row["height"]))


def _write(forgery: Forgery, index: int, out: Path) -> dict[str, Any]:
    tampered = bool(forgery.mask.any())
    stem = f"{index:06d}_{forgery.kind}"
    image = f"{'tampered' if tampered else 'authentic'}/{stem}.{'png' if forgery.file is None else 'jpg'}"
    mask = f"masks/{stem}.png" if tampered else None
    data = encode_png(forgery.image) if forgery.file is None else forgery.file
    if mask is not None:
        write_mask(out / mask, forgery.mask)
    write_bytes(out / image, data)
    return {
        "kind": forgery.kind,
        "image": image,
        "mask": mask,
        "width": forgery.image.shape[1],
        "height": forgery.image.shape[0],
        "boxes": [list(box) for box in forgery.boxes],
        "sha256": hashlib.sha256(data).hexdigest(),
        "record": forgery.record,
    }


def _complete(row: dict[str, Any], out: Path) -> bool:
    return (out / row["image"]).is_file() and (row["mask"] is None or (out / row["mask"]).is_file())


def _newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({row["index"]: row for row in rows}.values())


def read_forgeries(out: Path) -> list[dict[str, Any]]:
    """Rows of a finished or running `synth` output, the newest for each index.

    Raises `DataError` when the output is missing or damaged.
    """
    return _newest(read_rows(out / JOURNAL))


def write_sheet(out: Path, limit: int = 48) -> Path:
    """Draw the first `limit` samples with mask outline and coarse boxes on `sheet.png`; returns its path."""
    tiles = []
    for row in sorted(read_forgeries(out), key=lambda row: int(row["index"]))[:limit]:
        rgb = read_rgb(out / row["image"])
        record = row["record"]
        if row["mask"] is not None:
            rgb = draw_contours(rgb, read_mask(out / row["mask"], (row["width"], row["height"])), TRUTH)
            rgb = draw_boxes(rgb, row["boxes"], (255, 255, 255), 1)
        final = record["final"]
        saved = f"JPEG {final['quality']}" if final["format"] == "JPEG" else "PNG"
        tiles.append((rgb, f"{row['index']} {row['kind']}, {record['area']:.1%}\n{saved} {record['host'][:24]}"))
    contact_sheet(out / SHEET, tiles, title=f"{len(tiles)} synthetic samples: true outline, coarse boxes")
    return out / SHEET
