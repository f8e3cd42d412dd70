"""Output for other commands: boxes and accepted masks as COCO JSON, and the list of authentic pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from imltool.annotate.records import DrawnBox, Records, State
from imltool.data.box_writers import box_polygon, outlines
from imltool.data.rle import decode_mask
from imltool.files import write_text


def present_states(records: Records, annotator: str | None = None) -> list[State]:
    """One state per picture, sorted by name: the latest of all annotators, or of `annotator`."""
    chosen = []
    for _, states in sorted(records.by_picture().items()):
        theirs = [state for state in states if annotator in (None, state.annotator)]
        chosen += theirs[:1]
    return chosen


@dataclass(frozen=True)
class BoxesFile:
    """The text of a boxes file, and the names of its pictures judged authentic."""

    text: str
    authentic: tuple[str, ...]


def boxes_file(records: Records, annotator: str | None = None) -> BoxesFile:
    """All annotations as COCO detection JSON.

    Every picture that was judged or has boxes is an image. Its `imltool` object has annotator, verdict (null for
    imported boxes that nobody has judged), time, seconds, revision, sha256, whether suggestions were shown, and who
    else judged it. Boxes of pictures marked unsure or skipped are only in the journal, because they must not be used
    for training. An annotation's `imltool` object has `accepted`, `clicks` (x, y, 1 inside or 0), `origin`, the `kind`
    of edit (or null), a `comment`, and an accepted mask, run-length encoded (`mask`). The `segmentation` is for other
    programs: the mask's outlines, else the box, as polygons.
    """
    everyone = records.by_picture()
    states = present_states(records, annotator)
    images = [
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
        for image_id, state in enumerate(states, 1)
    ]
    drawn = [
        (image_id, box)
        for image_id, state in enumerate(states, 1)
        if state.content.verdict in ("tampered", None)
        for box in state.content.boxes
    ]
    document = {
        "info": {"description": "boxes drawn with imltool annotate"},
        "images": images,
        "annotations": [
            {"id": number, "image_id": image_id, **_annotation(box)} for number, (image_id, box) in enumerate(drawn, 1)
        ],
        "categories": [{"id": 1, "name": "tampered"}],
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
    return BoxesFile(text, tuple(state.image for state in states if state.content.verdict == "authentic"))


def _annotation(box: DrawnBox) -> dict[str, object]:
    """A box as COCO has it, without its ids."""
    x1, y1, x2, y2 = box.box
    mask = None if box.mask is None else decode_mask(box.mask)
    marked = mask if mask is not None and mask.any() else None
    return {
        "category_id": 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1) if marked is None else int(marked.sum()),
        "iscrowd": 0,
        "imltool": {
            "accepted": box.accepted,
            "clicks": [[click.x, click.y, int(click.inside)] for click in box.clicks],
            "origin": box.origin,
            "kind": box.kind,
            "comment": box.comment,
            **({"mask": box.mask} if box.mask is not None else {}),
        },
        # CVAT and Label Studio require a segmentation for every annotation; Label Studio imports polygons only
        "segmentation": box_polygon(box.box) if marked is None else outlines(marked),
    }


def write_results(boxes: Path, content: BoxesFile, root: Path) -> None:
    """Write a boxes file and the list of its authentic pictures, each atomically. Raises `OutputError`.

    The list beside `DIR/boxes.json` is `DIR/boxes.authentic.txt`. Its names are as in a `list` of `imltool train`: they
    start with the folder's own name.
    """
    write_text(boxes, content.text)
    names = [f"{root.name}/{name}" for name in content.authentic]
    lines = ["# pictures judged authentic with imltool annotate", *names]
    write_text(boxes.with_name(f"{boxes.stem}.authentic.txt"), "\n".join(lines) + "\n")
