"""Pictures with one box each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.pictures import forged


def make_annotated(root: Path, count: int = 3) -> tuple[Path, Path, Path]:
    """Pictures, a COCO file with a loose box for each, and the true masks."""
    images, truths = root / "images", root / "truth"
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "tampered"}]}
    for index in range(count):
        rgb, mask = forged(20 + index, 128, 96)
        for folder, data in ((images, rgb), (truths, mask)):
            (folder / "sub").mkdir(parents=True, exist_ok=True)
            Image.fromarray(data).save(folder / "sub" / f"p{index}.png")
        rows, columns = np.nonzero(mask)
        x, y = float(columns.min() - 3), float(rows.min() - 3)
        box = [x, y, float(columns.max() + 4 - x), float(rows.max() + 4 - y)]
        document["images"].append({"id": index, "file_name": f"sub/p{index}.png", "width": 128, "height": 96})
        document["annotations"].append({"id": index, "image_id": index, "category_id": 1, "bbox": box})
    (root / "boxes.json").write_text(json.dumps(document))
    return images, root / "boxes.json", truths
