"""Sizes of a case's pictures on paper: they fill the sheet and leave room for the text (our choice)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

WIDTH, HEIGHT = 184.0, 266.0
"""Area inside the margins of an A4 sheet, as print.css sets them, millimetres."""
LINE, SMALL_LINE, TABLE_LINE = 4.3, 3.5, 5.3
"""Heights of a line of text, of a hash or path, and of a table, millimetres."""
CAPTION, GAP = 6.5, 2.2
COMPANIONS_HEIGHT = 62.0
"""Height of two companion maps side by side with their explanation, as print.css sets them, millimetres."""
TALL = 1.25
"""Pictures with a smaller ratio of width to height have the other pictures beside them, not below."""
LEAST, LARGEST_PIXEL = 50.0, 0.8
"""Least height of the overlay, and largest size of a pixel, millimetres."""


@dataclass(frozen=True)
class PictureSizes:
    """Heights of the pictures of a case on paper.

    Attributes:
        main: of the overlay, millimetres.
        other: of the picture and the map, millimetres.
        beside: whether these two are beside the overlay, one above the other; else they are below it.
    """

    main: float
    other: float
    beside: bool


def words_height(
    name: str,
    sentences: Iterable[str],
    paths: Sequence[str],
    facts: Sequence[tuple[str, str]],
    remarks: Sequence[str],
    table_lines: int,
    decision: str | None,
) -> float:
    """Estimated height of a case's text on its sheet, in millimetres, from its length.

    Args:
        paths: texts set as code in the left column.
        table_lines: lines of the tables in the right column, their heads included.
        decision: the examiner's text; None when nothing was decided.
    """
    height = 22 + LINE * (len(name) // 75)
    height += LINE * _lines([" ".join(sentences)], 125) + 3
    if decision is not None:
        height += 16 + LINE * (2 + _lines(decision.splitlines(), 115))
    height += max(LINE + SMALL_LINE * _lines(paths, 48), TABLE_LINE * table_lines) + 5
    height += 12 + LINE * max(_lines([value for _, value in facts], 40), _lines(remarks, 50))
    return height


def _lines(texts: Iterable[str], room: int) -> int:
    return sum(max(1, ceil(len(text) / room)) for text in texts)


def picture_sizes(width: int, height: int, words: float) -> PictureSizes:
    """Sizes of the pictures of a case.

    Args:
        width, height: of the picture, pixels.
        words: height of the text, millimetres; the pictures get the rest.
    """
    shape = width / height
    if shape < TALL:
        column = (WIDTH - GAP) / 3
        main = min(2 * column / shape, HEIGHT - words - 2 * CAPTION, LARGEST_PIXEL * height)
        main = max(main, min(LEAST, 2 * column / shape))
        return PictureSizes(main, min(column / shape, (main - CAPTION - GAP) / 2), beside=True)
    room = HEIGHT - words - 2 * CAPTION - GAP
    main = min(WIDTH / shape, room / 1.6, LARGEST_PIXEL * height)
    main = max(main, min(LEAST, WIDTH / shape))
    half = (WIDTH - GAP) / 2 / shape
    return PictureSizes(main, min(half, max(room - main, LEAST / 2), main), beside=False)
