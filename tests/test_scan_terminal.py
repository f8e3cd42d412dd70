"""Output of a scan in a terminal of 80 columns: progress, rates, line wrapping, next steps."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from helpers.pictures import photo, write_rgb
from rich.progress import Progress

from imltool.cli.common import RateColumn, duration

WIDTH = 80
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(*arguments: object) -> tuple[int, str]:
    """Run the command with stderr on a terminal; return its exit code and that output without control sequences."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, WIDTH))  # type: ignore[attr-defined]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": str(WIDTH)}
    command = [sys.executable, "-m", "imltool", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=env)
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(ours)
    return process.wait(), CONTROL.sub("", shown.decode(errors="replace")).replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.may_skip  # skipped before Python 3.11
@pytest.mark.skipif(not hasattr(termios, "tcsetwinsize"), reason="Python 3.11 brought the size of terminals")
def test_terminal_output_of_a_scan(tiny_weights: Path, tmp_path: Path) -> None:
    for seed in range(3):
        write_rgb(tmp_path / "in/a folder of a camera" / f"{seed} with a long name.png", photo(seed))
    out = tmp_path / "out"
    code, text = in_terminal("scan", tmp_path / "in", "--out", out, "--weights", tiny_weights, "--device", "cpu")
    assert code == 0
    assert "loading the model" in text
    last = text[text.rindex("score ") :].splitlines()
    prose = [line for line in last if not line.startswith(("final hash", "report: ", "next: "))]
    whole = " ".join(" ".join(prose).split())
    assert whole.count("a folder of a camera/") == whole.count(" with a long name.png") == 3
    assert "No false-positive rate is known, because the checkpoint is not calibrated" in whole, "words are not broken"
    assert all(len(line.rstrip()) <= WIDTH for line in prose)
    assert re.search(r"3 files in [\d:.]+( s)?: 0 with an indication, 3 inconclusive", whole)
    assert any(line.endswith(f"report: {out}/report.html") for line in last), "a path is not broken"
    assert last[-1].startswith(f"next: imltool verify {out} --head ")


def test_progress_rate_is_the_mean_of_all_finished_items() -> None:
    now = 0.0
    progress = Progress(get_time=lambda: now)
    task = progress.add_task("scan", total=100)
    progress.reset(task, total=100, completed=40, kept=40)
    for _ in range(8):  # a batch at once, after 16 s
        now = 16.0
        progress.advance(task)
    (shown,) = progress.tasks
    assert RateColumn().render(shown).plain == "2.0 s each, 1:44 left"
    now = 4.0
    assert RateColumn().render(shown).plain == "2.0/s, 26.0 s left"
    progress.advance(task, 52)
    now = 60.0  # another task is running
    assert RateColumn().render(shown).plain == "15.0/s", "the rate of a finished task is kept"
    assert [duration(seconds) for seconds in (4.2, 185, 7207)] == ["4.2 s", "3:05", "2:00:07"]
