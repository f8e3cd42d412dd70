"""Interruption by signals."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing sends SIGTERM on Windows")

LOST = """
    try:
        ask()
        time.sleep(30)
    except KeyboardInterrupt:
        pass  # like code that is called from C
    time.sleep(30)
    print("not raised again")
"""
SLOW = """
    try:
        ask()
        time.sleep(30)
    finally:
        time.sleep(1.5)
        print("tidied up")
"""
TWICE = """
    try:
        ask()
        time.sleep(30)
    finally:
        ask()  # as `timeout` sends it to the process and to its group
        print("tidied up")
"""
DEFERRED = """
    try:
        ask()
        time.sleep(30)
    except KeyboardInterrupt:
        pass
    with deferred_interrupt() as asked:
        for _ in range(300):
            time.sleep(0.1)
            if asked():
                print("state saved")
                raise KeyboardInterrupt
"""
ARRIVED = """
    try:
        ask()
        time.sleep(30)
    except KeyboardInterrupt:
        pass
    interrupt_arrived()
    time.sleep(1.5)
    print("tidied up")
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize(
    ("work", "printed"),
    [(LOST, ""), (SLOW, "tidied up"), (TWICE, "tidied up"), (DEFERRED, "state saved"), (ARRIVED, "tidied up")],
)
def test_sigterm_interrupts_even_if_the_first_exception_was_lost(work: str, printed: str) -> None:
    program = f"""
import os, signal, time
from imltool.interrupt import deferred_interrupt, interrupt_arrived, interrupted_by_sigterm

def ask():
    os.kill(os.getpid(), signal.SIGTERM)

try:
    with interrupted_by_sigterm():
{textwrap.indent(textwrap.dedent(work), " " * 8)}
except KeyboardInterrupt:
    time.sleep(1.2)  # no further interrupt comes after the block
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=25, check=False)
    assert done.stdout.split("\n") == [*([printed] if printed else []), "interrupted", ""], done.stderr
