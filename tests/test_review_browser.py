"""`imltool review` in headless Chromium: display, keyboard, touch, printing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.annotate_page import expect, until, window
from helpers.page_server import Reviewing
from helpers.review_scan import TALL, WIDE, large, made_of, many

from imltool.data.box_formats import read_boxes
from imltool.pictures.images import read_rgb
from imltool.scan.decisions import read_decisions

playwright = pytest.importorskip("playwright.sync_api")

CALIBRATION = {
    "authentic_scores": {"phones": [0.02 * n for n in range(40)]},
    "reliability": [
        {"low": 0.0, "high": 0.5, "pictures": 20, "tampered": 2},
        {"low": 0.5, "high": 1.0, "pictures": 20, "tampered": 17},
    ],
}
PIXEL = """([x, y]) => { const pane = document.getElementById("pane-a"); return [...pane.getContext("2d")
.getImageData(Math.round(x), Math.round(y), 1, 1).data]; }"""


EVERY_EIGHTH = """() => { const pane = document.getElementById("pane-a");
const { data, width, height } = pane.getContext("2d").getImageData(0, 0, pane.width, pane.height);
const found = [];
for (let y = 4; y < height; y += 8) for (let x = 4; x < width; x += 8) {
  const at = 4 * (y * width + x);
  found.push((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
}
return found; }"""
BOTH = """() => ["pane-a", "pane-b"].map((id) => { const pane = document.getElementById(id);
const { data } = pane.getContext("2d").getImageData(0, 0, pane.width, pane.height);
let sum = 0;
for (let at = 0; at < data.length; at += 28) sum = (sum * 31 + data[at]) % 1000003;
return sum; })"""
"""A checksum of the content of each pane."""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Wait until all pending changes are drawn."""


@pytest.fixture(scope="module")
def out(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scan folder shared by the tests of this module, which add decisions to it."""
    return Path(shutil.copytree(scanned, tmp_path_factory.mktemp("shared") / "out"))


@pytest.fixture(scope="module")
def server(out: Path) -> Iterator[Reviewing]:
    running = Reviewing(out, "--examiner", "A. Meier")
    yield running
    running.end()


@pytest.fixture
def serve() -> Iterator[Callable[..., Reviewing]]:
    """Start servers; those still running at the end are killed."""
    started: list[Reviewing] = []

    def start(*arguments: object) -> Reviewing:
        started.append(Reviewing(*arguments))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.kill()


@pytest.fixture
def page(browser: Any, server: Reviewing) -> Iterator[Any]:
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        made = context.new_page()
        made.goto(server.address)
        ready(made)
        yield made


def ready(page: Any, index: int | None = None) -> None:
    """Wait until the open picture is completely drawn."""
    stage = page.locator("#stage")
    if index is None:
        expect(stage).not_to_have_attribute("data-ready", "")
    else:
        expect(stage).to_have_attribute("data-ready", str(index))


def show(page: Any, name: str) -> None:
    page.evaluate("(name) => { location.hash = encodeURIComponent(name); }", name)
    expect(page).to_have_title(f"{name} – imltool review")
    ready(page)


def colour_at(page: Any, x: float, y: float) -> list[int]:
    """The colour of the first pane at a picture position when the whole picture fits the stage."""
    page.evaluate(DRAWN)
    return page.evaluate(PIXEL, at(page, x, y))  # type: ignore[no-any-return]


def drawn(page: Any) -> list[int]:
    """A checksum of the current content of each pane."""
    page.evaluate(DRAWN)
    return page.evaluate(BOTH)  # type: ignore[no-any-return]


def at(page: Any, x: float, y: float) -> list[float]:
    """Position on the first pane of a picture position when the whole picture fits the stage."""
    box = page.locator("#pane-a").bounding_box()
    scale = min(box["width"] / WIDE, box["height"] / TALL) * 0.97
    return [(box["width"] - WIDE * scale) / 2 + x * scale, (box["height"] - TALL * scale) / 2 + y * scale]


def saved(page: Any) -> None:
    expect(page.locator("#saved")).to_have_text("saved")


def opacity(page: Any, name: str, value: int) -> None:
    if page.locator("#layers").is_hidden():
        page.keyboard.press("y")
    page.locator(f"#opacity-{name}").fill(str(value))
    page.keyboard.press("Escape")
    page.locator("#layers").evaluate("(panel) => { panel.hidden = true; }")


@pytest.mark.slow
def test_zoom_shows_single_pixels_of_the_evidence(page: Any, scanned: Path) -> None:
    show(page, "a.png")
    rgb = read_rgb(scanned.parent / "in/a.png")
    opacity(page, "map", 0)
    opacity(page, "outline", 0)
    page.locator("#zoom-one").click()
    expect(page.locator("#zoom")).to_have_text("100 %")
    page.keyboard.press("8")
    expect(page.locator("#zoom")).to_have_text("800 %")
    ready(page)
    centre = rgb[TALL // 2 - 10 : TALL // 2 + 10, WIDE // 2 - 10 : WIDE // 2 + 10].reshape(-1, 3).astype(int)

    def shows_original_pixels() -> bool:
        found = set(page.evaluate(EVERY_EIGHTH))
        shown = [(red << 16 | green << 8 | blue) in found for red, green, blue in centre]
        return sum(shown) > 0.9 * len(shown)

    until(page, shows_original_pixels)
    for _ in range(30):
        page.keyboard.press("+")
    expect(page.locator("#zoom")).to_have_text("800 %")
    page.keyboard.press("0")
    expect(page.locator("#zoom")).not_to_have_text("800 %")


def test_layers_have_separate_opacities(page: Any, out: Path) -> None:
    show(page, "a.png")
    region = json.loads((out / "results.jsonl").read_text().splitlines()[0])["regions"][0]
    x, y = region["x"] + region["width"] / 2, region["y"] + region["height"] / 2
    opacity(page, "outline", 0)
    opacity(page, "map", 0)
    plain = colour_at(page, x, y)
    opacity(page, "map", 100)
    until(page, lambda: colour_at(page, x, y) != plain)
    opacity(page, "map", 0)
    opacity(page, "ela", 100)
    ready(page)
    until(page, lambda: len({*colour_at(page, x, y)[:3]}) == 1)  # the companion is grey
    opacity(page, "ela", 0)
    until(page, lambda: colour_at(page, x, y) == plain)
    page.keyboard.press("y")
    page.locator("#brightness").fill("0")
    until(page, lambda: colour_at(page, x, y)[:3] == [0, 0, 0])
    page.get_by_role("button", name="As it is").click()
    page.keyboard.press("Escape")
    expect(page.locator("#layers")).to_be_hidden()
    until(page, lambda: colour_at(page, x, y) == plain)


def test_side_by_side_panes_move_together_and_swipe_has_a_divider(page: Any) -> None:
    show(page, "a.png")
    page.locator("#mode-side").click()
    expect(page.locator("#pane-b")).to_be_visible()
    until(page, lambda: len({*drawn(page)}) == 2)
    before = drawn(page)
    page.locator("#pane-b").hover()
    page.mouse.wheel(0, -400)
    until(page, lambda: all(one != other for one, other in zip(drawn(page), before, strict=True)))  # both zoom
    page.keyboard.press("v")
    divider = page.locator("#divider")
    expect(divider).to_be_visible()
    expect(page.locator("#pane-b")).to_be_hidden()
    middle = drawn(page)[0]
    box, stage = divider.bounding_box(), page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.25 * stage["width"], box["y"] + 200)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")
    until(page, lambda: drawn(page)[0] != middle)
    divider.focus()
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "27")


def test_magnifier_stretches_contrast(page: Any) -> None:
    show(page, "a.png")
    page.keyboard.press("g")
    lens = page.locator("#lens")
    expect(lens).to_be_visible()
    stage = page.locator("#stage").bounding_box()
    page.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    expect(lens).to_have_attribute("data-ready", "true")
    spread = """() => { const lens = document.querySelector("#lens canvas");
    const { data } = lens.getContext("2d").getImageData(0, 0, 280, 280);
    const green = data.filter((_, at) => at % 4 === 1); return Math.max(...green) - Math.min(...green); }"""
    expect(lens).to_contain_text("unchanged")
    page.evaluate(DRAWN)
    plain = page.evaluate(spread)
    page.keyboard.press("Shift+g")
    expect(lens).to_contain_text("auto-contrast")
    until(page, lambda: page.evaluate(spread) >= max(plain, 250))
    page.keyboard.press("Shift+g")
    expect(lens).to_contain_text("histogram")
    page.keyboard.press("g")
    expect(lens).to_be_hidden()


def test_clicking_a_region_zooms_to_it(page: Any, out: Path) -> None:
    show(page, "a.png")
    whole = page.locator("#zoom").inner_text()
    page.locator("#regions button").first.click()
    expect(page.locator("#zoom")).not_to_have_text(whole)
    page.keyboard.press("0")
    expect(page.locator("#zoom")).to_have_text(whole)
    region = json.loads((out / "results.jsonl").read_text().splitlines()[0])["regions"][0]
    x, y = at(page, region["x"] + region["width"] / 2, region["y"] + region["height"] / 2)
    box = page.locator("#pane-a").bounding_box()
    page.mouse.click(box["x"] + x, box["y"] + y)
    expect(page.locator("#zoom")).not_to_have_text(whole)
    page.keyboard.press("0")
    page.keyboard.press("r")
    expect(page.locator("#zoom")).not_to_have_text(whole)


def test_reasons_panel_shows_traces_copies_remarks_and_file(page: Any, scanned: Path) -> None:
    show(page, "camera.jpg")
    expect(page.locator("#remarks")).to_contain_text("GIMP")
    expect(page.locator("#file")).to_contain_text(str(scanned.parent / "in/camera.jpg"))
    expect(page.locator("#file")).to_contain_text("Canon EOS 5D")
    page.keyboard.press("w")
    first = page.locator("#traces button").first
    expect(first).to_be_visible()
    before = page.evaluate(BOTH)[0]
    first.click()
    expect(first).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(f"(before) => ({BOTH})()[0] !== before", arg=before)
    page.locator("#find-copies").click()
    expect(page.locator("#copies")).to_contain_text("Copied places")
    page.keyboard.press("y")
    page.locator("#ghosts").click()
    page.wait_for_function("() => document.getElementById('sheet-picture').naturalWidth > 0")


def test_decisions_are_saved_at_once_and_shown_after_reload(page: Any, out: Path) -> None:
    show(page, "a.png")
    page.keyboard.press("2")
    page.keyboard.press("e")
    page.keyboard.press("t")
    page.keyboard.type("The noise differs.")
    page.keyboard.press("Control+Enter")
    saved(page)
    row = read_decisions(out)[-1]
    assert (row.path, row.status, row.conclusion, row.text) == ("a.png", "relevant", "edited", "The noise differs.")
    assert row.examiner == "A. Meier"
    expect(page.locator("#sentence")).to_have_text("The findings support that the picture was edited.")
    page.reload()
    ready(page, 0)
    expect(page.locator("#text")).to_have_value("The noise differs.")
    expect(page.get_by_role("radio", name="relevant", exact=True)).to_have_attribute("aria-checked", "true")
    expect(page.locator("#row-0")).to_contain_text("relevant")
    expect(page.locator("#progress")).to_contain_text("of 3 decided")
    page.keyboard.press("4")
    saved(page)
    page.locator("#history summary").click()
    expect(page.locator("#history li")).to_have_count(sum(row.path == "a.png" for row in read_decisions(out)))


def test_corrected_boxes_are_written_to_boxes_json(page: Any, out: Path) -> None:
    show(page, "a.png")
    page.keyboard.press("b")
    page.locator("#take-regions").click()
    saved(page)
    taken = read_decisions(out)[-1].boxes
    assert taken
    page.locator("#no-boxes").click()
    saved(page)
    box = page.locator("#pane-a").bounding_box()
    (x1, y1), (x2, y2) = at(page, 100, 100), at(page, 300, 250)
    page.mouse.move(box["x"] + x1, box["y"] + y1)
    page.mouse.down()
    page.mouse.move(box["x"] + (x1 + x2) / 2, box["y"] + (y1 + y2) / 2)
    page.mouse.move(box["x"] + x2, box["y"] + y2)
    page.mouse.up()
    until(page, lambda: read_decisions(out)[-1].boxes)
    saved(page)
    (one,) = read_decisions(out)[-1].boxes or ()
    assert one == pytest.approx((100, 100, 300, 250), abs=2)
    expect(page.locator("#delete-box")).to_be_enabled()

    def kept() -> tuple[Any, ...]:
        found = {item.name: item.boxes for item in read_boxes(out / "boxes.json").images}
        return found.get("a.png", ())

    until(page, lambda: kept() and kept()[0] == pytest.approx(one))  # it is written with a short delay
    page.keyboard.press("Delete")
    until(page, lambda: read_decisions(out)[-1].boxes == ())
    saved(page)


@pytest.mark.slow
def test_two_examiners_do_not_overwrite_each_other(
    browser: Any, scanned: Path, tmp_path: Path, serve: Callable[..., Reviewing]
) -> None:
    out = Path(shutil.copytree(scanned, tmp_path / "out"))
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        pages = []
        for name in ("A. Meier", "B. Koch"):
            made = context.new_page()
            made.goto(serve(out, "--examiner", name).address + "#a.png")
            ready(made, 0)
            pages.append(made)
        one, other = pages
        other.route("**/api/changes*", lambda route: route.abort())  # B's page is not notified of the change
        other.route("**/api/pictures/0", lambda route: route.abort())
        one.keyboard.press("2")
        saved(one)
        other.keyboard.press("3")
        expect(other.locator("#message")).to_contain_text("A. Meier has decided on this picture in the meantime")
        expect(other.get_by_role("radio", name="relevant", exact=True)).to_have_attribute("aria-checked", "true")
        assert [row.status for row in read_decisions(out)] == ["relevant"]
        other.locator("#message button").click()
        saved(other)
        assert [(row.status, row.examiner) for row in read_decisions(out)][-1] == ("not relevant", "B. Koch")
        expect(one.get_by_role("radio", name="not relevant", exact=True)).to_have_attribute("aria-checked", "true")


def test_text_that_is_too_long_stays_in_the_page_and_is_not_called_saved(page: Any, out: Path) -> None:
    show(page, "a.png")
    page.locator("#text").fill("x" * 20_001)
    page.locator("#text").blur()
    expect(page.locator("#saved")).to_contain_text("at most 20000 characters")
    assert page.locator("#text").input_value() == "x" * 20_001
    page.keyboard.press("j")
    expect(page.locator("#message")).to_contain_text("this picture stays open")
    page.locator("#text").fill("short")
    page.locator("#text").blur()
    saved(page)
    assert read_decisions(out)[-1].text == "short"


@pytest.mark.slow
def test_text_written_while_a_decision_is_refused_is_kept(
    browser: Any, scanned: Path, tmp_path: Path, serve: Callable[..., Reviewing]
) -> None:
    out = Path(shutil.copytree(scanned, tmp_path / "out"))
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        one, other = context.new_page(), context.new_page()
        for made, name in ((one, "A. Meier"), (other, "B. Koch")):
            made.goto(serve(out, "--examiner", name).address + "#a.png")
            ready(made, 0)
        held: list[Any] = []
        other.route("**/api/changes*", lambda route: route.abort())
        other.route("**/api/pictures/0/decision", lambda route: held.append(route) if not held else route.continue_())
        other.locator("#text").press_sequentially("first")
        until(other, lambda: held)  # on its way, and the server will refuse it
        one.keyboard.press("2")
        saved(one)
        other.locator("#text").press_sequentially(" and second")
        held[0].continue_()
        expect(other.locator("#message")).to_contain_text("A. Meier has decided on this picture in the meantime")
        other.locator("#message button").click()
        until(other, lambda: read_decisions(out)[-1].examiner == "B. Koch")
        saved(other)
        assert read_decisions(out)[-1].text == "first and second"


@pytest.mark.slow
def test_server_kill_is_reported_and_decisions_are_kept(
    browser: Any, scanned: Path, tmp_path: Path, serve: Callable[..., Reviewing]
) -> None:
    out = Path(shutil.copytree(scanned, tmp_path / "out"))
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        running = serve(out, "--examiner", "A. Meier")
        page = context.new_page()
        page.goto(running.address + "#a.png")
        ready(page, 0)
        page.keyboard.press("2")
        saved(page)
        running.kill()
        page.keyboard.press("3")
        expect(page.locator("#saved")).to_contain_text("not saved")
        again = context.new_page()
        again.goto(serve(out, "--examiner", "A. Meier").address + "#a.png")
        ready(again, 0)
        expect(again.get_by_role("radio", name="relevant", exact=True)).to_have_attribute("aria-checked", "true")
        page.on("dialog", lambda dialog: dialog.accept())


def test_filters_select_cases_and_every_case_has_a_url(page: Any) -> None:
    show(page, "sub/c.png")
    page.keyboard.press("4")
    saved(page)
    for name in ("a.png", "camera.jpg"):
        show(page, name)
        page.keyboard.press("3")
        saved(page)
    show(page, "sub/c.png")
    assert page.url.endswith("#sub%2Fc.png")
    page.go_back()
    shown = page.locator("#shown")
    for field, label, count in (
        ("#by-status", "to be checked", 1),
        ("#by-camera", "Canon Canon EOS 5D", 1),
        ("#by-folder", "sub", 1),
        ("#by-verdict", "not analysed", 1),
    ):
        page.locator("#more-filters").evaluate("(one) => { one.open = true; }")
        page.locator(field).focus()
        page.locator(field).select_option(label)
        expect(shown).to_have_text(f"{count} of 4 listed")
        page.locator("#clear").click()
        expect(shown).to_have_text("4 listed")
    page.keyboard.press("/")
    page.keyboard.type("gimp")
    expect(shown).to_have_text("1 of 4 listed")
    page.keyboard.press("ArrowDown")
    expect(page).to_have_title("camera.jpg – imltool review")


def test_all_actions_have_keys(page: Any, out: Path) -> None:
    before = len(read_decisions(out))
    page.keyboard.press("0")
    for name in ("a.png", "camera.jpg"):
        show(page, name)
        page.keyboard.press("i")
        saved(page)
        page.keyboard.press("i")  # pressing it again revokes the decision
        saved(page)
        page.keyboard.press("ArrowDown")
        ready(page)
    assert len(read_decisions(out)) == before + 4
    page.keyboard.press("Enter")
    for key in ("m", "o", "c", "v", "v", "v", "g", "g", "y", "Escape", "z", "Shift+ArrowLeft", "+", "-", "0", "r", "k"):
        page.keyboard.press(key)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    expect(page.locator("#keys")).to_contain_text("next picture without a decision")
    page.keyboard.press("Escape")

    def in_list() -> bool:  # a picture that is still opening takes the focus again
        page.keyboard.press("l")
        return bool(page.evaluate("document.activeElement.id") == "rows")

    until(page, in_list)


def test_score_is_shown_with_its_rarity(browser: Any, scanned: Path, tmp_path: Path, serve: Callable[..., Any]) -> None:
    out = made_of(scanned, tmp_path / "out", many(scanned, 300), scanned.parent / "in", **CALIBRATION)
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(serve(out).address)
        expect(page.locator("#shown")).to_have_text("300 listed")
        expect(page.locator("#result .meter u")).to_have_count(3)
        expect(page.locator("#result")).to_contain_text("authentic pictures score higher")
        page.locator("#result summary").first.click()
        expect(page.locator("#result")).to_contain_text(
            "Of 20 calibration pictures that scored from 0.500 to 1.000, 17"
        )


@pytest.mark.slow
def test_list_of_ten_thousand_rows_is_virtualized(
    browser: Any, scanned: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    out = made_of(scanned, tmp_path / "out", many(scanned, 10_000), scanned.parent / "in")
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(serve(out).address)
        expect(page.locator("#shown")).to_have_text("10000 listed")
        assert page.locator("[role=option]").count() < 40, "only the visible rows are in the page"
        page.locator("#rows").evaluate("(rows) => { rows.scrollTop = rows.scrollHeight; }")
        expect(page.locator("[role=option]").last).to_contain_text("09999")
        page.locator("[role=option]").last.click()
        expect(page).to_have_title("disk 3/09999 a.png – imltool review")
        page.keyboard.press("2")
        saved(page)
        page.fill("#filter", "09999")
        expect(page.locator("#shown")).to_have_text("1 of 10000 listed")


@pytest.mark.slow
def test_twelve_megapixel_pictures_are_shown_at_every_zoom(
    browser: Any, scanned: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    out = large(scanned, tmp_path / "out", {"one.jpg": (4000, 3000), "two.jpg": (4000, 3000)})
    with window(browser, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(serve(out).address + "#one.jpg")
        ready(page, 0)
        page.keyboard.press("z")
        expect(page.locator("#zoom")).to_have_text("100 %")
        page.keyboard.press("8")
        expect(page.locator("#zoom")).to_have_text("800 %")
        page.keyboard.press("ArrowDown")
        ready(page, 1)
        expect(page).to_have_title("two.jpg – imltool review")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_accessibility_violation(browser: Any, server: Reviewing, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with window(browser, viewport={"width": 1280, "height": 800}, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(server.address + "#camera.jpg")
        ready(page, 1)
        page.keyboard.press("2")
        saved(page)
        page.keyboard.press("w")
        expect(page.locator("#traces button").first).to_be_visible()
        for key in ("", "y", "v", "v", "b"):
            if key:
                page.keyboard.press("Escape") if key == "v" else None
                page.keyboard.press(key)
            found = axe.Axe().run(page)
            assert found.violations_count == 0, f"after {key!r}: {found.generate_report()}"


def test_phone_layout_shows_list_or_picture_and_pinch_zooms(browser: Any, server: Reviewing) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with window(browser, **options) as context:
        page = context.new_page()
        page.goto(server.address)
        expect(page.locator("[role=option]")).to_have_count(4)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.locator("[role=option]").first.tap()
        ready(page)
        expect(page.locator("#list")).to_be_hidden()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        whole = int(page.locator("#zoom").inner_text().split()[0])
        touch = context.new_cdp_session(page)
        box = page.locator("#pane-a").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind, spread in (("touchStart", 20), ("touchMove", 90), ("touchEnd", 0)):
            points = [{"x": x - spread, "y": y, "id": 0}, {"x": x + spread, "y": y, "id": 1}] if spread else []
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        until(page, lambda: int(page.locator("#zoom").inner_text().split()[0]) > 2 * whole)
        page.get_by_role("radio", name="not relevant", exact=True).tap()
        page.locator("#to-list").tap()
        expect(page.locator("[role=option]").first).to_contain_text("not relevant")


def test_printed_page_has_picture_and_decision_without_controls(page: Any, tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    show(page, "a.png")
    page.keyboard.press("2")
    saved(page)
    page.pdf(path=tmp_path / "print.pdf")
    text = " ".join(sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / "print.pdf").pages)
    assert "Decision" in text and "a.png" in text and "Filters" not in text and "Magnifier" not in text


def test_report_button_writes_decisions_into_the_report(page: Any, out: Path) -> None:
    show(page, "a.png")
    page.keyboard.press("e")
    saved(page)
    page.locator("#report").click()
    expect(page.locator("#report")).to_have_text("Report written")
    assert "The findings support that the picture was edited." in (out / "report.html").read_text()
