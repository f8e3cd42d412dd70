"""`imltool annotate` operated by mouse, keyboard and touch in headless Chromium, with the real teacher."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.annotate_page import (
    PATIENCE,
    STAGE_CONTENT,
    TALL,
    WIDE,
    at,
    boxes,
    drag,
    drawn,
    expect,
    go,
    make,
    opened,
    place,
    saved,
    until,
    window,
)
from helpers.commands import Imltool
from helpers.outputs import pseudo_rows
from helpers.page_server import Annotating
from helpers.pictures import make_set, photo, write_rgb
from PIL import Image

from imltool.data.box_formats import read_boxes
from imltool.data.splits import read_list


def test_drawn_box_is_shown_accepted_reloaded_and_undone(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    at(page, "0.png")
    drag(page, (0.2, 0.2), (0.8, 0.8))
    expect(boxes(page, "proposed")).to_have_count(1)
    masked = drawn(page)
    page.keyboard.press("h")
    assert drawn(page) != masked, "the mask is not visible"
    page.keyboard.press("h")
    assert drawn(page) == masked
    page.keyboard.press("m")
    expect(boxes(page, "mask")).to_have_count(1)
    saved(page)
    page.reload()
    at(page, "1.png")  # the first that is not judged
    page.keyboard.press("ArrowLeft")
    at(page, "0.png")
    expect(boxes(page, "mask")).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(boxes(page, "proposed")).to_have_count(1)
    page.locator("#undo").click()
    expect(boxes(page)).to_have_count(0)
    expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("y")
    expect(boxes(page, "mask")).to_have_count(1)
    assert len(shared.ask("api/pictures/0")[1]["boxes"][0]["shown"]["runs"]) > 2


@pytest.mark.slow
def test_box_is_moved_resized_clicked_kept_and_deleted(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    go(page, 1)
    drag(page, (0.3, 0.3), (0.6, 0.6))
    drag(page, (0.45, 0.45), (0.55, 0.55))  # inside the chosen box: it moves
    drag(page, (0.7, 0.7), (0.9, 0.9))  # its corner
    saved(page)
    (box,) = shared.ask("api/pictures/1")[1]["boxes"]
    assert box["box"] == pytest.approx([0.4 * WIDE, 0.4 * TALL, 0.9 * WIDE, 0.9 * TALL], abs=1)
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("p")
    page.mouse.click(*place(page, 0.5, 0.5))
    page.mouse.click(*place(page, 0.85, 0.85), button="right")
    expect(boxes(page, "proposed")).to_have_count(1)
    saved(page)
    (moved,) = shared.ask("api/pictures/1")[1]["boxes"]
    assert moved["box"][0] < box["box"][0] and moved["box"][3] < box["box"][3]
    assert [click["inside"] for click in moved["clicks"]] == [True, False]
    page.keyboard.press("k")
    expect(boxes(page, "box")).to_have_count(1)
    page.keyboard.press("v")
    drag(page, (0.05, 0.05), (0.2, 0.2))
    expect(boxes(page)).to_have_count(2)
    page.mouse.click(*place(page, 0.6, 0.6))  # chooses the first again
    page.keyboard.press("Delete")
    expect(boxes(page)).to_have_count(1)
    saved(page)
    assert shared.ask("api/pictures/1")[1]["boxes"][0]["accepted"] is None


def test_zoom_and_pan_keep_the_box_position(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    go(page, 2)
    page.mouse.move(*place(page, 0.5, 0.5))
    for _ in range(4):
        before = drawn(page)
        page.mouse.wheel(0, -200)  # returns before the page has handled it
        page.wait_for_function(f"before => {STAGE_CONTENT} !== before", arg=before, timeout=PATIENCE)
    page.keyboard.press("Control+ArrowRight")
    x, y = place(page, 0.5, 0.5)
    page.mouse.move(x - 200, y - 150)
    page.mouse.down()
    page.mouse.move(x, y)
    page.mouse.move(x + 200, y + 150)
    page.mouse.up()
    saved(page)
    (box,) = shared.ask("api/pictures/2")[1]["boxes"]
    x1, y1, x2, y2 = box["box"]
    assert 0 < x2 - x1 < 0.25 * WIDE and 0 < y2 - y1 < 0.25 * TALL  # five times enlarged: a small part of the picture
    page.keyboard.press("0")
    page.keyboard.press("n")
    expect(boxes(page)).to_have_count(2)
    page.keyboard.press("[")
    expect(page.locator("#opacity")).to_have_value("35")


def test_layout_does_not_move_the_picture_and_brightness_changes_it(shared: Annotating, browser: Any) -> None:
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        page = opened(context.new_page(), shared.address)
        go(page, 5)
        stage = page.locator("#stage")
        before = stage.bounding_box()
        drag(page, (0.3, 0.3), (0.6, 0.6))
        saved(page)
        assert stage.bounding_box() == before
        expect(boxes(page, "proposed")).to_have_count(1)
        assert stage.bounding_box() == before
        plain = drawn(page)
        page.keyboard.press("c")
        page.locator("#brightness").fill("200")
        until(page, lambda: drawn(page) != plain)
        page.locator("#plain-light").click()
        until(page, lambda: drawn(page) == plain)


@pytest.mark.slow
def test_box_stores_kind_and_comment_and_skipped_picture_is_shown_again(tmp_path: Path, pages: Any) -> None:
    root = make(tmp_path / "set", 2)
    running = Annotating(root, "--out", tmp_path / "boxes.json", "--annotator", "anna")
    page = pages(running.address)
    at(page, "0.png")
    page.keyboard.press("s")
    at(page, "1.png")
    expect(page.locator("#progress")).to_have_text("0 of 2")
    drag(page, (0.2, 0.2), (0.8, 0.8))
    page.locator("#kind").select_option("removed")
    page.locator("#comment").fill("a sign was here")
    page.locator("#comment").press("Enter")
    saved(page)
    box = running.ask("api/pictures/1")[1]["boxes"][0]
    assert (box["kind"], box["comment"]) == ("removed", "a sign was here")
    page.locator("#comment").press("End")
    page.locator("#comment").press_sequentially(", red")
    page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")  # the tab is closed while writing
    until(page, lambda: running.ask("api/pictures/1")[1]["boxes"][0]["comment"] == "a sign was here, red")
    saved(page)
    page.locator("#comment").press("Enter")
    page.keyboard.press("Enter")
    at(page, "0.png")  # skipped before, and the only one left to judge
    page.keyboard.press("l")
    page.wait_for_function("() => [...document.querySelectorAll('#pictures img')].every((one) => one.naturalWidth > 0)")
    running.end()


def test_touch_draws_boxes_and_pinches(shared: Annotating, browser: Any) -> None:
    with window(browser, viewport={"width": 420, "height": 800}, has_touch=True, is_mobile=True) as context:
        _fingers(shared, opened(context.new_page(), shared.address))


def _fingers(shared: Annotating, page: Any) -> None:
    page.locator("#open-list").tap()
    page.locator("#pictures button").nth(4).tap()
    at(page, "4.png")
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    send("touchStart", place(page, 0.2, 0.2))
    send("touchMove", place(page, 0.5, 0.5))
    send("touchMove", place(page, 0.8, 0.8))
    send("touchEnd")
    expect(boxes(page)).to_have_count(1)
    saved(page)
    (drawn,) = shared.ask("api/pictures/4")[1]["boxes"]
    assert drawn["box"] == pytest.approx([0.2 * WIDE, 0.2 * TALL, 0.8 * WIDE, 0.8 * TALL], abs=2)
    send("touchStart", place(page, 0.45, 0.5), place(page, 0.55, 0.5))
    send("touchMove", place(page, 0.3, 0.5), place(page, 0.7, 0.5))
    send("touchEnd")
    saved(page)
    (same,) = shared.ask("api/pictures/4")[1]["boxes"]
    assert same["box"] == drawn["box"], "a pinch has changed the box"
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_many_damaged_huge_and_rotated_pictures(tmp_path: Path, pages: Any) -> None:
    root = tmp_path / "set"
    write_rgb(root / "000.png", photo(0))
    data = (root / "000.png").read_bytes()
    for index in range(4, 500):  # no two are identical: cached data of one must not be used for another
        write_rgb(root / f"{index:03}.png", np.full((16, 24, 3), (index % 256, index // 256, 90), np.uint8))
    (root / "001.png").write_bytes(data[:500])
    tag = Image.Exif()
    tag[274] = 8
    Image.fromarray(photo(2, 120, 60)).save(root / "002.jpg", exif=tag)
    Image.fromarray(photo(3, 900, 600)).resize((9000, 6000)).save(root / "003.jpg")
    running = Annotating(root, "--out", tmp_path / "boxes.json")
    page = pages(running.address)
    expect(page.locator("#progress")).to_have_text("0 of 500")
    page.keyboard.press("l")
    expect(page.locator("#pictures button")).to_have_count(500)
    page.fill("#filter", "001")
    page.locator("#pictures button").click()
    at(page, "001.png")
    expect(page.locator("#hint")).to_contain_text("damaged")
    page.keyboard.press("ArrowRight")
    at(page, "002.jpg")
    expect(page.locator("#facts")).to_contain_text("60×120")
    drag(page, (0.1, 0.5), (0.9, 0.9))
    saved(page)
    page.keyboard.press("ArrowRight")
    at(page, "003.jpg")
    expect(page.locator("#facts")).to_contain_text("9000×6000")
    drag(page, (0.25, 0.25), (0.75, 0.75))
    expect(boxes(page, "proposed")).to_have_count(1)
    saved(page)
    page.keyboard.press("a")
    expect(page.locator("#progress")).to_have_text("2 of 500")
    page.keyboard.press("ArrowLeft")
    running.end()
    found = {item.name: item for item in read_boxes(tmp_path / "boxes.json").images}
    assert found["002.jpg"].size == (60, 120)
    assert found["002.jpg"].boxes[0] == pytest.approx((6, 60, 54, 108), abs=1)
    assert found["003.jpg"].boxes == ()
    assert read_list(tmp_path / "boxes.authentic.txt") == ["set/003.jpg"]


@pytest.mark.slow
def test_suggestions_are_opt_in_and_recorded_when_shown(tmp_path: Path, pages: Any) -> None:
    root = tmp_path / "set"
    source = Path(__file__).parents[1] / "sample_images/copymoves/tampered"
    shutil.copytree(source, root)
    running = Annotating(root, "--out", tmp_path / "boxes.json", "--suggest", "--annotator", "anna")
    page = pages(running.address)
    for _ in range(len(list(root.iterdir()))):
        expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")  # suggestions come with the embedding
        if "dashed" in page.locator("#hint").inner_text():
            break
        page.keyboard.press("ArrowRight")
        expect(page.locator("#hint")).not_to_contain_text("opening")
    expect(page.locator("#hint")).to_contain_text("dashed")
    page.keyboard.press("g")
    expect(boxes(page)).to_have_count(1)
    saved(page)
    running.end()
    document = json.loads((tmp_path / "boxes.json").read_text())
    assert document["annotations"][0]["imltool"]["origin"] == "suggested"
    assert document["images"][0]["imltool"]["suggestions_shown"] is True


@pytest.mark.slow
def test_annotations_from_the_page_train_a_student(tmp_path: Path, pages: Any, imltool: Imltool) -> None:
    root = make(tmp_path / "data/set", 3)
    write_rgb(root / "3.png", photo(7, 192, 128))
    out = tmp_path / "data/boxes.json"
    running = Annotating(root, "--out", out, "--annotator", "anna")
    page = pages(running.address)
    for index, key in enumerate(("Enter", "k", "Enter")):
        at(page, f"{index}.png")
        drag(page, (0.2, 0.2), (0.8, 0.8))
        expect(boxes(page, "proposed")).to_have_count(1)
        page.keyboard.press(key)
        if key == "k":
            page.keyboard.press("Enter")
    at(page, "3.png")
    page.keyboard.press("a")
    expect(page.locator("#progress")).to_have_text("4 of 4")
    expect(page.locator("#median")).not_to_have_text("–")
    running.end()
    pseudo = tmp_path / "data/pseudo"
    assert imltool("pseudo", root, "--boxes", out, "--out", pseudo, "--teacher", "box")[0] == 0
    rows = [row for row in pseudo_rows(pseudo) if row["status"] == "ok"]
    assert [row["boxes"][0]["used"] for row in rows] == ["annotator"] * 3
    assert [item.accepted[0].mask is None for item in read_boxes(out).images[:3]] == [False, True, False]
    make_set(tmp_path / "data/held", seed=50)
    config = tmp_path / "train.yaml"
    config.write_text(
        f"""
init: random
workers: 0
student: {{backbone: nano, input_size: 64}}
data:
  root: {tmp_path / "data"}
  lists: {tmp_path / "data"}
  train:
    - {{name: set, kind: pseudo, images: set, pseudo: pseudo}}
    - {{name: set, kind: authentic, images: set, list: boxes.authentic.txt}}
  validation:
    - {{name: held, kind: masks, images: held/tampered, masks: held/masks}}
    - {{name: held, kind: authentic, images: held/authentic}}
optim: {{steps: 2, batch_size: 2, precision: fp32}}
validate_every: 2
"""
    )
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "run", "--device", "cpu")
    assert code == 0, stderr
    assert "judged authentic, no box 1" in stderr, "this is no fault and needs no --max-left-out"
    assert (tmp_path / "run/best.safetensors").is_file()
    code, stdout, _ = imltool("annotate", "stats", out, "--json")
    (row,) = json.loads(stdout)["annotators"]
    assert (row["judged"], row["tampered"], row["authentic"]) == (4, 3, 1) and row["seconds_median"] > 0
