"""`imltool annotate` as a person uses it: mouse, keys and fingers in headless Chromium, with the real teacher."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotate_run import Annotating
from conftest import forged, make_set, photo, write_rgb
from PIL import Image

from imltool.data.boxes import read_boxes
from imltool.data.splits import read_list

playwright = pytest.importorskip("playwright.sync_api")

PATIENCE = 240_000
"""Milliseconds an expectation may take: an embedding is a second on a free machine and many on a busy one."""


@pytest.fixture
def pages(browser: Any) -> Iterator[Any]:
    """Opens pages in one window; at the end none may have raised or asked anything but the server."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    faults: list[str] = []
    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.on("request", lambda request: None if local(request.url) else faults.append(request.url))
    yield lambda address: opened(context.new_page(), address)
    context.close()
    assert not faults


def local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:"))


def expect(locator: Any) -> Any:
    playwright.expect.set_options(timeout=PATIENCE)
    return playwright.expect(locator)


def opened(page: Any, address: str) -> Any:
    page.goto(address)
    expect(page.locator("#hint")).not_to_contain_text("opening")
    return page


def at(page: Any, name: str) -> None:
    expect(page.locator("#name")).to_have_text(name)
    expect(page.locator("#hint")).not_to_contain_text("opening")


def place(page: Any, across: float, down: float) -> tuple[float, float]:
    """Screen position of a share of the picture, which fills 97 % of the stage on its tighter side."""
    wide, tall = map(int, re.search(r"(\d+)×(\d+)", page.locator("#facts").inner_text()).groups())
    stage = page.locator("#canvas").bounding_box()
    scale = min(stage["width"] / wide, stage["height"] / tall) * 0.97
    x = stage["x"] + stage["width"] / 2 + (across - 0.5) * wide * scale
    return x, stage["y"] + stage["height"] / 2 + (down - 0.5) * tall * scale


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*place(page, *start))
    page.mouse.down()
    page.mouse.move(*place(page, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
    page.mouse.move(*place(page, *end))
    page.mouse.up()


def boxes(page: Any, state: str | None = None) -> Any:
    return page.locator("#boxes button" if state is None else f"#boxes button[data-state={state}]")


def saved(page: Any) -> None:
    expect(page.locator("#status")).to_have_text("saved")


def make(root: Path, count: int = 3) -> Path:
    for index in range(count):
        write_rgb(root / f"{index}.png", forged(index, 192, 128)[0])
    return root


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Annotating]:
    """One server for the tests that need a folder of their own state only: each works on its own picture."""
    root = make(tmp_path_factory.mktemp("shared") / "set", 6)
    running = Annotating(root, "--out", root.parent / "boxes.json", "--annotator", "anna")
    yield running
    running.end()


def go(page: Any, index: int) -> None:
    page.keyboard.press("l")
    page.locator("#pictures button").nth(index).click()
    at(page, f"{index}.png")


def test_draw_see_accept_reload_undo(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    at(page, "0.png")
    drag(page, (0.2, 0.2), (0.8, 0.8))
    expect(boxes(page, "proposed")).to_have_count(1)
    blank = page.locator("#canvas").screenshot()
    page.keyboard.press("h")
    page.wait_for_timeout(100)
    assert page.locator("#canvas").screenshot() != blank, "the mask is not seen"
    page.keyboard.press("h")
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


def test_move_resize_click_keep_delete(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    go(page, 1)
    drag(page, (0.3, 0.3), (0.6, 0.6))
    drag(page, (0.45, 0.45), (0.55, 0.55))  # inside the chosen box: it moves
    drag(page, (0.7, 0.7), (0.9, 0.9))  # its corner
    saved(page)
    (box,) = shared.ask("api/pictures/1")[1]["boxes"]
    assert box["box"] == pytest.approx([0.4 * 192, 0.4 * 128, 0.9 * 192, 0.9 * 128], abs=1)
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


def test_zoom_and_pan_keep_the_box_where_it_is(shared: Annotating, pages: Any) -> None:
    page = pages(shared.address)
    go(page, 2)
    page.mouse.move(*place(page, 0.5, 0.5))
    for _ in range(4):
        page.mouse.wheel(0, -200)
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
    assert 0 < x2 - x1 < 0.25 * 192 and 0 < y2 - y1 < 0.25 * 128  # five times enlarged: a small part of the picture
    page.keyboard.press("0")
    page.keyboard.press("n")
    expect(boxes(page)).to_have_count(2)
    page.keyboard.press("[")
    expect(page.locator("#opacity")).to_have_value("35")


def test_two_tabs_do_not_overwrite_each_other(shared: Annotating, pages: Any) -> None:
    first, second = pages(shared.address), pages(shared.address)
    go(first, 3)
    go(second, 3)
    drag(first, (0.2, 0.2), (0.5, 0.5))
    saved(first)
    drag(second, (0.6, 0.6), (0.9, 0.9))
    expect(second.locator("#message")).to_contain_text("changed in another tab")
    expect(boxes(second)).to_have_count(1)
    (box,) = shared.ask("api/pictures/3")[1]["boxes"]
    assert box["box"][0] < 0.3 * 192, "the second tab has overwritten the first"
    second.locator("#message button").click()
    saved(second)
    assert shared.ask("api/pictures/3")[1]["boxes"][0]["box"][0] > 0.5 * 192
    second.keyboard.press("z")
    expect(boxes(second)).to_have_count(1)
    saved(second)
    assert shared.ask("api/pictures/3")[1]["boxes"][0]["box"] == box["box"], "nothing is lost"


def test_an_undo_on_its_way_is_not_saved_and_stays_with_its_picture(tmp_path: Path, pages: Any) -> None:
    root = make(tmp_path / "set", 2)
    running = Annotating(root, "--out", tmp_path / "boxes.json")
    page = pages(running.address)
    drag(page, (0.2, 0.2), (0.5, 0.5))
    saved(page)
    drag(page, (0.6, 0.6), (0.9, 0.9))
    saved(page)
    held: list[Any] = []
    page.route("**/step", lambda route: held.append(route))
    page.keyboard.press("z")
    expect(page.locator("#status")).to_contain_text("saving")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    at(page, "0.png")  # waits for the answer
    held.pop().continue_()
    at(page, "1.png")
    saved(page)
    expect(boxes(page)).to_have_count(0)
    page.keyboard.press("ArrowLeft")
    at(page, "0.png")
    expect(boxes(page)).to_have_count(1)
    running.end()


def test_fingers_draw_and_pinch(shared: Annotating, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 420, "height": 800}, has_touch=True, is_mobile=True)
    page = opened(context.new_page(), shared.address)
    page.locator("#open-list").tap()
    page.locator("#pictures button").nth(4).tap()
    at(page, "4.png")
    touch = context.new_cdp_session(page)

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
    assert drawn["box"] == pytest.approx([0.2 * 192, 0.2 * 128, 0.8 * 192, 0.8 * 128], abs=2)
    send("touchStart", place(page, 0.45, 0.5), place(page, 0.55, 0.5))
    send("touchMove", place(page, 0.3, 0.5), place(page, 0.7, 0.5))
    send("touchEnd")
    saved(page)
    (same,) = shared.ask("api/pictures/4")[1]["boxes"]
    assert same["box"] == drawn["box"], "a pinch has changed the box"
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_killed_between_clicks_nothing_is_lost(tmp_path: Path, pages: Any) -> None:
    root = make(tmp_path / "set", 2)
    command = (root, "--out", tmp_path / "boxes.json", "--annotator", "anna")
    first = Annotating(*command)
    page = pages(first.address)
    drag(page, (0.2, 0.2), (0.5, 0.5))
    saved(page)
    drag(page, (0.6, 0.6), (0.9, 0.9))
    saved(page)
    first.kill()
    drag(page, (0.1, 0.6), (0.3, 0.9))
    expect(page.locator("#status")).to_contain_text("not saved: the server does not answer")
    again = Annotating(*command)
    assert again.address != first.address
    other = pages(again.address)
    go(other, 0)
    expect(boxes(other)).to_have_count(2)
    other.keyboard.press("z")
    expect(boxes(other)).to_have_count(1)
    saved(other)
    again.kill()
    assert [len(state["boxes"]) for state in contents(tmp_path)] == [1, 2, 1]
    last = Annotating(*command)
    last.end()
    assert len(json.loads((tmp_path / "boxes.json").read_text())["annotations"]) == 1
    page.close(run_before_unload=False)


def contents(folder: Path) -> list[dict[str, Any]]:
    """What the journals say, change by change."""
    lines = [line for path in sorted((folder / "boxes.journal").iterdir()) for line in path.read_text().splitlines()]
    return [row["content"] for row in map(json.loads, lines) if row["event"] == "state"]


def test_many_torn_huge_and_turned_pictures(tmp_path: Path, pages: Any) -> None:
    root = tmp_path / "set"
    write_rgb(root / "000.png", photo(0))
    data = (root / "000.png").read_bytes()
    for index in range(4, 500):
        (root / f"{index:03}.png").write_bytes(data)
    (root / "001.png").write_bytes(data[:500])
    tag = Image.Exif()
    tag[274] = 8
    Image.fromarray(photo(2, 120, 60)).save(root / "002.jpg", exif=tag)
    write_rgb(root / "003.jpg", photo(3, 9000, 6000))
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
    found = {item.name: item for item in read_boxes(tmp_path / "boxes.json")}
    assert found["002.jpg"].size == (60, 120)
    assert found["002.jpg"].boxes[0] == pytest.approx((6, 60, 54, 108), abs=1)
    assert found["003.jpg"].boxes == ()
    assert read_list(tmp_path / "boxes.authentic.txt") == ["set/003.jpg"]


def test_suggestions_are_off_unless_asked_for_and_recorded_when_shown(tmp_path: Path, pages: Any) -> None:
    root = tmp_path / "set"
    source = Path(__file__).parents[1] / "sample_images/copymoves/tampered"
    shutil.copytree(source, root)
    running = Annotating(root, "--out", tmp_path / "boxes.json", "--suggest", "--annotator", "anna")
    page = pages(running.address)
    for _ in range(len(list(root.iterdir()))):
        expect(page.locator("#hint")).to_have_text(re.compile("dashed|drag a box"))
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


def test_from_the_page_to_a_student(tmp_path: Path, pages: Any, imltool) -> None:
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
    rows = [json.loads(line) for line in (pseudo / "pseudo.jsonl").read_text().splitlines()]
    assert [row["boxes"][0]["used"] for row in rows] == ["annotator"] * 3
    assert [item.accepted[0].mask is None for item in read_boxes(out)[:3]] == [False, True, False]
    make_set(tmp_path / "data/held", seed=50)
    config = tmp_path / "train.yaml"
    config.write_text(
        f"""
init: random
workers: 0
student: {{input_size: 64}}
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
    code, _, stderr = imltool("train", "--config", config, "--out", tmp_path / "run", "--device", "cpu", "-q")
    assert code == 0, stderr
    assert (tmp_path / "run/best.safetensors").is_file()
    code, stdout, _ = imltool("annotate", "stats", out, "--json")
    (row,) = json.loads(stdout)["annotators"]
    assert (row["judged"], row["tampered"], row["authentic"]) == (4, 3, 1) and row["seconds_median"] > 0
