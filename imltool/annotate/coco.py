"""Output for other commands: boxes and accepted masks as COCO JSON, and the list of authentic pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imltool.annotate.records import DrawnBox, Records, State
from imltool.data.box_writers import box_polygon, outlines
from imltool.data.rle import decode_mask
from imltool.files import write_text


def authentic_list(boxes: Path) -> Path:
    """The list file beside a boxes file: `DIR/boxes.authentic.txt` for `DIR/boxes.json`."""
    return boxes.with_name(f"{boxes.stem}.authentic.txt")


def present_states(records: Records, annotator: str | None = None) -> list[State]:
    """One state per picture, sorted by name: the latest of all annotators, or of `annotator`."""
    chosen = []
    for _, states in sorted(records.by_picture().items()):
        theirs = [state for state in states if annotator in (None, state.annotator)]
        chosen += theirs[:1]
    return chosen


def coco_document(records: Records, annotator: str | None = None) -> dict[str, Any]:
    """All annotations as COCO detection JSON.

    Every picture that was judged or has boxes is an image. Its `imltool` object has annotator, verdict (null for
    imported boxes that nobody has judged), time, seconds, revision, sha256, whether suggestions were shown, and who
    else judged it. Boxes of pictures marked unsure or skipped are only in the journal, because they must not be used
    for training. An annotation's `imltool` object has `accepted`, `clicks` (x, y, 1 inside or 0), `origin`, the `kind`
    of edit (or null), a `comment`, and an accepted mask, run-length encoded (`mask`). The `segmentation` is for other
    programs: the mask's outlines, else the box, as polygons.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    everyone = records.by_picture()
    for image_id, state in enumerate(present_states(records, annotator), 1):
        images.append(
            {
                "id": image_id,
                "file_name": state.image,
                "width": state.width,
                "height": state.height,
                "imltool": {
                    "annotator": state.annotator,
                    "others": sorted({other.annotator for other in everyone[state.image]} - {state.annotator}),
                    "verdict": state.content.verdict,
                    "time": state.time,
                    "seconds": round(records.seconds(state.annotator, state.image), 1),
                    "revision": state.revision,
                    "sha256": state.sha256,
                    "suggestions_shown": state.suggested,
                },
            }
        )
        if state.content.verdict in ("tampered", None):
            for box in state.content.boxes:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_annotation(box)})
    return {
        "info": {"description": "boxes drawn with imltool annotate"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "tampered"}],
    }


def _annotation(box: DrawnBox) -> dict[str, Any]:
    x1, y1, x2, y2 = box.box
    made: dict[str, Any] = {
        "category_id": 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        "imltool": {
            "accepted": box.accepted,
            "clicks": [[click.x, click.y, int(click.inside)] for click in box.clicks],
            "origin": box.origin,
            "kind": box.kind,
            "comment": box.comment,
        },
    }
    # CVAT and Label Studio require a segmentation for every annotation; Label Studio imports polygons only
    made["segmentation"] = box_polygon(box.box)
    if box.mask is not None:
        mask = decode_mask(box.mask)
        if mask.any():
            made |= {"segmentation": outlines(mask), "area": int(mask.sum())}
        made["imltool"]["mask"] = box.mask
    return made


def write_results(boxes: Path, document: dict[str, Any], root: Path) -> None:
    """Write a `coco_document` and the list of its authentic pictures, each atomically. Raises `OutputError`.

    Names in the list are as in a `list` of `imltool train`: they start with the folder's own name.
    """
    write_text(boxes, json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    names = [image["file_name"] for image in document["images"] if image["imltool"]["verdict"] == "authentic"]
    head = "# pictures judged authentic with imltool annotate\n"
    write_text(authentic_list(boxes), head + "".join(f"{root.name}/{name}\n" for name in names))
