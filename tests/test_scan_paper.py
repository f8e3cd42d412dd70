"""Printed cases: pictures fill the sheet for any aspect ratio and amount of text."""

from __future__ import annotations

import pytest

from imltool.scan.paper import CAPTION, GAP, HEIGHT, WIDTH, picture_sizes, words_height

FACTS = (
    ("Format", "JPEG, RGB"),
    ("JPEG coding", "quality 82 (the IJG library's tables), 4:2:0, tables SHA-256 9cda65…"),
)


def words(regions: int, decision: str | None) -> float:
    paths = ["/evidence/disk 3/DCIM/IMG_0001.jpg", 64 * "0", "maps/IMG_0001.jpg.png", "masks/IMG_0001.jpg.png"]
    sentences = ["0 of the 19 authentic calibration pictures of the set processed scored higher: about 5 %."] * 3
    return words_height("disk 3/IMG_0001.jpg", sentences, paths, FACTS, ["no camera named"], 1 + regions, decision)


@pytest.mark.parametrize("decision", [None, "The noise of the sky differs.\nSee 4:1."])
@pytest.mark.parametrize("regions", [0, 1, 12])
@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (3000, 2000), (3000, 4000), (2000, 2000), (6000, 1500)])
def test_pictures_and_text_fill_a_sheet(width: int, height: int, regions: int, decision: str | None) -> None:
    room = words(regions, decision)
    sizes = picture_sizes(width, height, room)
    wide = width / height
    taken = sizes.main + CAPTION if sizes.beside else sizes.main + sizes.other + 2 * CAPTION + GAP
    across = (sizes.main + sizes.other) * wide + GAP if sizes.beside else max(sizes.main, 2 * sizes.other) * wide
    assert taken + room <= HEIGHT and across <= WIDTH + 0.01
    assert taken + room > 0.9 * HEIGHT or across > 0.95 * WIDTH, "the sheet is filled in at least one direction"
    assert sizes.other < sizes.main


def test_pictures_keep_a_minimum_size_and_small_ones_are_not_enlarged() -> None:
    assert picture_sizes(3000, 2000, 400).main == pytest.approx(50)
    assert picture_sizes(120, 90, words(1, None)).main == pytest.approx(72)
