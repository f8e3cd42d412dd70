"""Convert masks and boxes of the stored raster to the displayed picture by the EXIF orientation.

Labels drawn with a program that ignores the orientation belong to the stored raster, while all commands here use the
displayed picture.
"""

from __future__ import annotations

import numpy as np

from imltool.pictures.images import Mask, PictureShape

Box = tuple[float, float, float, float]


def displayed_mask(mask: Mask, orientation: int) -> Mask:
    """Convert a bool mask [H,W] of the stored raster to one of the displayed picture.

    Args:
        orientation: EXIF's tag, 1 to 8.
    """
    turned = {
        1: mask,
        2: mask[:, ::-1],
        3: mask[::-1, ::-1],
        4: mask[::-1],
        5: mask.T,
        6: mask[::-1].T,
        7: mask[::-1, ::-1].T,
        8: mask[:, ::-1].T,
    }
    return np.ascontiguousarray(turned[orientation])


def displayed_box(box: Box, shape: PictureShape) -> Box:
    """Convert an XYXY box in pixels of the stored raster to one of the displayed picture."""
    width, height = shape.stored_size
    x1, y1, x2, y2 = box
    left, right, top, bottom = width - x2, width - x1, height - y2, height - y1
    return {
        1: (x1, y1, x2, y2),
        2: (left, y1, right, y2),
        3: (left, top, right, bottom),
        4: (x1, top, x2, bottom),
        5: (y1, x1, y2, x2),
        6: (top, x1, bottom, x2),
        7: (top, left, bottom, right),
        8: (y1, left, y2, right),
    }[shape.orientation]
