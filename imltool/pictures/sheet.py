"""Contact sheets: small captioned pictures on one PNG, to look at many results at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imltool.files import atomic
from imltool.pictures.images import RGB, Mask

TILE = 240
CAPTION = 34
GAP = 8
INK, PAPER = (32, 32, 32), (250, 250, 250)

PREDICTED = (230, 97, 1)
TRUTH = (26, 133, 255)
"""Orange and blue are distinguishable with every common kind of colour blindness."""


def draw_contours(rgb: RGB, mask: Mask, colour: tuple[int, int, int], width: int = 2) -> RGB:
    """A copy of a uint8 RGB picture with the outline of a bool mask drawn on it; `width` in pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    drawn: RGB = rgb.copy()
    cv2.drawContours(drawn, contours, -1, colour, width)
    return drawn


def draw_boxes(rgb: RGB, boxes: Sequence[Sequence[float]], colour: tuple[int, int, int], width: int = 2) -> RGB:
    """A copy of a uint8 RGB picture with XYXY boxes drawn on it."""
    drawn: RGB = rgb.copy()
    for x1, y1, x2, y2 in boxes:
        cv2.rectangle(drawn, (round(x1), round(y1)), (round(x2), round(y2)), colour, width)
    return drawn


def contact_sheet(path: Path, tiles: Sequence[tuple[RGB, str]], columns: int = 6, title: str = "") -> None:
    """Write a PNG of `tiles` (uint8 RGB picture, caption of one or two lines), row by row.

    Each picture is scaled to fit 240×240 pixels. Raises `OutputError` when the file cannot be written.
    """
    columns = max(1, min(columns, len(tiles)))
    rows = -(-len(tiles) // columns) if tiles else 0
    head = 34 if title else 0
    size = (columns * (TILE + GAP) + GAP, head + rows * (TILE + CAPTION + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    font, heading = ImageFont.load_default(11), ImageFont.load_default(16)
    if title:
        pen.text((GAP, 8), title, fill=INK, font=heading)
    for index, (rgb, caption) in enumerate(tiles):
        left = GAP + (index % columns) * (TILE + GAP)
        top = head + GAP + (index // columns) * (TILE + CAPTION + GAP)
        picture = Image.fromarray(rgb)
        picture.thumbnail((TILE, TILE))
        sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        pen.multiline_text((left, top + TILE + 3), caption, fill=INK, font=font, spacing=2)
    with atomic(path) as temporary:
        sheet.save(temporary, "PNG")
