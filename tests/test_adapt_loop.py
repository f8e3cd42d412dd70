"""The workflow of docs/adapt.md in headless Chromium: scan, review with boxes, adapt, scan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.annotate_page import expect, window
from helpers.commands import Imltool
from helpers.page_server import Reviewing
from helpers.pictures import forged, photo, write_rgb

from imltool.data.box_formats import read_boxes
from imltool.scan.results import read_results

pytest.importorskip("playwright.sync_api")

WIDE, TALL, PICTURES = 192, 128, 6


def place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Window coordinates of a picture position when the whole picture fits the stage."""
    box = page.locator("#pane-a").bounding_box()
    scale = min(box["width"] / WIDE, box["height"] / TALL) * 0.97
    left, top = (box["width"] - WIDE * scale) / 2, (box["height"] - TALL * scale) / 2
    return box["x"] + left + x * scale, box["y"] + top + y * scale


def draw(page: Any, name: str, corners: tuple[float, float, float, float]) -> None:
    """Open a picture and draw a box in it."""
    page.evaluate("(name) => { location.hash = encodeURIComponent(name); }", name)
    expect(page).to_have_title(f"{name} – imltool review")
    expect(page.locator("#stage")).to_have_attribute("data-ready", str(Path(name).stem))  # its number in the list
    if page.locator("#no-boxes").is_hidden():
        page.keyboard.press("b")
    page.mouse.move(*place(page, *corners[:2]))
    page.mouse.down()
    page.mouse.move(*place(page, (corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2))
    page.mouse.move(*place(page, *corners[2:]))
    page.mouse.up()
    expect(page.locator("#saved")).to_have_text("saved")


@pytest.mark.slow
def test_boxes_drawn_in_review_adapt_the_student_for_the_next_scan(
    browser: Any, tiny_weights: Path, tmp_path: Path, imltool: Imltool
) -> None:
    photos, clean, before, run, after = (tmp_path / name for name in ("new", "clean", "before", "run", "after"))
    drawn = {}
    for seed in range(PICTURES):
        rgb, mask = forged(seed, WIDE, TALL)
        write_rgb(photos / f"{seed}.png", rgb)
        rows, columns = np.nonzero(mask)
        drawn[f"{seed}.png"] = float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)
    for seed in range(20):
        write_rgb(clean / f"{seed}.jpg", photo(300 + seed, 160, 120))
    scan = ("scan", photos, "--device", "cpu", "--weights")
    code, _, error = imltool(*scan, tiny_weights, "--out", before)
    assert code in (0, 3), error

    reviewing = Reviewing(before, "--examiner", "A. Meier")
    try:
        with window(browser, viewport={"width": 1280, "height": 800}) as context:
            page = context.new_page()
            page.goto(reviewing.address)
            for name, corners in drawn.items():
                draw(page, name, corners)
    finally:
        reviewing.end()
    boxes = {item.name: item.boxes for item in read_boxes(before / "boxes.json").images}
    assert boxes.keys() == drawn.keys()
    for name, corners in drawn.items():
        (box,) = boxes[name]
        assert box == pytest.approx(corners, abs=2)

    settings = ("steps=3", "batch_size=2", "teacher=box", "check_count=6", "workers=0", "variants=1", "ema=0")
    given = [word for one in settings for word in ("--set", one)]
    words = ("adapt", photos, "--boxes", before / "boxes.json", "--authentic", clean, "--from", tiny_weights)
    code, stdout, error = imltool(*words, "--out", run, "--device", "cpu", "--json", *given)
    assert code == 0, error
    assert json.loads(stdout)["boxes"] == PICTURES

    code, _, error = imltool(*scan, run, "--out", after)
    assert code in (0, 3), error
    first, second = ({row.path: row.score for row in read_results(out)} for out in (before, after))
    assert first.keys() == second.keys() == drawn.keys()
    assert any(first[name] != second[name] for name in first), "the scores are those of another student"
