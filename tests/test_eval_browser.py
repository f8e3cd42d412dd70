"""Report pages of `eval`, `study` and `validate` in a browser: enlarging, printing, accessibility."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.annotate_page import PATIENCE
from helpers.pictures import make_set

from imltool.cli.app import run

A4_LANDSCAPE = {"width": 1032, "height": 700}
"""CSS pixels of the paper within its margins."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    root = make_set(folder / "a_set_with_a_rather_long_name", 4, 2)
    methods = ["--weights", "none", "--baseline", "constant", "--baseline", "ela"]
    assert (
        run(["eval", *methods, "--data", str(root), "--robust", "screenshot", "--out", str(folder / "out"), "-q"]) == 0
    )
    return folder / "out" / "report.html"


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    faults: list[str] = []
    shown = context.new_page()
    shown.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    shown.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
    )
    shown.goto(report.as_uri())
    yield shown
    context.close()
    assert faults == []


@pytest.mark.slow
def test_pictures_and_plots_are_enlarged_on_click(page: Any) -> None:
    tile = page.locator("figure button").first
    small = tile.locator("img").first.bounding_box()["width"]
    tile.click()
    dialog = page.locator("dialog")
    assert dialog.is_visible() and dialog.locator("img").count() == 3
    assert dialog.locator("img").first.bounding_box()["width"] >= 2 * small
    assert "F1" in dialog.locator("p").inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.locator(".plots button").first.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible() and dialog.locator("img").first.bounding_box()["width"] > 600
    dialog.get_by_role("button", name="close").click()
    assert not dialog.is_visible()


def test_printed_page_is_complete_and_dark_on_white(browser: Any, report: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    context = browser.new_context(viewport=A4_LANDSCAPE, color_scheme="dark")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_LANDSCAPE["width"]
    wide = page.evaluate(
        "[...document.querySelectorAll('table')].filter((t) => t.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    colours = page.evaluate("[...document.querySelectorAll('h1, h2, h3, td')].map((e) => getComputedStyle(e).color)")
    assert set(colours) == {"rgb(0, 0, 0)"}
    text = " ".join(
        one.extract_text() for one in pypdf.PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages
    )
    context.close()
    text = " ".join(text.split())
    for column in ("precision", "AP", "FP area", "balanced accuracy", "change of F1"):
        assert column in text, column
    assert "imltool eval --weights none" in text, "the command to repeat the evaluation"


def test_page_fits_the_width_of_a_phone(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_axe_finds_no_accessibility_violation(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found] == []
