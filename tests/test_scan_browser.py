"""`report.html` in headless Chromium: sorting, filtering, paging, printing, keyboard use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.annotate_page import PATIENCE
from helpers.pictures import photo, write_rgb
from PIL import Image

from imltool.cli.app import run
from imltool.scan.report import WHOLE, write_report
from imltool.scan.results import read_results
from imltool.scan.run_record import Counts, read_record
from imltool.scan.verdicts import WORDS

playwright = pytest.importorskip("playwright.sync_api")
playwright.expect.set_options(timeout=PATIENCE)
expect = playwright.expect

COUNT = 1500
FAILED = 250
HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def address(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with enough rows for several pages: the rows of three scanned pictures under other names."""
    folder = tmp_path_factory.mktemp("scan")
    for seed, name in enumerate(("a.png", "b.png")):
        write_rgb(folder / "in" / name, photo(seed, 120, 90))
    exif = Image.Exif()
    exif.update({0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0131: "GIMP 2.10"})
    Image.fromarray(photo(9, 160, 100)).save(folder / "in/camera.jpg", exif=exif)
    (folder / "in/cut.png").touch()
    out = folder / "out"
    words = ["scan", folder / "in", "--out", out, "--weights", tiny_weights, "--companions", "ela", "--stability"]
    assert run([*map(str, words), "--case-id", "2026/4", "--device", "cpu", "-q"]) == 3
    scanned = [row for row in read_results(out) if row.status == "ok"]
    (failed,) = [row for row in read_results(out) if row.status == "failed"]
    rows = []
    for number in range(COUNT):
        row = scanned[number % 3]
        name = f"disk {number % 11}/{number:05} {HOSTILE if number == 1 else row.path}"
        score = round(1 - number / COUNT, 6)
        rows.append(row.model_copy(update={"path": name, "score": score, "verdict": WORDS[2 - 3 * number // COUNT]}))
    rows += [failed.model_copy(update={"path": f"lost {number:03} {HOSTILE}"}) for number in range(FAILED)]
    run_record = read_record(out)
    third = COUNT // 3
    counts = Counts(files=COUNT + FAILED, analysed=COUNT, indication=third, inconclusive=third, failed=FAILED)
    made = write_report(out, run_record.model_copy(update={"counts": counts}), rows)
    assert sum(1 for _ in made) == COUNT + FAILED
    return (out / "report.html").as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the report; it must make no other request, raise no error and log nothing to the console."""
    faults: list[str] = []
    contexts = []
    folder_url = address.rsplit("/", 1)[0]

    def refuse(route: Any) -> None:
        faults.append(route.request.url)
        route.abort()

    def open_report(width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.route(lambda url: not url.startswith((folder_url, "data:")), refuse)
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on("console", lambda message: faults.append(message.text))
        context.on("dialog", lambda dialog: (faults.append("alert"), dialog.dismiss()))  # type: ignore[func-returns-value]
        page = context.new_page()
        page.goto(address)
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert not faults


def names(page: Any) -> list[str]:
    return page.locator("#results tbody .open").all_inner_texts()  # type: ignore[no-any-return]


def head(page: Any, key: str) -> Any:
    return page.locator(f"th[data-key={key}]")


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.innerText")  # type: ignore[no-any-return]


@pytest.mark.slow
def test_table_sorts_by_every_column(opened: Callable[..., Any]) -> None:
    page = opened()
    assert names(page)[0] == "disk 0/00000 a.png" and len(names(page)) == 100
    expect(head(page, "score")).to_have_attribute("aria-sort", "descending")
    head(page, "score").get_by_role("button").click()
    expect(head(page, "score")).to_have_attribute("aria-sort", "ascending")
    assert names(page)[0] == f"disk {(COUNT - 1) % 11}/{COUNT - 1:05} camera.jpg"
    head(page, "name").get_by_role("button").click()
    assert names(page)[:2] == ["disk 0/00000 a.png", "disk 0/00011 camera.jpg"]
    head(page, "name").get_by_role("button").click()
    assert names(page)[0].startswith("disk 10/"), "10 comes after 9"
    head(page, "rank").get_by_role("button").click()
    expect(page.locator("#results tbody .verdict").first).to_have_text("indication")
    head(page, "size").get_by_role("button").click()
    assert all(name.endswith("camera.jpg") for name in names(page)), "the largest picture"
    assert page.locator("[aria-sort=none]").count() == 6


def test_table_filters_by_name_hash_camera_and_verdict(opened: Callable[..., Any]) -> None:
    page = opened()
    shown, field = page.locator("#shown"), page.locator("#filter")
    for text, count in (("/0004", 10), ("eos gimp", COUNT // 3), ("disk 3/ png", None), ("saved by an editor", 500)):
        field.fill(text)
        expect(shown).not_to_have_text(f"{COUNT} listed")
        if count is not None:
            expect(shown).to_have_text(f"{count} of {COUNT} listed")
    digest = page.locator("#results tbody code").first.get_attribute("title")
    field.fill(digest[:10].upper())
    expect(shown).to_have_text(f"{COUNT // 3} of {COUNT} listed")
    page.locator("#verdict").select_option("inconclusive")
    expect(shown).to_have_text(re.compile(rf"^16[67] of {COUNT} listed$"))
    assert set(page.locator("#results tbody .verdict").all_inner_texts()) == {"inconclusive"}
    field.fill("no such name")
    expect(page.locator("#empty")).to_be_visible()
    field.fill(HOSTILE)
    page.locator("#verdict").select_option("")
    expect(shown).to_have_text(f"1 of {COUNT} listed")
    assert names(page) == [f"disk 1/00001 {HOSTILE}"]


def test_table_is_paged(opened: Callable[..., Any]) -> None:
    page = opened()
    expect(page.locator("#pager span")).to_have_text(f"Rows 1 to 100 of {COUNT}")
    expect(page.locator("#pager button").first).to_be_disabled()
    page.locator("#pager button").last.click()
    expect(page.locator("#pager span")).to_have_text(f"Rows 101 to 200 of {COUNT}")
    assert names(page)[0] == "disk 1/00100 b.png"
    page.locator("#results tbody .open").first.focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#pager span")).to_have_text(f"Rows 1 to 100 of {COUNT}")
    assert focused(page) == "disk 0/00099 a.png"
    page.locator("#filter").fill("/0004")
    expect(page.locator("#pager")).to_be_hidden()


def test_failed_files_are_paged_and_filtered(opened: Callable[..., Any]) -> None:
    page = opened()
    rows, where = page.locator("#not-analysed tbody tr"), page.locator("#failed-pager span")
    expect(where).to_have_text(f"Rows 1 to 100 of {FAILED}")
    expect(rows).to_have_count(100)
    page.locator("#failed-pager button").last.click()
    page.locator("#failed-pager button").last.click()
    expect(where).to_have_text(f"Rows 201 to 250 of {FAILED}")
    expect(rows.first).to_contain_text(f"lost 200 {HOSTILE}")
    page.locator("#failed-filter").fill(
        "lost 23 EMPTY"
    )  # 023, 123, 223, 230 to 239; every row has the SHA-256 of an empty file, which contains 24
    expect(page.locator("#failed-shown")).to_have_text(f"13 of {FAILED} listed")
    expect(rows.last).to_contain_text("lost 239")
    expect(page.locator("#failed-pager")).to_be_hidden()
    expect(page.locator("#pager span")).to_have_text(f"Rows 1 to 100 of {COUNT}")
    page.locator("#failed-filter").fill("no such file")
    expect(page.locator("#failed-empty")).to_be_visible()
    page.locator("#failed-filter").fill("")
    expect(rows).to_have_count(100)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    expect(rows).to_have_count(FAILED)
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(rows).to_have_count(100)


def test_case_view_has_an_opacity_slider_and_a_next_button(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator("#results tbody tr").nth(2).click()
    case = page.locator("#case")
    expect(case.get_by_role("heading", level=2)).to_have_text("disk 2/00002 camera.jpg")
    expect(page.locator("#place")).to_have_text(f"3 of {COUNT}")
    for text in ("Canon EOS 5D", "saved by an editor (GIMP 2.10)", "Scores after mild changes", "Error level"):
        expect(case).to_contain_text(text)
    page.wait_for_function("[...document.querySelectorAll('#slot img')].every((image) => image.naturalWidth > 0)")
    over, under = case.locator(".over"), case.locator(".over").locator("xpath=preceding-sibling::img")
    assert over.bounding_box() == under.bounding_box(), "the map is aligned with the picture"
    before = under.screenshot()
    slider = case.locator(".opacity")
    slider.fill("0")
    expect(over).to_have_css("opacity", "0")
    assert under.screenshot() != before
    slider.fill("40")
    expect(over).to_have_css("opacity", "0.4")
    page.locator("#next").click()
    expect(page.locator("#place")).to_have_text(f"4 of {COUNT}")
    expect(over).to_have_css("opacity", "0.4")
    page.locator("#close").click()
    expect(case).to_be_hidden()
    assert focused(page) == "disk 3/00003 a.png"


def test_cases_beyond_the_embedded_ones_show_output_files(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator("#filter").fill(f"{WHOLE:05}")
    expect(page.locator("#shown")).to_have_text(f"1 of {COUNT} listed")
    page.locator("#results tbody .open").click()
    expect(page.locator("#slot")).to_contain_text(
        f"Only the pictures with the {WHOLE} highest scores are embedded in this report."
    )
    page.wait_for_function("[...document.querySelectorAll('#slot img')].every((image) => image.naturalWidth > 0)")
    assert page.locator("#slot img").count() == 3
    expect(page.locator("#slot .opacity")).to_have_count(0)


def test_report_can_be_used_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    keys = page.keyboard
    keys.press("/")
    keys.type("/0004")
    expect(page.locator("#shown")).to_have_text(f"10 of {COUNT} listed")
    keys.press("ArrowDown")
    assert focused(page) == "disk 7/00040 b.png"
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(page.locator("#slot h2")).to_have_text("disk 8/00041 camera.jpg")
    keys.press("ArrowRight")
    expect(page.locator("#slot h2")).to_have_text("disk 9/00042 a.png")
    for _ in range(8):
        keys.press("Tab")
        if page.evaluate("document.activeElement.matches('.opacity')"):
            break
    keys.press("ArrowLeft")
    expect(page.locator("#slot .opacity")).to_have_value("99")
    expect(page.locator("#slot h2")).to_have_text("disk 9/00042 a.png")
    keys.press("Escape")
    expect(page.locator("#case")).to_be_hidden()
    assert focused(page) == "disk 9/00042 a.png"
    keys.press("Tab")
    assert not page.evaluate("document.activeElement.closest('tbody')"), "the table is one stop for the Tab key"
    keys.press("Shift+Tab")
    assert focused(page) == "disk 9/00042 a.png"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_accessibility_violation(opened: Callable[..., Any], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(color_scheme=scheme)
    page.locator("#filter").fill("/0004")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 100")
    assert dark == (scheme == "dark")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.locator("#results tbody tr").first.click()
    page.wait_for_function("[...document.querySelectorAll('#slot img')].every((image) => image.naturalWidth > 0)")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_narrow_screen_needs_no_horizontal_scrolling(opened: Callable[..., Any]) -> None:
    page = opened(width=380)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#results tbody .open").first.click()
    assert page.evaluate("document.getElementById('case').scrollWidth <= innerWidth")


@pytest.mark.slow
def test_printout_has_the_listed_cases_in_black_on_white(opened: Callable[..., Any], tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    page = opened(color_scheme="dark")
    page.locator("#filter").fill("/0004")
    expect(page.locator("#shown")).to_have_text(f"10 of {COUNT} listed")
    page.pdf(path=tmp_path / "print.pdf", prefer_css_page_size=True, print_background=True)
    sheets = [" ".join(one.extract_text().split()) for one in pypdf.PdfReader(tmp_path / "print.pdf").pages]
    for number in range(40, 50):
        assert sum(f"/{number:05}" in sheet and "SHA-256" in sheet for sheet in sheets[-10:]) == 1
    assert not any("Filter" in sheet or "Next" in sheet for sheet in sheets), "controls are not printed"
    page.locator("#sheeted").uncheck()
    page.pdf(path=tmp_path / "short.pdf", prefer_css_page_size=True)
    assert len(pypdf.PdfReader(tmp_path / "short.pdf").pages) == len(sheets) - 10
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.locator("#filter")).to_be_hidden()
    page.emulate_media(media="screen")
    expect(page.locator("#results tbody tr")).to_have_count(10)


def test_report_without_scripts_states_what_is_missing(opened: Callable[..., Any]) -> None:
    page = opened(java_script_enabled=False)
    expect(page.locator("noscript p").first).to_contain_text("results.csv")
    expect(page.locator("#not-analysed")).to_contain_text("the file is empty")
    expect(page.locator("#not-analysed tbody tr")).to_have_count(100)
    expect(page.locator("noscript p").last).to_contain_text(f"the first 100 of {FAILED}")
    expect(page.locator("main")).to_contain_text("2026/4")
