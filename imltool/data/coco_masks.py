"""Masks as COCO JSON with run-length encoded segmentations, which CVAT and `pycocotools` read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imltool.data.box_writers import CATEGORY
from imltool.data.rle import encode_mask
from imltool.files import write_text
from imltool.pictures.images import read_mask
from imltool.pictures.pixels import bounds


def write_masks(path: Path, masks: Iterable[tuple[str, Path]], description: str) -> int:
    """Write masks as COCO JSON: an image for each, and an annotation for each mask that is not empty. Atomic.

    An annotation's `segmentation` is compressed run lengths, its `bbox` (x, y, w, h in pixels) the bounds of the mask,
    its `area` in pixels; `iscrowd` is 1, as COCO requires for run lengths.

    Args:
        masks: (name of the picture, its mask file) in the order in which they are written.

    Returns the number of images. Raises `ImageError` for a mask that cannot be read, `OutputError`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, file) in enumerate(masks, 1):
        mask = read_mask(file)
        height, width = mask.shape
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        if not mask.any():
            continue
        left, top, right, bottom = bounds(mask)
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": CATEGORY["id"],
                "segmentation": encode_mask(mask),
                "bbox": [left, top, right - left, bottom - top],
                "area": int(mask.sum()),
                "iscrowd": 1,
            }
        )
    document = {
        "info": {"description": description},
        "images": images,
        "annotations": annotations,
        "categories": [CATEGORY],
    }
    write_text(path, json.dumps(document, ensure_ascii=False) + "\n")
    return len(images)
