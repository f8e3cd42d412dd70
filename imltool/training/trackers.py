"""Experiment trackers in addition to log.jsonl: TensorBoard and others, through accelerate."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from imltool.config import Settings
from imltool.errors import UsageError
from imltool.journal import flatten


def require_trackers(names: tuple[str, ...]) -> None:
    """Raises `UsageError` for a tracker that accelerate does not know or whose package is not installed."""
    known = sorted(str(name) for name in LOGGER_TYPE_TO_CLASS)
    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UsageError(f"trackers: unknown tracker {name!r}", f"choose from {', '.join(known)}")
        if name not in available:
            raise UsageError(f"trackers: {name} is not installed", f"pip install {name}")


class Trackers:
    """Sends the metrics of events to the trackers of an accelerator.

    Args:
        accelerator: created with these names as `log_with`.
        names: installed trackers, see `require_trackers`; empty for no tracking.
        name: the run's name in the trackers.
        settings: the run's configuration, stored with it.
    """

    def __init__(self, accelerator: Accelerator, names: tuple[str, ...], name: str, settings: Settings) -> None:
        self._accelerator = accelerator if names else None
        if names:
            # numbers and text are accepted by every tracker
            values = flatten(settings.model_dump(mode="json"))
            plain = {key: one if isinstance(one, int | float) else str(one) for key, one in values.items()}
            accelerator.init_trackers(name, config=plain)

    def log(self, event: dict[str, Any]) -> None:
        """Send the numbers of a `train` or `validation` event, at its step."""
        if self._accelerator is not None:
            numbers = {
                f"{event['event']}/{key}": value
                for key, value in event.items()
                if key != "step" and isinstance(value, int | float)
            }
            self._accelerator.log(numbers, step=event["step"])

    def close(self) -> None:
        if self._accelerator is not None:
            self._accelerator.end_training()
