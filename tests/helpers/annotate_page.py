"""The page of `imltool annotate` in headless Chromium: user actions, and waiting for their results.

A machine may be slow: code that reads the page or the server after an action first waits for an effect that only the
completed action has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from helpers.pictures import forged

playwright = pytest.importorskip("playwright.sync_api")

PATIENCE = 240_000
"""Timeout of an expectation in milliseconds: an embedding takes one second, on a busy machine many."""
WIDE, TALL = 192, 128
"""Size in pixels of the pictures written by `make`."""
STAGE_CONTENT = "['photo', 'canvas'].map((id) => document.getElementById(id).toDataURL()).join()"
"""JavaScript expression for the content of the stage: the picture and the canvas above it."""


@contextmanager
def window(browser: Any, **options: Any) -> Iterator[Any]:
    """A browser window; its pages must raise no error and make requests to the server only."""
    context = browser.new_context(**{"viewport": {"width": 1000, "height": 700}, **options})
    context.set_default_timeout(PATIENCE)
    faults: list[str] = []
    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.on("request", lambda request: None if local(request.url) else faults.append(request.url))
    yield context
    context.close()
    assert not faults, faults


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
    """Wait until a picture is open."""
    expect(page.locator("#name")).to_have_text(name)
    expect(page.locator("#hint")).not_to_contain_text("opening")


def place(page: Any, across: float, down: float) -> tuple[float, float]:
    """Screen position of relative picture coordinates; the picture fills 97 % of the stage on its tighter side."""
    (size,) = re.findall(r"(\d+)×(\d+)", page.locator("#facts").inner_text())
    wide, tall = map(int, size)
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
    """Wait until all changes, including undos, are on the server; they show as not saved immediately."""
    expect(page.locator("#status")).to_have_text("saved")


def drawn(page: Any) -> str:
    """Content of both canvases after all pending drawing: the page draws in the next frame."""
    return page.evaluate(f"() => new Promise((done) => requestAnimationFrame(() => done({STAGE_CONTENT})))")  # type: ignore[no-any-return]


def until(page: Any, condition: Callable[[], object]) -> None:
    """Wait for a condition while the driver handles its events."""
    for _ in range(PATIENCE // 20):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError("the condition was not met in time")


def arrive(page: Any, key: str, name: str) -> None:
    """Wait until the picture opened by a key is shown; press the key again if the page stays on a slow server."""

    def there() -> bool:
        if "stays on it" in page.locator("#message").inner_text() and page.locator("#message").is_visible():
            page.keyboard.press(key)
        return bool(page.locator("#name").inner_text() == name)

    until(page, there)
    at(page, name)


def go(page: Any, index: int) -> None:
    page.keyboard.press("l")
    page.locator("#pictures button").nth(index).click()
    at(page, f"{index}.png")


def make(root: Path, count: int = 3) -> Path:
    """A folder of forged pictures 0.png, 1.png, …

    No two files are identical, but only two pictures alternate, because each takes seconds to embed.
    """
    root.mkdir(parents=True)
    for index in range(count):
        number = PngInfo()
        number.add_text("number", str(index))
        Image.fromarray(forged(index % 2, WIDE, TALL)[0]).save(root / f"{index}.png", pnginfo=number)
    return root
