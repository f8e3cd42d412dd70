"""Scans to review: a real one of a few pictures, and larger ones with copies of its rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.pictures import forged, photo, write_rgb
from imltool.cli.app import run
from imltool.files import sha256_file, sha256_text
from imltool.journal import dump_json, read_rows
from imltool.pictures.images import read_map, write_map, write_mask
from imltool.scan.chain import ChainedJournal
from imltool.scan.results import RESULTS
from imltool.scan.run_record import record_text

WIDE, TALL = 600, 400
NAMES = ("a.png", "camera.jpg", "sub/c.png")


def scan(folder: Path, weights: Path) -> Path:
    """The output folder of a scan of three pictures and a damaged one; the mask is the highest tenth of a map."""
    for seed, name in enumerate(NAMES):
        if name.endswith("png"):
            write_rgb(folder / "in" / name, forged(seed, WIDE, TALL)[0])
    exif = Image.Exif()
    exif.update({0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0131: "GIMP 2.10"})
    Image.fromarray(photo(9, WIDE, TALL)).save(folder / "in/camera.jpg", exif=exif)
    (folder / "in/torn.png").write_bytes((folder / "in/a.png").read_bytes()[:500])
    words = ["scan", folder / "in", "--weights", weights, "--device", "cpu", "-q", "--case-id", "C-17"]
    assert run([*map(str, words), "--out", str(folder / "first")]) == 3
    threshold = float(np.quantile(read_map(folder / "first/maps/a.png.png"), 0.9))
    out = folder / "out"
    assert run([*map(str, words), "--out", str(out), "--threshold", f"{threshold:.4f}", "--companions", "ela"]) == 3
    return out


def made_of(out: Path, target: Path, rows: Iterable[dict[str, Any]], inputs: Path, **model: Any) -> Path:
    """A scan folder with the given rows, whose pictures are below `inputs`, and changed fields of the model record."""
    target.mkdir()
    shutil.copy(out / "parameters.json", target)
    with ChainedJournal(target / RESULTS, sha256_file(target / "parameters.json")) as journal:
        for row in rows:
            journal.append({key: value for key, value in row.items() if key != "previous_sha256"})
        record = json.loads((out / "run.json").read_text())
        record["chain"] = {"rows": len(journal.rows), "head": journal.head}
    record["inputs"] = [{"given": inputs.name, "path": str(inputs), "label": ""}]
    record["model"] |= model
    del record["self_sha256"]
    record["self_sha256"] = sha256_text(dump_json(record))
    (target / "run.json").write_text(record_text(record))
    return target


def many(out: Path, count: int) -> Iterator[dict[str, Any]]:
    """Rows of `count` pictures in folders, copied from the analysed rows of a scan, with decreasing scores."""
    scanned = [row for row in read_rows(out / RESULTS) if row["status"] == "ok"]
    for number in range(count):
        row = scanned[number % len(scanned)]
        yield {**row, "path": f"disk {number % 7}/{number:05} {Path(row['path']).name}", "score": 1 - number / count}


def large(out: Path, target: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    """A scan of large pictures (name → width and height), each with a map and a mask of its size."""
    inputs = target.parent / f"{target.name}-in"
    inputs.mkdir(parents=True)
    (scanned, *_) = (row for row in read_rows(out / RESULTS) if row["status"] == "ok")
    rows = []
    maps = target.parent / f"{target.name}-maps"
    for seed, (name, (width, height)) in enumerate(sizes.items()):
        block = photo(seed, 250, 250)
        rgb = np.tile(block, (-(-height // 250), -(-width // 250), 1))[:height, :width]
        Image.fromarray(rgb).save(inputs / name)
        values = np.zeros((height, width), np.float32)
        values[height // 4 : height // 2, width // 4 : width // 3] = 0.9
        write_map(maps / "maps" / f"{name}.png", values)
        write_mask(maps / "masks" / f"{name}.png", values > 0.5)
        region = {"x": width // 4, "y": height // 4, "width": width // 3 - width // 4, "height": height // 4}
        area = region["width"] * region["height"]
        rows.append(
            scanned
            | {"path": name, "sha256": sha256_file(inputs / name), "width": width, "height": height, "companions": {}}
            | {
                "map": f"maps/{name}.png",
                "mask": f"masks/{name}.png",
                "regions": [{**region, "area": area, "score": 0.9}],
            }
        )
    made = made_of(out, target, rows, inputs)
    for folder in ("maps", "masks"):
        shutil.move(maps / folder, made / folder)
    shutil.copytree(out / "overlays", made / "overlays")
    return made
