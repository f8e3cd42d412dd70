"""Progress bars and messages of evaluations, validations and studies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rich.progress import TaskID

from imltool.cli import common

Update = Callable[[int, str], None]
"""Sets the steps done and the description of the bar that was started last."""


def follow(events: Iterable[Any], other: Callable[[Any, Update], None] | None = None) -> None:
    """Consume all events: a progress bar for each stage of the work, a line for each message.

    Args:
        events: those of `imltool.evaluation.events`, and others.
        other: called with each of the others.
    """
    from imltool.evaluation.events import Advanced, Said, Scored, Started

    task: TaskID | None = None
    with common.progress_bar() as bar:

        def update(done: int, what: str) -> None:
            if task is not None:
                bar.update(task, completed=done, description=what)

        for event in events:
            if isinstance(event, Started):
                if task is not None:
                    bar.remove_task(task)
                task = bar.add_task(event.what, total=event.total)
            elif isinstance(event, (Advanced, Scored)):
                if task is not None:
                    bar.advance(task)
            elif isinstance(event, Said):
                if event.error:
                    common.log.error("%s", event.text)
                else:
                    common.say(f"warning: {event.text}" if event.warning else event.text)
            elif other is not None:
                other(event, update)
