"""Waiting time in the page of `imltool review`: from the key press to the completely drawn picture.

    imltool scan FOLDER --out SCAN
    python benchmarks/review.py SCAN [PICTURES]     (needs playwright and a chromium)

Opens pictures in the order of the list: "open" jumps to an unprepared picture, "next" goes to the one
prefetched by the page. Both end when the evidence and its map are drawn at window size (1440×900). "zoom" is
the time from 1:1 until the lossless tiles are drawn. Prints medians, maxima, the processor time of the server, which
is more reliable than wall time under other load, and its peak memory. Nothing in SCAN is changed.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

PATIENCE = 120_000
SETTLE = 1.0
"""Seconds between opening pictures, after the next one is prefetched."""

scan = Path(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 10


def ready(page: Page, index: int) -> None:
    page.wait_for_function(
        "(index) => document.getElementById('stage').dataset.ready === String(index)", arg=index, timeout=PATIENCE
    )


def processor_seconds(pid: int) -> float:
    """Processor time used by the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(page: Page, act: str, index: int) -> float:
    """Milliseconds from an action in the page until the picture is drawn, measured in the page."""
    return float(
        page.evaluate(
            f"""(index) => new Promise((done) => {{
              const begun = performance.now();
              const watch = new MutationObserver(() => {{
                if (document.getElementById("stage").dataset.ready !== String(index)) return;
                watch.disconnect();
                requestAnimationFrame(() => done(performance.now() - begun));
              }});
              watch.observe(document.getElementById("stage"), {{ attributes: true }});
              {act};
            }})""",
            index,
        )
    )


command = [sys.executable, "-m", "imltool", "review", str(scan), "--no-browser"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
assert server.stdout is not None
address = server.stdout.readline().strip()
opened, following, zoomed = [], [], []
worked: dict[str, list[float]] = {}
try:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.wait_for_selector("[role=option]")
        begun = time.perf_counter()
        rows = page.evaluate("async () => (await (await fetch('api/folder')).json()).rows")
        print(f"{len(rows)} rows listed; the list's answer took {1000 * (time.perf_counter() - begun):.0f} ms")
        analysed = [(row["score"], index, row["path"]) for index, row in enumerate(rows) if row["verdict"]]
        order = [(index, path) for _, index, path in sorted(analysed, key=lambda one: (-one[0], one[1]))]
        time.sleep(SETTLE)
        key = "dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }))"
        for place in range(2, min(len(order), 2 * count) - 1, 2):
            index, path = order[place]
            before = processor_seconds(server.pid)
            opened.append(timed(page, f"location.hash = encodeURIComponent({path!r})", index))
            worked.setdefault("open", []).append(1000 * (processor_seconds(server.pid) - before))
            page.wait_for_function(
                "(index) => document.getElementById('stage').dataset.prepared === String(index)",
                arg=order[place + 1][0],
                timeout=PATIENCE,
            )
            time.sleep(SETTLE)
            before = processor_seconds(server.pid)
            following.append(timed(page, f"document.body.{key}", order[place + 1][0]))
            worked.setdefault("next, prepared", []).append(1000 * (processor_seconds(server.pid) - before))
        index = order[-1][0]
        page.evaluate("(path) => { location.hash = encodeURIComponent(path); }", order[-1][1])
        ready(page, index)
        time.sleep(SETTLE)
        begun = time.perf_counter()
        page.keyboard.press("z")
        page.wait_for_function("() => !performance.getEntriesByType('resource').some((one) => !one.responseEnd)")
        zoomed.append(1000 * (time.perf_counter() - begun))
        browser.close()
    status = Path(f"/proc/{server.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e6  # type: ignore[index]
finally:
    server.send_signal(signal.SIGINT)
    server.wait(60)
for name, values in (("open", opened), ("next, prepared", following), ("1:1", zoomed)):
    if values:
        used = f", processor {median(worked[name]):.0f} ms" if name in worked else ""
        print(f"{name}: median {median(values):.0f} ms, slowest {max(values):.0f} ms, of {len(values)}{used}")
print(f"server: peak memory {peak:.2f} GB")
