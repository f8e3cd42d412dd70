"""Export the boxes of a session to the formats of other tools."""

from __future__ import annotations

from pathlib import Path

from imltool.annotate.coco import boxes_file, present_states
from imltool.annotate.stats import read_records
from imltool.data.box_formats import BoxedImage
from imltool.data.box_writers import FOLDER_WRITERS
from imltool.errors import UsageError
from imltool.files import write_text

COCO = "coco"


def export_boxes(boxes: Path, to: str, out: Path, annotator: str | None = None) -> int:
    """Write the boxes of a boxes file as `coco`, `voc` or `yolo`; returns the number of pictures written.

    Pictures judged authentic are written without a box. Those marked unsure or skipped are left out of VOC and YOLO,
    in which a picture without boxes would be taken for authentic.

    Raises `UsageError` for an unknown format or annotator, or if `out` exists and is not empty, `DataError` if there
    are no journals or names collide, `OutputError`.
    """
    if to != COCO and to not in FOLDER_WRITERS:
        raise UsageError(f"unknown box format {to!r}", f"choose one of {', '.join((COCO, *FOLDER_WRITERS))}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} exists", "choose another --out")
    records = read_records(boxes)
    known = sorted({name for name, _ in records.histories})
    if annotator is not None and annotator not in known:
        raise UsageError(f"{boxes} holds nothing of {annotator!r}", f"known: {', '.join(known)}")
    states = present_states(records, annotator)
    if to == COCO:
        write_text(out, boxes_file(records, annotator).text)
        return len(states)
    entries = [
        BoxedImage(state.image, tuple(box.box for box in state.content.boxes), (state.width, state.height))
        for state in states
        if state.content.verdict not in ("unsure", "skipped")
    ]
    FOLDER_WRITERS[to](out, entries)
    return len(entries)
