"""Ctrl-C and SIGTERM, deferred until work that must not be interrupted is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C and every SIGTERM is only noted; the yielded function says whether one came.

    A second Ctrl-C interrupts. A second SIGTERM does not: `timeout` sends it to the process and to its group.
    Outside the main thread, where Python delivers no signal, nothing changes.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            # None: the handler before was not Python's own, as when the interpreter is about to end
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def noted_interrupt() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C raises KeyboardInterrupt as usual; the yielded function says whether one came, also when other
    code has swallowed it. Outside the main thread nothing changes.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def interrupt_on_sigterm() -> None:
    """Make SIGTERM, which SLURM, Docker and `timeout` send, end this process as Ctrl-C does; a second is ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)
