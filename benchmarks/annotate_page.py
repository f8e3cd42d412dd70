"""Waiting time in the page of `imltool annotate`: from releasing the mouse button to the mask on the screen.

Draws boxes in headless Chromium on pictures that are already embedded, and measures in the page: from the event
of the released button to the second frame after the mask's box is listed.

Usage: python benchmarks/annotate_page.py FOLDER [PICTURES]     (needs playwright and a chromium)
"""

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import Page, sync_playwright

BOXES = 10
"""Boxes drawn in each picture."""
PAUSE = 500
"""Milliseconds between boxes: no user draws faster, and saving has finished."""
PATIENCE = 600_000
"""Milliseconds."""
STOPWATCH = """
window.waits = [];
let released = null, known = 0;
addEventListener("pointerup", () => { released = performance.now(); }, true);
new MutationObserver(() => {
  const shown = document.querySelectorAll("#boxes button[data-state=proposed]").length;
  if (shown > known && released !== null) {
    const since = released;
    released = null;
    requestAnimationFrame(() => requestAnimationFrame(() => waits.push(performance.now() - since)));
  }
  known = shown;
}).observe(document.querySelector("#boxes"), { childList: true, subtree: true, attributes: true });
"""


def draw(page: Page, rng: random.Random) -> None:
    """Drag a box of a tenth to half of the stage."""
    stage = page.locator("#canvas").bounding_box()
    assert stage is not None
    wide, tall = (rng.uniform(0.1, 0.4) * stage[side] for side in ("width", "height"))
    x = stage["x"] + rng.uniform(0.25, 0.7) * stage["width"] - wide / 4
    y = stage["y"] + rng.uniform(0.2, 0.7) * stage["height"] - tall / 4
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + wide / 2, y + tall / 2)
    page.mouse.move(x + wide, y + tall)
    page.mouse.up()


def measure(page: Page, count: int) -> list[float]:
    rng, waits = random.Random(0), []
    for _ in range(count):
        page.wait_for_function("() => !document.querySelector('#hint').textContent.includes('opening')")
        page.evaluate(STOPWATCH)
        for number in range(BOXES + 1):  # the first waits for the embedding
            draw(page, rng)
            page.wait_for_function(f"() => window.waits.length > {number}", timeout=PATIENCE)
            page.keyboard.press("Delete")
            page.wait_for_function("() => document.querySelectorAll('#boxes button').length === 0")
            page.wait_for_timeout(PAUSE)
        waits += page.evaluate("() => window.waits")[1:]
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(300)
        page.reload()  # one stopwatch per picture
    return waits


folder, pictures = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
    command = [sys.executable, "-m", "imltool", "annotate", str(folder), "--out", f"{place}/boxes.json", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            waits = measure(page, pictures)
            browser.close()
        finally:
            server.terminate()
high = quantiles(waits, n=20)[-1]
print(f"{pictures} pictures, {BOXES} boxes each, milliseconds from the released button to the mask on the screen")
print(f"median {median(waits):.0f}   95 % below {high:.0f}   longest {max(waits):.0f}   n {len(waits)}")
