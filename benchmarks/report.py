"""Scaling of a scan report: time and memory to write it, its size, and time to open and filter it in a browser.

    imltool scan FOLDER --out SCAN
    python benchmarks/report.py SCAN [ROWS]

The rows of the finished scan are repeated under other names and scores until there are ROWS (10,000). The browser part
needs Playwright and a Chromium in the path. Peak memory is that of writing; heap is that of the page.
"""

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from imltool.scan.report import write_report
from imltool.scan.results import read_results
from imltool.scan.run_record import REPORT, read_record

scan = Path(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000

done = [row for row in read_results(scan) if row.score is not None]
rows = []
for number in range(count):
    row = done[number % len(done)]
    score = round((row.score or 0.0) * (1 - number / (2 * count)), 6)
    rows.append(row.model_copy(update={"path": f"disk {number % 7}/{number:05} {row.path}", "score": score}))
run = read_record(scan)
run["counts"] |= {"files": count, "analysed": count, "failed": 0}

target = Path(tempfile.mkdtemp(prefix="imltool-report-"))
for name in ("maps", "overlays", "previews", "companions"):
    if (scan / name).is_dir():
        (target / name).symlink_to((scan / name).resolve())
started = time.perf_counter()
for _ in write_report(target, run, rows):
    pass
spent = time.perf_counter() - started
size = (target / REPORT).stat().st_size
print(f"{count} rows: written in {spent:.1f} s, {size / 1e6:.1f} MB, peak memory ", end="")
print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, {1000 * spent / count:.1f} ms a row")

from playwright.sync_api import sync_playwright  # noqa: E402 - what is above needs none

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_page()

    def clock(what: str, act: str, shown: str) -> None:
        """Print the time of a script until the next frame is drawn, and the resulting text in the page."""
        begun = time.perf_counter()
        page.evaluate(
            f"() => {{ {act}; return new Promise((done) => requestAnimationFrame(() => setTimeout(done))); }}"
        )
        print(f"{what:<12} {time.perf_counter() - begun:6.2f} s   {page.locator(shown).first.inner_text()}")

    begun = time.perf_counter()
    page.goto((target / REPORT).as_uri(), timeout=120_000)
    print(f"{'open':<12} {time.perf_counter() - begun:6.2f} s   {page.locator('#shown').inner_text()}")
    clock("filter", "filter.value = '00042'; filter.dispatchEvent(new Event('input'))", "#shown")
    clock("all again", "filter.value = ''; filter.dispatchEvent(new Event('input'))", "#shown")
    clock("sort by name", "document.querySelector('[data-key=name]').click()", "#results .open")
    clock("next page", "document.querySelector('#pager button:last-of-type').click()", "#pager span")
    clock("open a case", "document.querySelector('#results .open').click()", "#place")
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    print(f"heap {heap / 1e6:.0f} MB")
    browser.close()
shutil.rmtree(target)
