"""Ctrl-C and SIGTERM, deferred until work that must not be interrupted is done."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_SECONDS = 1.0
"""Seconds after which a SIGTERM is raised again if its KeyboardInterrupt was lost (our choice)."""


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Handle these signals in the block. Outside the main thread, where Python delivers none, this has no effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, earlier in before.items():
                # None: the earlier handler was not set by Python, as when the interpreter is about to exit
                signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """In the block, the first Ctrl-C and every SIGTERM are only noted; the yielded function returns whether one came.

    A second Ctrl-C interrupts. A second SIGTERM does not: `timeout` sends it to the process and to its group.
    Outside the main thread this has no effect.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    with _handled(note, signal.SIGINT, signal.SIGTERM):
        yield lambda: asked


@contextmanager
def noted_interrupt() -> Iterator[Callable[[], bool]]:
    """In the block, Ctrl-C raises KeyboardInterrupt as usual; the yielded function returns whether one came.

    It does so also when other code has swallowed the exception. Outside the main thread this has no effect.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    with _handled(note, signal.SIGINT):
        yield lambda: came


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """In the block, SIGTERM, which SLURM, Docker and `timeout` send, raises KeyboardInterrupt like Ctrl-C.

    Callbacks from C code may lose an exception silently. The signal is therefore raised again every second, for the
    handler that is then installed, until the block ends or KeyboardInterrupt is being handled. Further SIGTERMs in the
    meantime have no effect: `timeout` sends it to the process and to its group.
    """
    due = 0.0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal due
        now = time.monotonic()
        if now < due:
            return
        due = now + AGAIN_SECONDS
        if hasattr(signal, "setitimer"):  # not on Windows, where nothing sends SIGTERM
            signal.signal(signal.SIGALRM, again)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise KeyboardInterrupt

    def again(number: int, frame: FrameType | None) -> None:
        if not _is_interrupt(sys.exc_info()[1]):
            signal.raise_signal(signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        interrupt_arrived()
        signal.signal(signal.SIGTERM, signal.SIG_IGN if due else signal.SIG_DFL if before is None else before)


def interrupt_arrived() -> None:
    """The KeyboardInterrupt has reached the code that ends the program: what is tidied up now is not interrupted."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether `error` is a KeyboardInterrupt or was raised while one was handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
